"""Records to verdicts, on records made by hand."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from svvr.core.files import array_hash
from svvr.core.params import load
from svvr.judge import contrasts as comparison

PARAMS = load(Path(__file__).parents[2] / "params.yaml")
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
        best = {knob: {"lr": 0.01}.get(knob, 0.1) for knob in PARAMS.arms[arm].tune}
        keys = [(study, 100 * study + seed) for study in range(n_studies) for seed in range(n_seeds)]
        runs = [
            {
                "study": study, "seed": seed, "initial_weights": f"hash{seed}", "state": "complete",
                "test_loss": math.exp(shift[study] + 0.001 * (seed % 2 - 0.5)),
                **{knob: best.get(knob, 0.0) for knob in ("lr", "strength", "weight_decay")},
            }
            for study, seed in keys
        ]  # fmt: skip
        train[arm] = {
            "arm": arm,
            "penalty": "none",
            "selection": PARAMS.selection,
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
                    "study": study, "seed": seed, "initial_weights": f"hash{seed}",
                    **dict.fromkeys(("conditioning", "smoothness", "gradient_stability"), 2 + shift[study]),
                    "layers": [{"coefficient_of_variation": each * variation} for each in (0.3, 0.6)],
                }
                for study, seed in keys
            ],
        }  # fmt: skip
        trials = [{"objective": 1.0 + 0.001 * number} for number in range(PARAMS.tuning.trials)]
        tune[arm] = {
            "arm": arm, "penalty": "none", "n_studies": n_studies, "n_trials": 20 * n_studies,
            "studies": [{"study": s, "best": dict(best), "trials": trials} for s in range(n_studies)],
        }  # fmt: skip
        losses[arm] = seal(train[arm])
    return tune, train, diagnose, losses


def seal(record: dict[str, Any]) -> np.ndarray:
    """Make per-example test losses that belong to a train record, and put their hash into it."""
    n_studies = 1 + max(run["study"] for run in record["runs"])
    losses = np.random.default_rng(0).gamma(2, 0.5, (n_studies, 50))
    for study in range(n_studies):
        runs = [run["test_loss"] for run in record["runs"] if run["study"] == study and run["test_loss"] is not None]
        losses[study] *= np.mean(runs or [1]) / losses[study].mean()
    record["test_losses"] = [array_hash(losses.astype(np.float32))]
    return losses.astype(np.float32)


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
        assert not any(
            word in " ".join(result["overall"]) for word in ("is supported", "the other way", "not established")
        )


def test_one_seed_a_study_is_a_smoke_run() -> None:
    assert contrast(summary({"regularized": [-0.03] * 4}, n_seeds=1))["verdict"] == "no verdict"


def test_the_links_use_simultaneous_intervals_and_their_own_margins() -> None:
    first = contrast(summary({"regularized": [-0.03, -0.031, -0.029, -0.03]}), "conditioning")
    assert first["verdict"] == "not supported" and first["margin_percent"] == 20  # 3 % is little for a condition number
    assert first["level"] == pytest.approx(1 - 0.05 / 3) and first["equivalence_level"] == pytest.approx(1 - 0.1 / 3)
    general = contrast(summary({"regularized": [-0.03, -0.031, -0.029, -0.03]}))
    assert general["level"] == 0.95
    assert first["ci_high"] - first["ci_low"] > general["ci_high"] - general["ci_low"]
    assert first["sampling_se_percent"] is None and general["sampling_se_percent"] is not None


@pytest.mark.parametrize("both", [True, False])
def test_the_hypothesis_needs_the_first_two_contrasts(both: bool) -> None:
    effects = {"regularized": [-0.03, -0.031, -0.029, -0.03]}
    if both:
        effects["weight_decay_regularized"] = effects["regularized"]
    (sentence,) = summary(effects)["overall"]
    conclusion = "the hypothesis is supported: " if both else "the hypothesis as a whole is not established: "
    assert sentence.startswith(f"At a budget of {PARAMS.tuning.trials} trials {conclusion}")
    links = "no change beyond the margin: conditioning, smoothness, gradient stability"
    assert sentence.endswith(f"Links, regularized against baseline: holds: generalisation; {links}.")


def test_a_run_that_started_from_trained_weights_is_caught() -> None:
    tune, train, diagnose, losses = records()
    train["regularized"]["runs"][5]["initial_weights"] = "those of the trained baseline"
    with pytest.raises(
        ValueError,
        match=r"regularized and baseline are not paired: study 1, seed 101: .*hash101 differ, expected the same",
    ):
        comparison.summarise(PARAMS, tune, train, diagnose, losses)


def spoil_missing(gathered: Records) -> None:
    del gathered["regularized"]["runs"][3]


def spoil_seed(gathered: Records) -> None:
    gathered["baseline"]["runs"][3]["seed"] = 999


def spoil_order(gathered: Records) -> None:
    gathered["baseline"]["runs"][:2] = gathered["baseline"]["runs"][1::-1]


@pytest.mark.parametrize(
    "spoil,message",
    [
        (spoil_missing, "study 0, seed 3 is in baseline alone"),
        (spoil_seed, r"study 0, seed (3|999) is in (regularized|baseline) alone"),
        (spoil_order, "study 0, seed 0 stands where baseline has study 0, seed 1"),
    ],
)
def test_missing_runs_other_seeds_and_another_order_are_caught(spoil: Any, message: str) -> None:
    tune, train, diagnose, losses = records()
    spoil(train)
    with pytest.raises(ValueError, match=f"regularized and baseline are not paired: {message}"):
        comparison.summarise(PARAMS, tune, train, diagnose, losses)


@pytest.mark.parametrize("spoil", [spoil_missing, spoil_order])
def test_diagnosed_runs_must_be_paired_too(spoil: Any) -> None:
    tune, train, diagnose, losses = records()
    spoil(diagnose)
    with pytest.raises(ValueError, match="regularized and baseline are not paired"):
        comparison.summarise(PARAMS, tune, train, diagnose, losses)


@pytest.mark.parametrize("key,value", [("seed", 999), ("initial_weights", "those of the trained baseline")])
def test_diagnosed_runs_must_be_the_arm_s_final_ones(key: str, value: Any) -> None:
    tune, train, diagnose, losses = records()
    for arm in ARMS:  # alike in every arm, so that pairing alone would not see it
        diagnose[arm]["runs"][3][key] = value
    with pytest.raises(ValueError, match=r"diagnosed record of arm baseline: got study 0, .*one of its final runs"):
        comparison.summarise(PARAMS, tune, train, diagnose, losses)


def test_records_of_other_settings_are_caught() -> None:
    tune, train, diagnose, losses = records()
    train["weight_decay"]["selection"] = "best_epoch"
    with pytest.raises(ValueError, match="arm weight_decay: got runs under selection 'best_epoch', expected 'last_ep"):
        comparison.summarise(PARAMS, tune, train, diagnose, losses)
    tune, train, diagnose, losses = records()
    tune["regularized"]["studies"][1]["trials"] = [{"objective": 1.0}]
    with pytest.raises(ValueError, match="arm regularized: got 1 trials in study 1, expected"):
        comparison.summarise(PARAMS, tune, train, diagnose, losses)


def test_a_missing_record_is_named() -> None:
    for index, kind in enumerate(("tuning", "final", "diagnosed")):
        made = records()
        del made[index]["weight_decay"]
        with pytest.raises(ValueError, match=f"{kind} record of arm weight_decay: got none"):
            comparison.summarise(PARAMS, *made)


def test_a_study_without_runs_is_named() -> None:
    for index, kind in ((1, "final"), (2, "diagnosed")):
        made = records()
        made[index]["baseline"]["runs"] = made[index]["baseline"]["runs"][:-4]
        with pytest.raises(
            ValueError, match=rf"{kind} record of arm baseline: got studies \[0, 1, 2\], expected \[0, 1"
        ):
            comparison.summarise(PARAMS, *made)


def test_test_losses_of_other_runs_are_named() -> None:
    tune, train, diagnose, losses = records({"regularized": [-0.03, -0.031, -0.029, -0.03]})
    with pytest.raises(ValueError, match="test losses of arm baseline: got others than the final record's"):
        comparison.summarise(PARAMS, tune, train, diagnose, losses | {"baseline": losses["regularized"]})
    for run in train["regularized"]["runs"]:
        run["test_loss"] *= 1.001
    with pytest.raises(
        ValueError, match=r"final record of arm regularized, study 0: got a mean test loss of .*, expected"
    ):
        comparison.summarise(PARAMS, tune, train, diagnose, losses)


def test_final_runs_of_other_knobs_than_the_tuned_ones_are_named() -> None:
    tune, train, diagnose, losses = records()
    train["regularized"]["runs"][5]["strength"] = 0.2
    expected = r"final record of arm regularized: got .*0\.2.* at study 1, seed 101, expected .* as tuned"
    with pytest.raises(ValueError, match=expected):
        comparison.summarise(PARAMS, tune, train, diagnose, losses)


def test_one_study_has_no_interval() -> None:
    result = summary({"regularized": [-0.03]})
    first = contrast(result)
    assert first["effect_percent"] == pytest.approx(100 * math.expm1(-0.03)) and first["verdict"] == "no verdict"
    assert all(first[f"{name}_{end}"] is None for name in ("equivalence_ci", "ci") for end in ("low", "high"))
    assert "no interval from one study" in first["sentence"]
    assert comparison.verdict_table(result).splitlines()[1].split()[-3:] == ["-", "no", "verdict"]


def test_a_control_never_supports_the_hypothesis() -> None:
    effects = [-0.03, -0.031, -0.029, -0.03]
    only = PARAMS.model_copy(
        update={"compare": PARAMS.compare.model_copy(update={"contrasts": (("regularized", "baseline"),)})}
    )
    made = records({"regularized": effects, "weight_decay": effects})
    result = comparison.summarise(only, *made)
    assert [contrast(result, number=n)["verdict"] for n in (0, 1)] == ["supported", "supported"]
    (sentence,) = result["overall"]
    assert "there is no verdict on the hypothesis as a whole, which takes two contrasts" in sentence
    assert "weight decay" not in sentence


def test_a_failed_run_gives_no_verdict_and_is_named() -> None:
    tune, train, diagnose, losses = records({"regularized": [-0.03, -0.031, -0.029, -0.03]})
    train["regularized"]["runs"][6] |= {"test_loss": None, "state": "failed"}
    diagnose["regularized"]["runs"][6] |= dict.fromkeys(("conditioning", "smoothness", "gradient_stability"))
    losses["regularized"] = seal(train["regularized"])
    result = comparison.summarise(PARAMS, tune, train, diagnose, losses)
    for link in comparison.LINKS:
        first = contrast(result, link)
        assert first["verdict"] == "no verdict" and first["effect_percent"] is None
        what = "failed" if link == "generalisation" else "could not be measured"
        assert f"study 1, seed 102: the run of regularized {what}" in first["sentence"]
        assert first["n_studies"] == 4
    assert contrast(result, number=1)["verdict"] == "not supported"
    assert "no verdict" in comparison.verdict_table(result)


def test_a_penalty_that_changes_little_is_inactive() -> None:
    tune, train, diagnose, losses = records(cv={"regularized": 0.95, "weight_decay_regularized": 0.5})
    for run in diagnose["regularized"]["runs"][:4]:  # study 0: active in one layer alone
        run["layers"][1]["coefficient_of_variation"] = 0.3
    result = comparison.summarise(PARAMS, tune, train, diagnose, losses)
    first, second = contrast(result), contrast(result, number=1)
    changes = [math.log(0.95) / 2 + math.log(0.5) / 2, *3 * [math.log(0.95)]]
    assert first["activity_percent"] == pytest.approx(100 * math.expm1(np.mean(changes)))
    assert first["inactive"] is False and first["inactive_studies"] == 3
    assert "penalty inactive in 3 of 4 studies" in first["flags"] and "inactive in 3 of 4" in first["sentence"]
    assert second["inactive_studies"] == 0 and second["activity_percent"] == pytest.approx(-50)
    assert not any("inactive" in flag for flag in second["flags"])
    for run in diagnose["regularized"]["runs"]:
        run["layers"] = [{"coefficient_of_variation": each * 0.95} for each in (0.3, 0.6)]
    first = contrast(comparison.summarise(PARAMS, tune, train, diagnose, losses))
    assert first["inactive"] and "penalty inactive on average and in 4 of 4 studies" in first["flags"]
    for run in diagnose["regularized"]["runs"]:
        run["conditioning"] = None
    first = contrast(comparison.summarise(PARAMS, tune, train, diagnose, losses))
    assert first["activity_percent"] is None and first["inactive"] is None


def test_an_arm_without_a_penalty_has_no_activity() -> None:
    compared = PARAMS.compare.model_copy(update={"contrasts": (("weight_decay", "baseline"),)})
    result = comparison.summarise(PARAMS.model_copy(update={"compare": compared}), *records())
    assert contrast(result)["inactive"] is None and contrast(result)["inactive_studies"] is None


def set_strength(tune: Records, train: Records, strength: float) -> None:
    """Let study 2 of the regularized arm have won with another strength."""
    tune["regularized"]["studies"][2]["best"]["strength"] = strength
    for run in train["regularized"]["runs"]:
        if run["study"] == 2:
            run["strength"] = strength


def test_a_winner_near_the_end_of_its_range_is_flagged() -> None:
    tune, train, diagnose, losses = records(cv={"regularized": 0.5})
    set_strength(tune, train, 9.0)
    result = comparison.summarise(PARAMS, tune, train, diagnose, losses)
    assert contrast(result)["flags"] == ["regularized: strength on the boundary in 1 of 4 studies"]
    assert result["arms"][1]["on_boundary"] == ["strength"] and result["arms"][0]["on_boundary"] == []
    strict = PARAMS.model_copy(update={"compare": PARAMS.compare.model_copy(update={"boundary": 0.001})})
    assert contrast(comparison.summarise(strict, tune, train, diagnose, losses))["flags"] == []


@pytest.mark.parametrize("gain,flagged", [(0.0101, True), (0.0099, False)])
def test_a_budget_that_limits_the_arm_with_more_knobs_is_flagged(gain: float, flagged: bool) -> None:
    tune, train, diagnose, losses = records(cv={"regularized": 0.5})
    made = comparison.best_curve
    curves = {"regularized": [9.0, *9 * [1 + gain], *10 * [1.0]], "weight_decay": [9.0, *9 * [1.5], *10 * [1.0]]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "best_curve", lambda record: curves.get(record["arm"]) or made(record))
        result = comparison.summarise(PARAMS, tune, train, diagnose, losses)
        compared = PARAMS.compare.model_copy(update={"contrasts": (("baseline", "weight_decay"),)})
        turned = comparison.summarise(PARAMS.model_copy(update={"compare": compared}), tune, train, diagnose, losses)
    half = "the last half of the trials lowered the expected best loss of"
    expected = [f"budget-limited: {half} regularized by 1.0 %"] if flagged else []
    assert contrast(result)["flags"] == expected
    # weight_decay tunes as many knobs, so the budget favours neither
    assert contrast(result, number=2)["flags"] == []
    assert contrast(turned)["flags"] == [f"budget-limited: {half} weight decay by 33.3 %"]
    assert comparison.late_gain(None) == comparison.late_gain([1.0]) == 0


def test_every_figure_of_a_contrast_by_hand() -> None:
    """Losses and figures without any pattern, against numpy and scipy."""
    tune, train, diagnose, losses = records({"regularized": [0.0] * 5})
    rng = np.random.default_rng(7)
    for arm in ("regularized", "baseline"):
        for run in train[arm]["runs"]:
            run["test_loss"] = float(rng.uniform(1, 1.2))
        for run in diagnose[arm]["runs"]:
            run["smoothness"] = float(rng.normal(2, 0.3))
        losses[arm] = seal(train[arm])
    result = comparison.summarise(PARAMS, tune, train, diagnose, losses)

    def differences(gathered: Records, figure: Any) -> np.ndarray:
        one, two = (np.array([figure(run) for run in gathered[arm]["runs"]]) for arm in ("regularized", "baseline"))
        return np.asarray((one - two).reshape(5, 4))

    for link, d, levels in (
        ("generalisation", differences(train, lambda run: math.log(run["test_loss"])), (0.9, 0.95)),
        ("smoothness", differences(diagnose, lambda run: run["smoothness"]), (1 - 0.1 / 3, 1 - 0.05 / 3)),
    ):
        found, studies = contrast(result, link), d.mean(1)
        assert found["effect_percent"] == pytest.approx(100 * math.expm1(studies.mean()))
        for name, level in zip(("equivalence_ci", "ci"), levels, strict=True):
            low, high = stats.t.interval(level, 4, studies.mean(), stats.sem(studies))
            assert found[f"{name}_low"] == pytest.approx(100 * math.expm1(low))
            assert found[f"{name}_high"] == pytest.approx(100 * math.expm1(high))
        assert found["given_these_winners"]["p_better"] == pytest.approx((d < 0).mean())
        assert found["study_sd_percent"] == pytest.approx(100 * studies.std(ddof=1))
        np.testing.assert_allclose(found["study_effects"], 100 * np.expm1(studies))
        np.testing.assert_allclose(found["pair_effects"], 100 * np.expm1(d))
        rule = (math.log1p(found["margin_percent"] / 100), *levels)
        assert found["verdict"] == "inconclusive" and found["studies_needed"] == by_hand(studies, *rule)
    one, two = (losses[arm].astype(float) for arm in ("regularized", "baseline"))
    relative = (one / one.mean(1, keepdims=True) - two / two.mean(1, keepdims=True)).mean(0)
    first = contrast(result)
    expected = (100 + first["effect_percent"]) * relative.std(ddof=1) / math.sqrt(50)
    assert first["sampling_se_percent"] == pytest.approx(expected)


def by_hand(effects: np.ndarray, margin: float, inner: float, outer: float) -> int:
    """Return the first number of studies at which the same mean and deviation would decide."""
    mean, sd = effects.mean(), effects.std(ddof=1)
    for n in range(3, 1001):
        narrow, wide = (stats.t.ppf((1 + level) / 2, n - 1) * sd / math.sqrt(n) for level in (inner, outer))
        if abs(mean) + narrow < margin or abs(mean) > wide:
            return n
    raise AssertionError("more than 1000 studies")


def test_a_study_with_one_seed_makes_a_smoke_run() -> None:
    tune, train, diagnose, losses = records({"regularized": [-0.03] * 4})
    for gathered in (train, diagnose):
        for arm in ARMS:
            runs = gathered[arm]["runs"]
            gathered[arm]["runs"] = [run for run in runs if run["study"] or run["seed"] == 0]
    losses = {arm: seal(train[arm]) for arm in ARMS}
    result = comparison.summarise(PARAMS, tune, train, diagnose, losses)
    assert all(c["verdict"] == "no verdict" for c in result["contrasts"])


def test_arms_carry_their_expected_best() -> None:
    tune, train, diagnose, losses = records()
    for study in tune["weight_decay"]["studies"]:
        study["trials"] = [{"objective": None}] * PARAMS.tuning.trials
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
    assert list(result)[: len(flat)] == flat and len(flat) == 9 and flat[-1] == "selection"
    assert flat[:4] == [f"regularized_vs_baseline_{end}" for end in ("percent", "ci_low", "ci_high", "verdict")]


def test_the_table_fits_a_terminal() -> None:
    tune, train, diagnose, losses = records(
        {"regularized": [-0.03, -0.031, -0.029, -0.03], "weight_decay": [0, 0, 0, 0.04]}
    )
    set_strength(tune, train, 9.0)
    result = comparison.summarise(PARAMS, tune, train, diagnose, losses)
    lines = comparison.verdict_table(result).splitlines()
    assert len(lines) <= 25 and max(map(len, lines)) <= 120
    assert lines[1].split()[-1] == "supported" and "regularized vs baseline" in lines[1]
    undecided = contrast(result, number=1)
    assert undecided["verdict"] == "inconclusive" and f"~{undecided['studies_needed']} studies" in lines[5]
    assert lines[13] == "Intervals: 95 % for generalisation; 98.3 % for conditioning, smoothness, gradient stability."
    assert " ".join(result["overall"]) in " ".join(lines)
    assert "strength on the boundary in 1 of 4 studies" in " ".join(lines[13:])
    many = result | {"contrasts": 9 * [c | {"arm": 60 * "x", "reference": 60 * "y"} for c in result["contrasts"]]}
    lines = comparison.verdict_table(many).splitlines()
    assert len(lines) == 25 and max(map(len, lines)) <= 120 and any("more lines in the summary" in row for row in lines)
    assert lines[1].split()[-1] == "supported" and any(line.startswith("At a budget") for line in lines)
