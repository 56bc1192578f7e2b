"""The league: its settings, its arithmetic against the budget's and Holm's definition, its words and picture."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from svvr import survey
from svvr.analysis import budget, league, statistics
from svvr.records import read_yaml, write_rows
from svvr.report import league as picture
from svvr.report import text
from tools import readme

ROOT = Path(__file__).parents[1]
SETTINGS = survey.Survey.model_validate(
    {
        "seed": 1,
        "trials": 3,
        "design": {"replicates": 4, "points": 5, "seeds": 2},
        "regimes": {"base": {}, "tiny": {"model": {"hidden": [4]}, "data": {"name": "digits", "seed": 1}}},
        "penalties": {
            "none": {"decay": True},
            "l2": {"strength": {"low": 0.1, "high": 1.0}, "decay": True},
            "log_det": {"strength": {"low": 0.1, "high": 1.0}, "eps": {"low": 1e-6, "high": 1e-3}},
        },
    }
)


def test_a_cell_has_the_root_s_settings_but_for_its_regime_and_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    root, cell = read_yaml(ROOT / "params.yaml"), SETTINGS.params("tiny", "log_det")
    assert (cell.data.name, cell.data.settings(), cell.model.hidden) == ("digits", (("seed", 1),), (4,))
    assert (cell.training.epochs, cell.seed, cell.budget.points) == (root["training"]["epochs"], 1, 5)
    assert set(cell.arms) == {"plain"} and set(cell.arms["plain"].tune) == {"lr", "strength", "eps"}
    both = SETTINGS.params("base", "l2")
    assert set(both.arms["decay"].tune) == {"lr", "strength", "weight_decay"} and both.data.name == root["data"]["name"]
    committed = survey.load()
    for regime, penalty in itertools.product(committed.regimes, committed.penalties):
        committed.params(regime, penalty)
    matrices = {
        path.stem for path in (ROOT / "src/svvr/penalties").glob("[!_]*.py") if "def penalty(W" in path.read_text()
    }
    assert set(committed.penalties) == matrices


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"regimes": {"base": {"budget": {}}}},
            "survey/params.yaml: regimes.base.budget: got 'budget', expected",
        ),
        ({"regimes": {"base": {"model": {"hidden": 3}}}}, "survey/params.yaml, base and none: model.hidden: got 3"),
        ({"trials": 57}, "survey/params.yaml: trials: got 57, expected at most 56, (replicates - 1) * points * seeds"),
        ({"penalties": {"none": {}}}, "PENALTY: got l2, expected one of none in survey/params.yaml"),
        ({"penalties": {"nucular": {}}}, "survey/params.yaml: penalties.nucular: got nucular, expected one of"),
        ({"design": {"replicates": 8, "points": 4}}, "survey/params.yaml: design.seeds: got nothing, expected a value"),
    ],
)
def test_a_mistake_is_one_message(elsewhere: Path, change: dict[str, Any], said: str) -> None:
    (elsewhere / "survey").mkdir()
    (elsewhere / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    content = read_yaml(ROOT / "survey/params.yaml") | change
    (elsewhere / "survey/params.yaml").write_text(str(content).replace("True", "true"))
    with pytest.raises(SystemExit) as caught:
        survey.check("base", "l2")
    assert str(caught.value).startswith(f"survey: {said}"), str(caught.value)
    (elsewhere / "survey/params.yaml").write_text((ROOT / "survey/params.yaml").read_text())
    survey.check("", "")


def cell(regime: str, penalty: str, arms: dict[str, float], failed: int = 0, settings: str = "") -> pd.DataFrame:
    """Write and return a cell's runs; an arm's losses are shifted by its log ratio, its first runs failed."""
    settings = settings or survey.digest(SETTINGS.params(regime, penalty))
    rng = np.random.default_rng([ord(letter) for letter in regime + penalty])
    rows: list[dict[str, Any]] = []
    for (arm, shift), (r, p, s) in itertools.product(arms.items(), itertools.product(range(4), range(5), range(2))):
        loss = None if len(rows) < failed else float(np.exp(shift + 0.02 * p + rng.normal(0, 0.01)))
        row = {
            "settings": settings,
            "arm": arm,
            "replicate": r,
            "point": p,
            "seed": s,
            "lr": 0.01 * (p + 1),
            "strength": 0.5,
            "weight_decay": 0.0,
        }
        state = "complete" if loss else "failed"
        rows.append(row | {"state": state, "validation_loss": loss, "test_loss": loss})
    write_rows(survey.record(regime, penalty), rows)
    return pd.DataFrame(rows)


def test_effects_are_the_budget_s_and_p_values_adjusted_within_a_reference(elsewhere: Path) -> None:
    (elsewhere / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    with pytest.raises(ValueError, match="survey/cells: got no runs of any cell, expected some: make survey"):
        league.rows(SETTINGS)
    cells = {"none": cell("base", "none", {"plain": 0.0, "decay": -0.05})}
    cells["l2"] = cell("base", "l2", {"plain": -0.1, "decay": 0.2}, failed=2)
    cell("tiny", "log_det", {"plain": 0.0})  # without its references
    rows = league.rows(SETTINGS)
    assert [text.competitor(row) for row in rows] == ["Adam", "AdamW", "l2", "l2 with decay", "log_det"]
    params = SETTINGS.params("base", "none").model_copy(deep=True)
    params = params.model_copy(update={"tuning": params.tuning.model_copy(update={"trials": SETTINGS.trials})})
    designs = {
        f"{name}-{arm}": budget.design(runs) for name, each in cells.items() for arm, runs in each.groupby("arm")
    }
    for row, arm in zip(rows, ("none-plain", "none-decay", "l2-plain", "l2-decay"), strict=False):
        for name, reference in (("adam", "none-plain"), ("adamw", "none-decay")):
            if arm == reference:
                assert row[f"{name}_effect_percent"] is None
                continue
            expected = budget.compare(params, designs, [(arm, reference)])["budget_verdicts"][0]
            keys = ("effect_percent", "ci_low", "ci_high", "verdict")
            assert [row[f"{name}_{key}"] for key in keys] == pytest.approx([expected[key] for key in keys])
    assert rows[2]["failed"] == 2 / 40 and rows[2]["lr"] == pytest.approx(0.01) and rows[4]["adam_verdict"] is None
    assert [row["adamw_verdict"] for row in rows] == ["worse", None, "better", "worse", None]
    assert text.league(rows, 0.95)[1:] == [
        "Against AdamW: 1 better and 2 worse of 3 (chance alone: at most about 0); after Holm's correction 1 and 2.",
        "Better than AdamW most often: l2 (in 1 of 1 regime).",
    ]
    figure = picture.draw(rows, SETTINGS.trials, 0.95)
    bold = [each.get_text() for each in figure.axes[0].texts if each.get_fontweight() == "bold"]
    assert len(bold) == 3 and all(each.endswith("*") for each in bold)
    assert [each.get_text() for each in figure.axes[0].get_xticklabels()] == ["base", "tiny"]


def test_failed_runs_and_cells_of_other_settings_judge_nothing(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    cell("base", "none", {"plain": 0.0, "decay": -0.05})
    cell("base", "l2", {"plain": -0.1}, failed=40)
    cell("base", "log_det", {"plain": -0.1}, settings="old")
    *_, lost = rows = league.rows(SETTINGS)
    assert "league: base-log_det left out, since its settings have changed: make survey" in capsys.readouterr().out
    assert (len(rows), lost["penalty"], lost["failed"], lost["lr"]) == (3, "l2", 1.0, None)
    assert (lost["adamw_verdict"], lost["adamw_p_holm"], lost["adamw_ci_low"]) == ("no verdict", None, None)
    assert "0 better and 1 worse of 1 (" in text.league(rows, 0.95)[1]
    drawn = [each.get_text() for each in picture.draw(rows, SETTINGS.trials, 0.95).axes[0].texts]
    assert drawn[1:] == ["reference", "failed"]
    pd.DataFrame(rows).to_csv(elsewhere / "league.csv", index=False)
    assert readme.read_league(elsewhere / "league.csv")[2]["adamw_p_holm"] is None


def test_p_values_are_student_s_and_holm_s_by_definition() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 8)
    error = values.std(ddof=1) / 8**0.5
    assert statistics.p_value(values.mean(), error, 8) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert statistics.p_value(np.nan, 1.0, 8) == statistics.p_value(0.0, 0.0, 8) == 1
    for p in ([0.01, 0.04, 0.03, 0.005], [0.5], [0.02, 0.02, 0.9], []):
        adjusted = statistics.holm(p)
        for alpha in (0.01, 0.05, 0.2):  # step down until one is above alpha over the number of those left
            left, fallen = sorted(p), 0
            while left and left[0] <= alpha / len(left):
                fallen, left = fallen + 1, left[1:]
            assert sorted(each <= alpha for each in adjusted) == sorted(each in sorted(p)[:fallen] for each in p)
