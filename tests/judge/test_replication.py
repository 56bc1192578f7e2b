"""The published rows."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from svvr.core.files import read_json
from svvr.judge import replication
from tests.judge import made

KNOBS = {"lr": 0.1, "strength": 0.0, "state": "complete"}


def runs(losses: Sequence[float]) -> list[dict[str, Any]]:
    return [
        {"seed": i, "initial_weights": "ab", "validation_loss": [2.0 + i, loss], **KNOBS}
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


@pytest.mark.parametrize(
    "name,rows,message",
    [
        ("other", runs([1, 2]), "row of the replication: got 'other', expected one of"),
        ("baseline", runs([1]), "runs of row baseline: got 1, expected at least 2"),
        ("baseline", [*runs([1]), *runs([1, 2])[1:], runs([1])[0] | {"seed": 7, "state": "failed"}], "seed 7 diverged"),
    ],
)
def test_what_is_no_row_is_refused(name: str, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replication.row(name, rows)


def test_other_architectures_and_settings_are_not_compared_with_what_was_published() -> None:
    params = made.COMMITTED
    assert replication.as_published(params)
    wider = params.model_copy(update={"model": params.model.model_copy(update={"hidden": (64, 64)})})
    longer = params.model_copy(update={"replicate": params.replicate.model_copy(update={"epochs": 21})})
    assert not replication.as_published(wider) and not replication.as_published(longer)
    compared, plain = (replication.row("baseline", runs([1.1, 1.2, 1.3]), published) for published in (True, False))
    without = {key for key, value in plain.items() if value is None}
    assert without == {"published", "share_beyond_published", "expected_mean", "expected_sd", "z", "agrees"}
    assert plain == compared | dict.fromkeys(without)


@pytest.mark.parametrize("place,name", list(enumerate(replication.ROWS)))
def test_the_committed_rows_are_those_of_the_committed_runs(place: int, name: str) -> None:
    committed = read_json(made.METRICS / "replicate.json")["rows"][place]
    knobs = {key: committed[key] for key in ("lr", "strength")}
    row = replication.row(name, [run | knobs | {"state": "complete"} for run in committed["runs"]])
    made.assert_same(row, committed)
