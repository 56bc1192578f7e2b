"""Studies: deterministic, fair, and honest about failures."""

import math
from collections.abc import Sequence

import pytest

from svvr.core.seeds import tuning_seeds
from svvr.search import studies as tuning

SETTINGS = {
    "studies": 3, "trials": 8, "seeds_per_trial": 2, "batch": 1,
    "sampler_name": "tpe", "startup_trials": 3, "selection": "last_epoch",
}  # fmt: skip
RANGES = {"lr": (1e-4, 1e-1), "strength": (1e-3, 10.0)}
Trials = Sequence[tuple[dict[str, float], Sequence[int]]]


def bowl(params: dict[str, float], seed: int) -> float:
    return (math.log(params["lr"] / 0.01)) ** 2 + seed % 7 / 10


def rules(loss: float) -> tuning.Losses:
    return {"last_epoch": loss, "best_epoch": loss - 0.5}


def evaluate(trials: Trials) -> list[list[tuning.Losses]]:
    return [[rules(bowl(params, seed)) for seed in seeds] for params, seeds in trials]


def tune(**changes: object) -> list[dict]:
    ranges = changes.pop("ranges", RANGES)
    return tuning.tune("arm", ranges, changes.pop("evaluate", evaluate), **(SETTINGS | changes))  # type: ignore[arg-type]


def test_a_study_records_every_trial_and_its_winner() -> None:
    studies = tune()
    assert [study["study"] for study in studies] == [0, 1, 2]
    for study in studies:
        assert [trial["number"] for trial in study["trials"]] == list(range(8))
        best = min(study["trials"], key=lambda trial: trial["objective"])
        assert study["best"] == best["params"] and study["objective"] == best["objective"]
        assert {tuple(trial["seeds"]) for trial in study["trials"]} == {tuple(tuning_seeds(study["study"], 2))}
        for trial in study["trials"]:
            assert trial["losses"] == [bowl(trial["params"], seed) for seed in trial["seeds"]]
            assert trial["losses_by_rule"]["last_epoch"] == trial["losses"]
            assert trial["losses_by_rule"]["best_epoch"] == [loss - 0.5 for loss in trial["losses"]]
            assert trial["objective"] == pytest.approx(sum(trial["losses"]) / 2)
            assert all(low <= trial["params"][knob] <= high for knob, (low, high) in RANGES.items())


def test_studies_are_deterministic_seeded_apart_and_by_arm() -> None:
    assert tune() == tune()
    firsts = [study["trials"][0]["params"]["lr"] for study in tune()]
    firsts.append(tuning.tune("other", RANGES, evaluate, **SETTINGS)[0]["trials"][0]["params"]["lr"])  # type: ignore[arg-type]
    assert len(set(firsts)) == 4


def test_tpe_searches_better_than_chance_on_a_bowl() -> None:
    def smooth(trials: Trials) -> list[list[tuning.Losses]]:
        return [[rules(bowl(params, 0)) for _ in seeds] for params, seeds in trials]

    found = {name: tune(evaluate=smooth, sampler_name=name, trials=20, studies=10) for name in ("tpe", "random")}
    tpe, random = (sum(study["objective"] for study in studies) for studies in found.values())
    assert tpe < random / 2


@pytest.mark.parametrize("batch", [2, 3, 8])
def test_a_batch_stays_within_the_budget(batch: int) -> None:
    rounds: list[int] = []

    def counted(trials: Trials) -> list[list[tuning.Losses]]:
        rounds.append(len(trials))
        return evaluate(trials)

    studies = tune(batch=batch, evaluate=counted)
    assert all(len(study["trials"]) == 8 for study in studies)
    assert max(rounds) == 3 * batch and sum(rounds) == 24


def test_a_diverged_run_fails_its_trial_counts_and_never_wins() -> None:
    def diverging(trials: Trials) -> list[list[tuning.Losses]]:
        return [
            [rules(math.nan if params["lr"] > 0.01 else bowl(params, seed)) for seed in seeds]
            for params, seeds in trials
        ]

    studies = tune(evaluate=diverging)
    failed = [trial for study in studies for trial in study["trials"] if trial["state"] == "failed"]
    assert failed and all(trial["objective"] is None and trial["losses"] == [None, None] for trial in failed)
    assert all(len(study["trials"]) == 8 and study["best"]["lr"] <= 0.01 for study in studies)
    assert tuning.summary(studies)["n_failed"] == len(failed)


def test_a_study_without_a_complete_trial_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="arm arm, study 0: all 8 trials failed"):
        tune(evaluate=lambda trials: [[rules(math.inf)] * len(seeds) for _, seeds in trials])


def test_the_selection_rule_makes_the_objective() -> None:
    last, best = (tune(selection=rule)[0]["trials"][0] for rule in ("last_epoch", "best_epoch"))
    assert best["params"] == last["params"] and best["losses_by_rule"] == last["losses_by_rule"]
    assert best["objective"] == pytest.approx(last["objective"] - 0.5)


def test_winners_near_the_end_of_a_range_are_flagged() -> None:
    studies = tune(ranges={"lr": (0.01, 0.0100001), "strength": (1e-3, 10.0)}, trials=3)
    for study in studies:
        position = math.log10(study["best"]["strength"] / 1e-3) / 4
        assert ("strength" in study["on_boundary"]) == (not 0.05 < position < 0.95)


def test_an_unknown_sampler_is_named() -> None:
    with pytest.raises(ValueError, match=r"tuning\.sampler: got 'grid', expected tpe or random"):
        tuning.sampler("grid", 1, 5)


def test_summary() -> None:
    studies = tune()
    assert tuning.summary(studies) == {
        "n_studies": 3, "n_trials": 24, "n_failed": 0,
        "objective_mean_used_for_tuning": pytest.approx(sum(study["objective"] for study in studies) / 3),
    }  # fmt: skip
