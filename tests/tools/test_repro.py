"""The time that all stages still take, as `make repro` says it."""

import json

import numpy as np
import pytest

from svvr.execution import work
from svvr.params import Params
from svvr.records import Arrays, read_yaml
from tests.pipeline.copies import ROOT, tiny
from tools.repro import forecast

STAGES = ["prepare", "tune@baseline", "tune@regularized", "diagnose@baseline", "dose_response", "replicate", "compare"]


def test_the_forecast_counts_the_runs_of_each_stage() -> None:
    params = Params.model_validate(tiny(read_yaml(ROOT / "params.yaml")))
    x, y = np.zeros((50, 40), np.float32), np.arange(50) % 10
    data: Arrays = {"x_train": x, "y_train": y, "x_validation": x, "y_validation": y}
    found = forecast(params, STAGES, data)
    assert list(found) == STAGES and found["prepare"] == found["compare"] == 0
    assert all(found[stage] > 0 for stage in STAGES[1:-1])
    assert found["diagnose@baseline"] / found["tune@baseline"] == pytest.approx(3 * 25 / (9 * 2))  # runs x epochs


def test_a_stage_says_the_time_left_over_all_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVVR_PLAN", json.dumps({"gone": 900, "now": 60, "next": 120}))
    with work.session("now", 4, keep=False) as session:
        session([], work.SCORE, {})
        assert session.bar.postfix == "all stages: 3 min left"
        monkeypatch.setattr(session.bar, "start_t", session.bar.start_t - 60)  # twice as slow as planned
        session._count(2)
        assert session.bar.postfix == "all stages: 5 min left"
    with work.session("other", 4, keep=False) as session:
        session([], work.SCORE, {})
        assert session.bar.postfix is None
