"""Where finished units are kept."""

from pathlib import Path

import pytest

from svvr.run import cache


def test_the_cache_s_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SVVR_CACHE", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert cache.folder() == Path(".cache/svvr")
    monkeypatch.setenv("DVC_ROOT", "/original")
    assert cache.folder() == Path("/original/.cache/svvr")
    monkeypatch.setenv("SVVR_CACHE", "off")
    assert cache.folder() is None
