"""Records to verdicts, on records made by hand."""

import copy
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from svvr import comparison
from svvr.params import load

PARAMS = load(Path(__file__).parents[1] / "params.yaml")
ARMS = tuple(PARAMS.arms)
Records = dict[str, dict[str, Any]]


def records(
    effects: dict[str, list[float]] | None = None, n_seeds: int = 4, cv: dict[str, float] | None = None
) -> tuple[Records, Records, Records, dict[str, np.ndarray]]:
    """Make records of four arms; `effects` are the studies' log differences from a loss of 1 in every figure."""
    effects = effects or {}
    n_studies = max([len(each) for each in effects.values()] or [4])
    tune: Records = {}
    train: Records = {}
    diagnose: Records = {}
    losses = {}
    for arm in ARMS:
        shift = effects.get(arm, [0.0] * n_studies)
        keys = [(study, 100 * study + seed) for study in range(n_studies) for seed in range(n_seeds)]
        runs = [
            {
                "study": study, "seed": seed, "initial_weights": f"hash{seed}", "state": "complete",
                "test_loss": math.exp(shift[study] + 0.001 * (seed % 2 - 0.5)),
            }
            for study, seed in keys
        ]  # fmt: skip
        train[arm] = {
            "arm": arm,
            "penalty": "none",
            "validation_loss": 1.0,
            "test_loss": 1.0,
            "test_accuracy": 0.5,
            "runs": runs,
        }
        variation = (cv or {}).get(arm, 1.0)
        diagnose[arm] = {
            "arm": arm,
            "runs": [
                {
                    "study": study, "seed": seed,
                    **dict.fromkeys(("conditioning", "smoothness", "gradient_stability"), 2 + shift[study]),
                    "layers": [{"coefficient_of_variation": each * variation} for each in (0.3, 0.6)],
                }
                for study, seed in keys
            ],
        }  # fmt: skip
        trials = [{"objective": 1.0 + 0.001 * number} for number in range(20)]
        best = dict.fromkeys(PARAMS.arms[arm].tune, 0.1)
        tune[arm] = {
            "arm": arm, "penalty": "none", "n_studies": n_studies, "n_trials": 20 * n_studies,
            "studies": [{"study": s, "best": best, "on_boundary": [], "trials": trials} for s in range(n_studies)],
        }  # fmt: skip
        losses[arm] = np.random.default_rng(0).gamma(2, 0.5, (n_studies, 50)).astype(np.float32)
    return tune, train, diagnose, losses


def summary(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return comparison.summarise(PARAMS, *records(*args, **kwargs))


def contrast(result: dict[str, Any], link: str = "generalisation", number: int = 0) -> dict[str, Any]:
    return [c for c in result["contrasts"] if c["link"] == link][number]


@pytest.mark.parametrize(
    "effects,verdict",
    [
        ([-0.03, -0.031, -0.029, -0.03], "supported"),
        ([0.03, 0.031, 0.029, 0.03], "opposite"),
        ([0.001, 0.0, -0.001, 0.0], "not supported"),
        ([0.05, -0.04, -0.02, 0.01], "inconclusive"),
        ([-0.03, -0.031], "no verdict"),
    ],
)
def test_each_outcome(effects: list[float], verdict: str) -> None:
    result = summary({"regularized": effects})
    first = contrast(result)
    assert first["verdict"] == verdict and verdict in first["sentence"]
    assert first["study_effects"] == pytest.approx([100 * math.expm1(d) for d in effects])
    assert first["effect_percent"] == pytest.approx(100 * math.expm1(np.mean(effects)))
    assert first["n_pairs"] == 4 * len(effects) and first["n_studies"] == len(effects)
    assert result["regularized_vs_baseline_verdict"] == verdict
    if verdict == "inconclusive":
        assert "studies needed" in first["sentence"]
    if verdict == "no verdict":
        assert "smoke run" in first["sentence"]
        assert not any(word in " ".join(result["overall"]) for word in ("is supported", "opposite", "not established"))


def test_one_seed_a_study_is_a_smoke_run() -> None:
    assert contrast(summary({"regularized": [-0.03] * 4}, n_seeds=1))["verdict"] == "no verdict"


def test_the_links_use_simultaneous_intervals_and_their_own_margins() -> None:
    first = contrast(summary({"regularized": [-0.03, -0.031, -0.029, -0.03]}), "conditioning")
    assert first["verdict"] == "not supported" and first["margin_percent"] == 20  # 3 % is little for a condition number
    assert first["level"] == pytest.approx(1 - 0.05 / 3) and first["equivalence_level"] == pytest.approx(1 - 0.1 / 3)
    general = contrast(summary({"regularized": [-0.03, -0.031, -0.029, -0.03]}))
    assert general["level"] == 0.95
    assert first["ci95_high"] - first["ci95_low"] > general["ci95_high"] - general["ci95_low"]
    assert first["sampling_se_percent"] is None and general["sampling_se_percent"] is not None


@pytest.mark.parametrize("both", [True, False])
def test_the_hypothesis_needs_the_first_two_contrasts(both: bool) -> None:
    effects = {"regularized": [-0.03, -0.031, -0.029, -0.03]}
    if both:
        effects["weight_decay_regularized"] = effects["regularized"]
    first, links = summary(effects)["overall"]
    assert first.startswith("The hypothesis is supported" if both else "The hypothesis as a whole is not established")
    assert links.index("conditioning") < links.index("smoothness") < links.index("generalisation")


def test_a_run_that_started_from_trained_weights_is_caught() -> None:
    tune, train, diagnose, losses = records()
    train["regularized"]["runs"][5]["initial_weights"] = "those of the trained baseline"
    with pytest.raises(
        ValueError, match=r"runs of regularized and baseline, study 1, seed 101: .* differ, expected the same"
    ):
        comparison.summarise(PARAMS, tune, train, diagnose, losses)


def test_missing_runs_and_other_seeds_are_caught() -> None:
    tune, train, diagnose, losses = records()
    missing = copy.deepcopy(train)
    del missing["regularized"]["runs"][3]
    other = copy.deepcopy(train)
    other["baseline"]["runs"][3]["seed"] = 999
    swapped = copy.deepcopy(train)
    swapped["baseline"]["runs"][:2] = swapped["baseline"]["runs"][1::-1]
    for bad in (missing, other, swapped):
        with pytest.raises(
            ValueError, match=r"runs of regularized and baseline: study and seed \(0, \d+\) are not in both"
        ):
            comparison.summarise(PARAMS, tune, bad, diagnose, losses)


def test_a_record_of_another_arm_is_caught() -> None:
    tune, train, diagnose, losses = records()
    for gathered, kind in ((tune, "tuning"), (train, "final"), (diagnose, "diagnosed")):
        gathered["baseline"]["arm"] = "weight_decay"
        with pytest.raises(ValueError, match=f"{kind} record of arm baseline: got that of 'weight_decay'"):
            comparison.summarise(PARAMS, tune, train, diagnose, losses)
        gathered["baseline"]["arm"] = "baseline"


def test_a_failed_run_gives_no_verdict_and_is_named() -> None:
    tune, train, diagnose, losses = records({"regularized": [-0.03, -0.031, -0.029, -0.03]})
    train["regularized"]["runs"][6] |= {"test_loss": None, "state": "failed"}
    diagnose["regularized"]["runs"][6] |= dict.fromkeys(("conditioning", "smoothness", "gradient_stability"))
    result = comparison.summarise(PARAMS, tune, train, diagnose, losses)
    for link in comparison.LINKS:
        first = contrast(result, link)
        assert first["verdict"] == "no verdict" and first["effect_percent"] is None
        assert "study 1, seed 102: the run failed" in first["sentence"]
    assert contrast(result, number=1)["verdict"] == "not supported"
    assert "no verdict" in comparison.verdict_table(result)


def test_a_penalty_that_changes_little_is_inactive() -> None:
    tune, train, diagnose, losses = records(cv={"regularized": 0.95, "weight_decay_regularized": 0.5})
    result = comparison.summarise(PARAMS, tune, train, diagnose, losses)
    first, second = contrast(result), contrast(result, number=1)
    assert "penalty inactive" in first["flags"] and first["inactive_studies"] == 4
    assert first["activity_percent"] == pytest.approx(-5)
    assert "penalty inactive" not in second["flags"] and second["activity_percent"] == pytest.approx(-50)
    for run in diagnose["regularized"]["runs"]:
        run["conditioning"] = None
    result = comparison.summarise(PARAMS, tune, train, diagnose, losses)
    assert contrast(result)["activity_percent"] is None and not contrast(result)["inactive"]


def test_boundary_and_budget_are_flagged() -> None:
    tune, train, diagnose, losses = records(cv={"regularized": 0.5})
    tune["regularized"]["studies"][2]["on_boundary"] = ["strength"]
    for study in tune["regularized"]["studies"]:
        study["trials"] = [{"objective": 2.0 - 0.02 * number} for number in range(20)]
    result = comparison.summarise(PARAMS, tune, train, diagnose, losses)
    assert contrast(result)["flags"] == ["budget-limited", "regularized: strength on the boundary in 1 of 4 studies"]
    # weight_decay tunes as many knobs, so the budget favours neither
    assert "budget-limited" not in contrast(result, number=2)["flags"]
    assert not comparison.budget_limited(None, 0.01) and not comparison.budget_limited([1.0], 0.01)


def test_arms_carry_their_expected_best() -> None:
    tune, train, diagnose, losses = records()
    for study in tune["weight_decay"]["studies"]:
        study["trials"] = [{"objective": None}] * 20
    arms = {arm["arm"]: arm for arm in comparison.summarise(PARAMS, tune, train, diagnose, losses)["arms"]}
    curve = arms["baseline"]["expected_best"]
    assert len(curve) == 20 and curve[0] == pytest.approx(np.mean([1.0 + 0.001 * n for n in range(20)]))
    assert curve[-1] == 1.0 and all(a >= b for a, b in itertools.pairwise(curve))
    assert arms["weight_decay"]["expected_best"] is None


def test_an_arm_in_no_contrast_meets_its_reference() -> None:
    only = PARAMS.model_copy(
        update={"compare": PARAMS.compare.model_copy(update={"contrasts": (("regularized", "baseline"),)})}
    )
    assert comparison.pairs_to_compare(only) == [
        ("regularized", "baseline"), ("weight_decay", "baseline"), ("weight_decay_regularized", "weight_decay"),
    ]  # fmt: skip
    none = PARAMS.model_copy(update={"compare": PARAMS.compare.model_copy(update={"contrasts": ()})})
    lone = none.model_copy(update={"arms": {"baseline": PARAMS.arms["baseline"]}})
    tune, train, diagnose, losses = ({"baseline": each["baseline"]} for each in records())
    result = comparison.summarise(lone, tune, train, diagnose, losses)
    assert result["contrasts"] == [] and result["overall"] == []


def test_the_flat_figures_come_first_and_are_few() -> None:
    result = summary({"regularized": [-0.03, -0.031, -0.029, -0.03]})
    flat = [key for key, value in result.items() if not isinstance(value, list)]
    assert list(result)[: len(flat)] == flat and len(flat) == 8
    assert flat[:4] == [f"regularized_vs_baseline_{end}" for end in ("percent", "ci95_low", "ci95_high", "verdict")]


def test_the_table_fits_a_terminal() -> None:
    table = comparison.verdict_table(summary({"regularized": [-0.03, -0.031, -0.029, -0.03]}))
    rows = table.splitlines()[:13]
    assert len(table.splitlines()) == 15 and max(map(len, rows)) <= 110
    assert "supported" in rows[1]
