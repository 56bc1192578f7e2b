"""The published rows."""

import math

import pytest

from svvr.judge import replication


def runs(losses: list[float]) -> list[dict]:
    return [
        {
            "seed": i,
            "initial_weights": "ab",
            "lr": 0.1,
            "strength": 0.0,
            "state": "complete",
            "validation_loss": [2.0 + i, loss],
        }
        for i, loss in enumerate(losses)
    ]


def test_a_row_summarises_its_runs() -> None:
    row = replication.row("baseline", runs([1.1, 1.2, 1.3]))
    assert row["last_epoch"] == {"mean": pytest.approx(1.2), "sd": pytest.approx(0.1), "min": 1.1, "max": 1.3}
    assert row["first_epoch"]["mean"] == pytest.approx(3.0)
    assert row["share_beyond_published"] == pytest.approx(2 / 3)
    assert row["z"] == pytest.approx((1.2 - 1.179) / math.sqrt(0.052**2 / 24 + 0.1**2 / 3))
    assert row["agrees"] and row["n_runs"] == 3 and row["published"] == 1.198


def test_disagreement_is_reported() -> None:
    row = replication.row("regularized_fresh", runs([1.39, 1.40, 1.41]))
    assert not row["agrees"] and row["z"] > 3


def test_what_is_no_row_is_refused() -> None:
    with pytest.raises(ValueError, match="row of the replication: got 'other'"):
        replication.row("other", runs([1, 2]))
    with pytest.raises(ValueError, match="got 1, expected at least 2"):
        replication.row("baseline", runs([1]))
    failed = runs([1, 2])
    failed[1]["state"] = "failed"
    with pytest.raises(ValueError, match="the run of seed 1 diverged"):
        replication.row("baseline", failed)
