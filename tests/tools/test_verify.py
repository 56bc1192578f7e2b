"""The comparison of recomputed with committed metrics."""

import importlib.metadata
import json
from pathlib import Path

from svvr.run import platform
from tools import verify


def texts(effect: float = -1.0, torch: str = "2.13.0", loss: float = 1.0) -> verify.Texts:
    contrast = {"arm": "a", "reference": "b", "link": "generalisation", "effect_percent": effect}
    return {
        "metrics/provenance/a.json": json.dumps({"provenance": [{"torch": torch, "workers": 2}]}),
        "metrics/summary.json": json.dumps({"contrasts": [contrast | {"ci_low": -2.0, "ci_high": 0.5}]}),
        "metrics/train/a.json": json.dumps({"loss": loss}),
    }


def test_other_bytes_are_named_but_provenance_is_not_compared() -> None:
    assert verify.other_bytes(texts(), texts(torch="3")) == []
    assert verify.other_bytes(texts(), texts(loss=1.0000001)) == ["metrics/train/a.json: got other bytes"]
    missing = texts()
    del missing["metrics/train/a.json"]
    assert verify.other_bytes(texts(), missing) == ["metrics/train/a.json: got other bytes"]


def test_the_number_of_workers_is_no_other_platform() -> None:
    assert verify.platforms(texts()) != verify.platforms(texts(torch="3"))
    other = texts() | {"metrics/provenance/a.json": json.dumps({"provenance": [{"torch": "2.13.0", "workers": 64}]})}
    assert verify.platforms(texts()) == verify.platforms(other)


def test_elsewhere_an_effect_must_lie_within_the_committed_interval() -> None:
    assert verify.outside(texts(), texts(effect=0.4)) == []
    assert verify.outside(texts(), texts(effect=0.6)) == [
        "a vs b, generalisation: got an effect of 0.6 %, expected one from -2.00 to 0.50 %"
    ]


def test_every_metrics_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "metrics/train").mkdir(parents=True)
    (tmp_path / "metrics/train/a.json").write_text("{}")
    assert verify.read(tmp_path) == {"metrics/train/a.json": "{}"}


def test_the_platform_is_what_a_stage_writes() -> None:
    (facts,) = platform.describe()["provenance"]
    assert set(verify.PLATFORM) <= set(facts) and facts["torch"] == importlib.metadata.version("torch")
