"""Studies: deterministic, fair, and honest about failures."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from svvr.core.params import load
from svvr.core.seeds import tuning_seeds
from svvr.search import studies
from svvr.search.studies import Asked, Losses

TUNING = load(Path(__file__).parents[2] / "params.yaml").tuning.model_copy(
    update={"studies": 3, "trials": 8, "seeds_per_trial": 2, "batch": 1, "startup_trials": 3}
)
ROOT = 3
RANGES = {"lr": (1e-4, 1e-1), "strength": (1e-3, 10.0)}
Loss = Callable[[dict[str, float], int], float | None]


def bowl(knobs: dict[str, float], seed: int) -> float:
    return (math.log(knobs["lr"] / 0.01)) ** 2 + seed % 7 / 10


def tune(
    loss: Loss = bowl,
    root: int = ROOT,
    arm: str = "arm",
    selection: str = "last_epoch",
    seen: list[int] | None = None,
    **changes: object,
) -> list[dict[str, Any]]:
    """Tune on made-up losses; the best epoch's lie 0.5 below the last one's."""

    def evaluate(asked: Asked) -> list[Losses]:
        if seen is not None:
            seen.append(len(asked))
        found = [loss(knobs, seed) for knobs, seed in asked]
        return [{"last_epoch": each, "best_epoch": None if each is None else each - 0.5} for each in found]

    return studies.tune(root, arm, RANGES, TUNING.model_copy(update=changes), selection, evaluate)


def test_a_study_records_every_trial_and_its_winner() -> None:
    found = tune()
    assert [study["study"] for study in found] == [0, 1, 2]
    for study in found:
        assert [trial["number"] for trial in study["trials"]] == list(range(8))
        best = min(study["trials"], key=lambda trial: float(trial["objective"]))
        assert study["best"] == best["params"] and study["objective"] == best["objective"]
        assert {tuple(trial["seeds"]) for trial in study["trials"]} == {tuple(tuning_seeds(ROOT, study["study"], 2))}
        for trial in study["trials"]:
            assert trial["losses"] == [bowl(trial["params"], seed) for seed in trial["seeds"]]
            assert trial["losses_by_rule"]["last_epoch"] == trial["losses"]
            assert trial["losses_by_rule"]["best_epoch"] == [loss - 0.5 for loss in trial["losses"]]
            assert trial["objective"] == pytest.approx(sum(trial["losses"]) / 2)
            assert all(low <= trial["params"][knob] <= high for knob, (low, high) in RANGES.items())


def test_studies_are_deterministic_seeded_apart_by_arm_and_by_root() -> None:
    assert tune() == tune()
    found = [*tune(), *tune(arm="other")[:1], *tune(root=4)]
    assert len({study["trials"][0]["params"]["lr"] for study in found}) == 7
    assert tune()[0]["trials"][0]["seeds"] != tune(root=4)[0]["trials"][0]["seeds"]


def test_tpe_searches_better_than_chance_on_a_bowl() -> None:
    found = [tune(lambda knobs, _: bowl(knobs, 0), sampler=name, trials=20, studies=10) for name in ("tpe", "random")]
    tpe, random = (sum(study["objective"] for study in each) for each in found)
    assert tpe < random / 2


@pytest.mark.parametrize("batch", [2, 3, 8])
def test_a_batch_stays_within_the_budget(batch: int) -> None:
    rounds: list[int] = []
    found = tune(batch=batch, seen=rounds)
    assert all(len(study["trials"]) == 8 for study in found)
    assert max(rounds) == 3 * batch * 2 and sum(rounds) == 3 * 8 * 2


def test_a_diverged_run_fails_its_trial_counts_and_never_wins() -> None:
    found = tune(lambda knobs, seed: None if knobs["lr"] > 0.01 else bowl(knobs, seed))
    failed = [trial for study in found for trial in study["trials"] if trial["state"] == "failed"]
    assert failed and all(trial["objective"] is None and trial["losses"] == [None, None] for trial in failed)
    assert all(len(study["trials"]) == 8 and study["best"]["lr"] <= 0.01 for study in found)


def test_a_study_without_a_complete_trial_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="arm arm, study 0: all 8 trials failed"):
        tune(lambda knobs, seed: None)


def test_the_selection_rule_makes_the_objective() -> None:
    last, best = (tune(selection=rule)[0]["trials"][0] for rule in ("last_epoch", "best_epoch"))
    assert best["params"] == last["params"] and best["losses_by_rule"] == last["losses_by_rule"]
    assert best["objective"] == pytest.approx(last["objective"] - 0.5)


@pytest.mark.parametrize("objectives,worse", [([2.4, 2.31], True), ([2.4, 2.29], False)])
def test_winners_no_better_than_a_guess_are_noticed(objectives: list[float], worse: bool) -> None:
    found = [{"study": study, "objective": objective} for study, objective in enumerate(objectives)]
    assert studies.no_better_than_chance(found, 10) == worse  # ln 10 is 2.303


def test_an_unknown_sampler_is_named() -> None:
    with pytest.raises(ValueError, match=r"tuning\.sampler: got 'grid', expected tpe or random"):
        studies.sampler("grid", 1, 5)
