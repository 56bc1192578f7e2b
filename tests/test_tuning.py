"""Studies are deterministic, fair, and honest about failures; the random design is even, and the same for all arms."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

from svvr import tuning
from svvr.params import Params, load
from svvr.records import Row, read_rows
from svvr.seeds import budget_seeds, tuning_seeds
from svvr.training.run import Run, Score
from svvr.tuning import design, tune

Loss = Callable[[dict[str, float], int], float | None]
ROOT = Path(__file__).parents[1]
SETTINGS = load(ROOT / "params.yaml").model_dump(exclude_none=True)
ARMS = {
    "baseline": {"tune": ["lr"], "penalty": {"name": "none"}},
    "plain": {"tune": ["strength", "lr"], "penalty": {"name": "sv_variance"}},
    "slow": {"tune": ["lr"], "penalty": {"name": "none"}, "lr": {"low": 1e-6, "high": 1e-3}},
    "decay": {"tune": ["lr", "weight_decay"], "penalty": {"name": "none"}},
    "rich": {
        "tune": ["lr", "strength", "beta", "alpha"],
        "penalty": {"name": "l2", "strength": {"low": 1.0, "high": 2.0}, "fixed": 3}
        | {name: {"low": 0.1, "high": 10.0} for name in ("beta", "alpha")},
    },
}


def params(**changes: Any) -> Params:
    """Return small settings, with `changes` of the section `tuning`, or of all where they are sections."""
    settings = SETTINGS | {"seed": 3, "arms": ARMS, "compare": SETTINGS["compare"] | {"contrasts": []}}
    settings["penalties"] = {"sv_variance": {"strength": {"low": 0.001, "high": 10.0}}}
    settings["budget"] = {"replicates": 2, "points": 16, "seeds": 2}
    small = {"studies": 3, "trials": 8, "seeds_per_trial": 2, "batch": 1, "startup_trials": 3}
    sections = {name: changes.pop(name) for name in list(changes) if name in SETTINGS}
    return Params.model_validate(settings | {"tuning": SETTINGS["tuning"] | small | changes} | sections)


def bowl(hyperparameters: dict[str, float], seed: int) -> float:
    return (math.log(hyperparameters["lr"] / 0.01)) ** 2 + seed % 7 / 10


def rows_of(loss: Loss = bowl, arm: str = "plain", seen: list[int] | None = None, **changes: Any) -> list[Row]:
    """Tune on made-up losses, found in reverse order; the best epoch's lie 0.5 below the last one's."""

    def evaluate(runs: Sequence[Run]) -> list[Score]:
        if seen is not None:
            seen.append(len(runs))
        losses = [loss(run.hyperparameters(), run.seed) for run in reversed(runs)][::-1]
        return [Score(each, None if each is None else each - 0.5, None) for each in losses]

    return tune(params(**changes), arm, evaluate)


def winners(rows: list[Row]) -> list[list[Row]]:
    """Return the rows of each study's winning trial."""
    return [list(each) for _, each in groupby((row for row in rows if row["winner"]), lambda row: row["study"])]


def test_a_row_a_trial_and_seed_and_the_lowest_mean_wins() -> None:
    rows = rows_of()
    head = ("study", "trial", "seed", "lr", "strength", "weight_decay", "state")
    losses = ("validation_loss", "validation_loss_last", "validation_loss_best")
    assert {tuple(row) for row in rows} == {(*head, *losses, "winner")}
    seeds = {study: tuning_seeds(3, study, 2) for study in range(3)}
    expected = [(study, trial, seed) for study in range(3) for trial in range(8) for seed in seeds[study]]
    assert [(row["study"], row["trial"], row["seed"]) for row in rows] == expected
    for row in rows:
        assert row["validation_loss"] == row["validation_loss_last"] == bowl(row, row["seed"])
        assert row["validation_loss_best"] == row["validation_loss"] - 0.5 and row["state"] == "complete"
        assert 1e-4 <= row["lr"] <= 1e-1 and 1e-3 <= row["strength"] <= 10 and row["weight_decay"] == 0
    for study, found in enumerate(winners(rows)):
        each = [row["validation_loss"] for row in rows if row["study"] == study]
        means = [sum(pair) / 2 for pair in zip(each[::2], each[1::2], strict=True)]
        assert [row["trial"] for row in found] == [means.index(min(means))] * 2


def test_studies_are_deterministic_and_seeded_apart_by_study_arm_and_root() -> None:
    assert rows_of() == rows_of()
    found = [*rows_of(), *rows_of(arm="baseline"), *rows_of(seed=4)]
    assert len({row["lr"] for row in found if row["trial"] == 0}) == 9


def test_tpe_searches_better_than_chance_on_a_bowl() -> None:
    """Both samplers see the same budget."""

    def total(sampler: str) -> float:
        rows = rows_of(lambda each, _: bowl(each, 0), sampler=sampler, trials=20, studies=10, seeds_per_trial=1)
        return sum(row["validation_loss"] for row in rows if row["winner"])

    assert total("tpe") < total("random") / 2


@pytest.mark.parametrize("batch,rounds", [(1, [6] * 8), (3, [18, 18, 12]), (8, [48])])
def test_a_round_asks_all_studies_within_the_budget(batch: int, rounds: list[int]) -> None:
    seen: list[int] = []
    assert len(rows_of(batch=batch, seen=seen)) == 3 * 8 * 2 and seen == rounds


def test_a_failed_seed_fails_its_trial_which_counts_and_never_wins() -> None:
    first = {study: tuning_seeds(3, study, 1)[0] for study in range(3)}

    def loss(hyperparameters: dict[str, float], seed: int) -> float | None:
        return None if hyperparameters["lr"] > 0.003 and seed in first.values() else bowl(hyperparameters, seed)

    rows = rows_of(loss)
    failed = [row for row in rows if row["state"] == "failed"]
    assert failed and len(rows) == 3 * 8 * 2 and all(row["seed"] == first[row["study"]] for row in failed)
    assert all(row[f"validation_loss{rule}"] is None for row in failed for rule in ("", "_last", "_best"))
    assert all(row["lr"] <= 0.003 for found in winners(rows) for row in found)
    with pytest.raises(ValueError, match="arm plain, study 0: all 8 trials failed"):
        rows_of(lambda *_: None)


def test_the_first_of_equal_trials_wins() -> None:
    assert {row["trial"] for row in rows_of(lambda *_: 1.0) if row["winner"]} == {0}


def test_the_selection_rule_makes_the_objective() -> None:
    """The best epoch's losses fall where the last one's rise."""

    def evaluate(runs: Sequence[Run]) -> list[Score]:
        return [Score(run.lr, 1 - run.lr, None) for run in runs]

    last, best = (tune(params(selection=rule), "plain", evaluate) for rule in ("last_epoch", "best_epoch"))
    first = slice(0, 2)
    assert [row["validation_loss"] for row in best[first]] == [row["validation_loss_best"] for row in last[first]]
    for rows, pick in ((last, min), (best, max)):
        assert all(
            found[0]["lr"] == pick(row["lr"] for row in rows if row["study"] == study)
            for study, found in enumerate(winners(rows))
        )


@pytest.mark.parametrize("losses,expected", [([2.4, 2.31], True), ([2.4, 2.29], False)])
def test_winners_no_better_than_a_guess_are_noticed(losses: list[float], expected: bool) -> None:
    rows: list[Row] = [{"study": n, "validation_loss": loss, "winner": True} for n, loss in enumerate(losses)]
    rows += [{"study": 0, "validation_loss": None, "winner": False}]
    assert tuning.no_better_than_chance(rows, 10) == expected  # ln 10 is 2.303


@pytest.mark.parametrize("n", [2, 48, 64])
@pytest.mark.parametrize("dimensions", [3, 5])
def test_points_are_even_in_every_coordinate_and_the_first_three_stay(n: int, dimensions: int) -> None:
    found = tuning.points(3, 1, n, dimensions)
    assert found.shape == (n, dimensions) and (found >= 0).all() and (found < 1).all()
    cells = 1 << (n.bit_length() - 1)  # the largest power of two among the first n points
    for coordinate in found[:cells].T:
        assert sorted(np.floor(coordinate * cells).astype(int)) == list(range(cells))
    np.testing.assert_array_equal(found[:, :3], tuning.points(3, 1, n, 3))


def test_further_dimensions_join_the_first_as_one_sobol_design() -> None:
    """Any elementary cell of two coordinates of the net holds as many points, scrambled or not: some pairs show it."""
    raw = qmc.Sobol(5, scramble=False).random_base2(6)
    found = tuning.points(3, 1, 64, 5)

    def balanced(points: Any, one: int, other: int) -> bool:
        cells = np.floor(points[:, [one, other]] * 8).astype(int)
        return len({tuple(cell) for cell in cells.tolist()}) == 64

    pairs = [(one, other) for one in range(5) for other in range(one)]
    assert [balanced(found, *pair) for pair in pairs] == [balanced(raw, *pair) for pair in pairs]
    assert any(balanced(found, one, other) for one, other in pairs if one >= 3 > other)


def test_a_replicate_scrambles_independently() -> None:
    assert not np.isclose(tuning.points(3, 0, 64, 5), tuning.points(3, 1, 64, 5)).any()
    drawn = np.array([tuning.points(3, replicate, 8, 5)[7] for replicate in range(200)])
    assert all(stats.kstest(coordinate, "uniform").pvalue > 1e-3 for coordinate in drawn.T)


def test_all_arms_share_the_points_of_what_they_share() -> None:
    settings = params()
    found = {arm: design(settings, arm) for arm in ARMS}
    expected = [(r, p, seed) for r in range(2) for p in range(16) for seed in budget_seeds(3, r, 2)]
    assert all([(*head.values(), run.seed) for head, run in runs] == expected for runs in found.values())
    for (head, plain), *others in zip(*(found[arm] for arm in ("plain", "slow", "decay", "rich")), strict=True):
        slow, decay, rich = (run for _, run in others)
        assert plain.weight_decay == slow.strength == decay.strength == rich.weight_decay == 0
        at = tuning.points(3, head["replicate"], 16, 5)[head["point"]]
        assert plain.lr == decay.lr == rich.lr == pytest.approx(1e-4 * 1000 ** at[0])
        assert slow.lr == pytest.approx(plain.lr / 100)  # a range of its own, the same coordinate
        assert decay.weight_decay == pytest.approx(0.01 * 300 ** at[1])
        assert plain.strength == pytest.approx(1e-3 * 10_000 ** at[2])
        assert rich.strength == pytest.approx(2 ** at[2])
        assert dict(rich.tuned) == pytest.approx({"alpha": 0.1 * 100 ** at[3], "beta": 0.1 * 100 ** at[4]})


def test_the_recorded_results_come_from_these_streams() -> None:
    """The first trial and the first point, to the last digit."""
    first = rows_of(arm="regularized", arms=SETTINGS["arms"], seed=SETTINGS["seed"], seeds_per_trial=1)[0]
    _, drawn = design(params(arms=SETTINGS["arms"], seed=SETTINGS["seed"]), "weight_decay_regularized")[0]
    recorded = ("tune/regularized", "budget/weight_decay_regularized")
    row, point = (read_rows(ROOT / f"metrics/{name}.json").iloc[0] for name in recorded)
    assert [first[name] for name in ("lr", "strength", "seed")] == [row["lr"], row["strength"], row["seed"]]
    own = drawn.hyperparameters()
    assert own == {name: point[name] for name in own} and drawn.seed == point["seed"]
