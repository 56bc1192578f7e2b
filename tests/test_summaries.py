"""The flat figures at the head of records: by hand, and those of the committed records to the last bit."""

from pathlib import Path

import pytest

from svvr import summaries
from svvr.core.files import read_json
from svvr.judge import schemas
from tests.judge import made

TUNED = [
    made.study(0, [made.trial(0, 1.25, lr=0.1), made.trial(1, None, lr=0.2)]),
    made.study(1, [made.trial(0, 1.75, lr=0.1)]),
]


def test_studies_are_averaged_over_their_winners() -> None:
    assert summaries.of_studies(TUNED) == {
        "n_studies": 2, "n_trials": 3, "n_failed": 1, "objective_mean_used_for_tuning": 1.5,
    }  # fmt: skip


def test_final_runs_are_averaged_over_the_complete_ones() -> None:
    """The validation loss is that of the selected epoch; a failed run has none that counts."""
    first, second, lost = (made.final_run(0, seed, loss) for seed, loss in enumerate((1.0, 2.0, None)))
    first |= {"selected_epoch": 1, "validation_loss": [4.0, 9.0]}
    found = summaries.of_runs([first, lost, second])
    assert found == {
        "n_runs": 3, "n_failed": 1, "validation_loss": 2.5, "test_loss": 1.5, "test_accuracy": 0.5,
    }  # fmt: skip
    assert summaries.of_runs([lost]) == dict.fromkeys(found) | {"n_runs": 1, "n_failed": 1}


def test_measurements_are_averaged_over_the_runs_that_have_them() -> None:
    runs = [made.diagnosed_run(0, seed, value) for seed, value in enumerate((1.0, None, 2.0))]
    assert summaries.of_measurements(runs, ["smoothness"]) == {"n_runs": 3, "smoothness": 1.5}
    assert summaries.of_measurements(runs[1:2], ["smoothness"]) == {"n_runs": 1, "smoothness": None}


@pytest.mark.parametrize(
    "path", schemas.paths(made.METRICS, "tune", "train", "diagnose"), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_the_committed_figures_are_those_of_the_committed_rows(path: Path) -> None:
    record = read_json(path)
    kind = path.parent.name
    if kind == "tune":
        figures = summaries.of_studies(record["studies"])
    elif kind == "train":
        figures = summaries.of_runs(record["runs"])
    else:
        figures = summaries.of_measurements(record["runs"], [*made.LINKS, "calibration_error", "train_test_gap"])
    assert figures == {name: record[name] for name in figures} and len(figures) > 3
