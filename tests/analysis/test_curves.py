"""The dose-response and the replication against numpy and scipy."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from svvr.analysis import dose_response, replication, tables
from svvr.analysis.dose_response import QUANTITIES
from svvr.report import text
from tests.analysis import made


def test_dose_response_curves_are_scipy_s() -> None:
    """A strength at which a run is lost has no mean: the others would be a selection."""
    keys = itertools.product([0.002], [0.0, 0.4], range(5), [0.0, 0.1, 1.0])
    runs = pd.DataFrame(keys, columns=["lr", "weight_decay", "seed", "strength"]).assign(penalty="sv_variance")
    runs[QUANTITIES] = np.random.default_rng(0).normal(size=(30, 5)) + runs[["weight_decay"]].to_numpy()
    runs.loc[3 * 5 + 1, list(made.LINKS)] = np.nan  # strength 0.1 in the second setting
    curves = dose_response.curves(runs)
    assert len(curves) == 2 * 3 * 5
    for row in curves.to_dict("records"):
        same = (runs["weight_decay"] == row["weight_decay"]) & (runs["strength"] == row["strength"])
        values, found = runs.loc[same, row["quantity"]], [row[name] for name in ("mean", "ci_low", "ci_high")]
        if values.isna().any():
            assert np.isnan(found).all()
        else:
            expected = [values.mean(), *stats.t.interval(0.95, 4, values.mean(), stats.sem(values))]
            assert found == pytest.approx(expected)


@pytest.mark.parametrize(("second", "said"), [
    ([(2.0, 1.0), (1.0, 0.8)], "does not give equal loss"),
    ([(2.0, 1.0), (1.0, 1.0)], "the intervals overlap. At ln κ = 1.20, the lowest that all paths reach"),
    ([(0.9, 1.0), (0.5, 0.8)], "share no condition number"),
])  # fmt: skip
def test_losses_are_compared_in_the_middle_and_at_the_lowest_of_what_all_paths_reach(
    second: list[tuple[float, float]], said: str
) -> None:
    rows = []
    for penalty, path in {"sv_variance": [(3.0, 1.0), (1.4, 0.98), (1.2, 1.1)], "log_det": second}.items():
        for strength, (condition, loss) in enumerate(path):
            for quantity, mean in {"test_loss": loss, "conditioning": condition}.items():
                rows.append([penalty, 0.002, 0.0, quantity, float(strength), mean, mean - 0.02, mean + 0.02])
    found = dose_response.at_equal_conditioning(pd.DataFrame(rows, columns=[*dose_response.GROUP, *dose_response.ENDS]))
    assert said in text.at_equal_conditioning(found)
    if second[1] == (1.0, 0.8):  # from 1.2 to 2.0
        assert found["mean"].tolist() == pytest.approx([0.9825, 0.92, 1.1, 0.84])
        assert found["conditioning"].tolist() == [1.6, 1.6, 1.2, 1.2]


def replicated(*losses: float | None, row: str = "baseline") -> pd.DataFrame:
    return pd.DataFrame(
        {"row": row, "seed": seed, "lr": 0.1, "strength": 0.0, "validation_loss_curve": [2.0 + seed, 1.5, loss]}
        for seed, loss in enumerate(losses)
    )


def test_a_row_of_the_replication_by_hand() -> None:
    runs = pd.concat([replicated(1.1, 1.2, 1.3), replicated(1.39, None, row="regularized_fresh")])
    row, fresh = replication.summarise(runs, made.COMMITTED).to_dict("records")
    found = [row["last_mean"], row["last_sd"], row["last_min"], row["last_max"]]
    assert found == pytest.approx([1.2, 0.1, 1.1, 1.3]) and row["published"] == 1.198 and row["n_runs"] == 3
    assert math.isnan(fresh["last_mean"]) and math.isnan(fresh["last_sd"])


def test_what_was_not_published_is_not_compared() -> None:
    params = made.COMMITTED
    longer = params.model_copy(update={"replicate": params.replicate.model_copy(update={"epochs": 21})})
    row = replication.summarise(replicated(1.1, 1.2), longer).iloc[0]
    assert math.isnan(row["published"]) and row["last_mean"] == pytest.approx(1.15)


def test_the_committed_replication_agrees_with_what_was_measured_independently() -> None:
    """24 seeds a row, mean and SD of another implementation: within three standard errors."""
    expected = {
        "baseline": (1.179, 0.052),
        "regularized_fresh": (1.052, 0.031),
        "regularized_continued": (1.418, 0.065),
    }
    rows = replication.summarise(tables.replicate(made.ROOT / "metrics"), made.COMMITTED).set_index("row")
    for name, row in rows.to_dict("index").items():
        mean, sd = expected[str(name)]
        assert abs(row["last_mean"] - mean) <= 3 * math.sqrt(sd**2 / 24 + row["last_sd"] ** 2 / row["n_runs"])
