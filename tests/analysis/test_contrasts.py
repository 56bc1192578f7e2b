"""Records to verdicts: rows by hand against numpy and scipy, the committed records against their summary."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from scipy import stats

from svvr.analysis import contrasts, statistics
from svvr.links import GENERALISATION, LINKS, MEASURED
from svvr.params import Range
from svvr.records import read_json
from tests.analysis import made
from tests.analysis.made import BETTER, QUESTION, contrast, summarise

LEVELS = {GENERALISATION: (0.9, 0.95), **dict.fromkeys(MEASURED, (1 - 0.1 / 3, 1 - 0.05 / 3))}  # Bonferroni's


def percent(d: Any) -> Any:
    return 100 * np.expm1(d)


@pytest.mark.parametrize(
    "effects,verdict,within",
    [
        (BETTER, "better", False), ([-d for d in BETTER], "worse", False),
        ([-0.0098, -0.0098, -0.0097, -0.0101], "better", True),
        ([0.001, 0.0, -0.001, 0.0], "equal", True),
        ([0.05, -0.04, -0.02, 0.01], "undecided", True),
        (BETTER[:2], "no verdict", False), (BETTER[:1], "no verdict", False),
    ],
)  # fmt: skip
def test_each_outcome(effects: list[float], verdict: str, within: bool) -> None:
    n = len(effects)
    result = summarise(made.records({"regularized": effects}, studies=n), made.params(studies=n))
    first = contrast(result)
    assert (first["verdict"], first["within_margin"]) == (verdict, within)
    assert first["effect_percent"] == pytest.approx(percent(np.mean(effects)))
    assert first["study_effects"] == pytest.approx(percent(effects))
    assert (first["n_studies"], first["n_pairs"]) == (n, 4 * n)
    assert (first["studies_needed"] is None) == (verdict != "undecided")
    assert (first["reason"] is not None) == (verdict == "no verdict") == ("smoke run" in str(first["reason"]))
    assert (first["ci_low"] is None) == (first["study_sd_percent"] is None) == (n == 1)


def test_one_seed_a_study_makes_a_smoke_run() -> None:
    result = summarise(made.records({"regularized": BETTER}, seeds=1), made.params(seeds=1))
    assert {row["verdict"] for row in result["contrasts"]} == {"no verdict"} and result["hypothesis"] == "no verdict"


def test_every_figure_of_a_contrast_by_hand() -> None:
    """Losses and figures without any pattern, against numpy and scipy; the order of the rows changes nothing."""
    records, rng = made.records(studies=5), np.random.default_rng(7)
    figures = {link: rng.normal(0, 0.3 if link in MEASURED else 0.05, (2, 20)) for link in LINKS}
    for arm, place in itertools.product((0, 1), range(20)):
        records[f"train/{QUESTION[arm]}"][place]["test_loss"] = math.exp(figures[GENERALISATION][arm, place])
        records[f"diagnose/{QUESTION[arm]}"][place] |= {link.name: figures[link][arm, place] for link in MEASURED}
    in_order = summarise(records, made.params(studies=5))
    for name, rows in records.items():
        if name.startswith(("train", "diagnose")):
            rng.shuffle(rows)
    result = summarise(records, made.params(studies=5))
    for link, levels in LEVELS.items():
        found, d = contrast(result, link.name), (figures[link][0] - figures[link][1]).reshape(5, 4)
        studies, row = d.mean(1), contrast(in_order, link.name)
        assert found["effect_percent"] == pytest.approx(percent(studies.mean()))
        for name, key, level in zip(("equivalence_ci", "ci"), ("equivalence_level", "level"), levels, strict=True):
            ends = stats.t.interval(level, 4, studies.mean(), stats.sem(studies))
            assert found[key] == pytest.approx(level)
            assert [found[f"{name}_low"], found[f"{name}_high"]] == pytest.approx(percent(ends))
        assert found["study_sd_percent"] == pytest.approx(100 * studies.std(ddof=1))
        np.testing.assert_allclose(row["pair_effects"], percent(d))
        np.testing.assert_allclose(np.sort(found["pair_effects"]), np.sort(percent(d)))
        needed = statistics.needed(studies.mean(), studies.std(ddof=1), 3, found["margin_percent"] / 100, *levels)
        assert found["verdict"] == "undecided" and found["studies_needed"] == needed
    one, two = (made.examples(5)[arm].astype(float) for arm in QUESTION)
    relative = (one / one.mean(1, keepdims=True) - two / two.mean(1, keepdims=True)).mean(0)
    expected = (100 + contrast(result)["effect_percent"]) * relative.std(ddof=1) / math.sqrt(50)
    assert contrast(result)["sampling_se_percent"] == pytest.approx(expected)


@pytest.mark.parametrize("arms", [["regularized"], ["baseline"], ["regularized", "baseline"]])
@pytest.mark.parametrize("places", [[6], [0, 1, 2, 3], [4, 9, 14], range(16)])
def test_a_failed_run_gives_no_verdict_and_is_named(arms: list[str], places: Sequence[int]) -> None:
    """Whether it is one run, a whole study, a run of some or all of them: grouping loses none."""
    records = made.records({"regularized": BETTER})
    for arm, place in itertools.product(arms, places):
        study, seed = (records[f"train/{arm}"][place][key] for key in ("study", "seed"))
        records[f"train/{arm}"][place] = made.final_run(study, seed, None, strength=0.1)
        records[f"diagnose/{arm}"][place] = made.diagnosed_run(study, seed, None)
    result = summarise(records)
    for link in LINKS:
        first = contrast(result, link.name)
        assert first["verdict"] == "no verdict" and first["n_studies"] == 4 and first["study_effects"] == []
        assert first["effect_percent"] is first["ci_low"] is first["sampling_se_percent"] is None
        where = f"study {places[0] // 4}, seed {100 * (places[0] // 4) + places[0] % 4}"
        what = "could not be measured" if link in MEASURED else "failed"
        assert first["reason"] == f"{where}: the run of {' and '.join(arms)} {what}"
        assert (contrast(result, link.name, 2)["verdict"] == "no verdict") == ("regularized" in arms)
        assert contrast(result, link.name, 1)["verdict"] == "equal"
    assert result["hypothesis"] == "no verdict"


@pytest.mark.parametrize(
    "verdicts,expected",
    [
        (["better", "better"], "supported"), (["equal", "worse"], "not supported"), (["better", "equal"], "undecided"),
        (["better", "no verdict"], "no verdict"), (["better"], "no verdict"),
    ],
)  # fmt: skip
def test_the_hypothesis(verdicts: list[str], expected: str) -> None:
    common = {"reference": "b", "effect_percent": 1.0}
    rows = [{"arm": f"a{i}", "verdict": each, "link": "generalisation"} | common for i, each in enumerate(verdicts)]
    rows += [row | {"link": "smoothness", "verdict": "no verdict"} for row in rows]
    rows.append({"arm": "later", "verdict": "worse", "link": "generalisation"} | common)
    assert contrasts.hypothesis(rows, [(f"a{i}", "b") for i in range(len(verdicts))]) == expected


@pytest.mark.parametrize("fall,inactive", [(0.899, False), (0.901, True), (1.5, True), (-0.5, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_penalty_is_inactive_unless_its_own_value_falls(fall: float, inactive: bool, sign: int) -> None:
    """The change is relative to the absolute value at the reference's runs, also where that is negative."""
    records = made.records(fall=fall, cv=0.95)
    for row in records["activity"]:
        change = (row["value"] - 3) / 3
        row |= {"value": sign * 3 + change * 3, "value_reference": sign * 3.0}
    records["activity"][0]["value"] = None  # a run that failed
    records["activity"][1]["value_reference"] = 0.0
    first = contrast(summarise(records))
    expected = 100 * (fall - 1) if fall > 0 else -100.0
    assert first["activity_percent"] == pytest.approx(expected)
    assert (first["inactive"], first["inactive_studies"]) == (inactive, 4 * inactive)
    assert first["flags"] == inactive * ["penalty inactive on average and in 4 of 4 studies"]
    assert first["cv_percent"] == pytest.approx(-5)  # which decides nothing


def test_activity_is_averaged_over_studies_as_logarithms() -> None:
    records = made.records(fall=0.5)
    for row in records["activity"][:4]:  # study 0 of the question
        row["value"] = 6.0
    first = contrast(summarise(records))
    assert first["activity_percent"] == pytest.approx(100 * (2**0.25 * 0.5**0.75 - 1))
    assert first["inactive"] is False and first["flags"] == ["penalty inactive in 1 of 4 studies"]


def test_an_arm_without_a_penalty_or_without_values_has_no_activity() -> None:
    records = made.records()
    for row in records["activity"]:
        row["value"] = None
    result = summarise(records, made.params(contrasts=(("weight_decay", "baseline"), QUESTION)))
    for number in (0, 1):
        row = contrast(result, number=number)
        assert row["activity_percent"] is row["inactive"] is row["inactive_studies"] is None
        assert (row["cv_percent"] is None) == (number == 0) and row["flags"] == []


def test_winners_near_the_end_of_their_range_are_flagged() -> None:
    records = made.records()
    for row in records["tune/regularized"]:
        row |= {2: {"strength": 9.0}, 3: {"strength": 0.00101, "lr": 0.099}}.get(row["study"], {})
    result = summarise(records)
    assert contrast(result)["flags"] == [
        f"regularized: {name} on the boundary in {n} of 4 studies" for name, n in (("lr", 1), ("strength", 2))
    ]
    assert [row["on_boundary"] for row in result["arms"]] == [[], ["lr", "strength"], [], []]
    assert result["arms"][1]["winners"][3] == {"study": 3, "lr": 0.099, "strength": 0.00101}
    trials = made.frames(records)[0].assign(lr=1e-4 * 1000**0.25)
    for share, n in ((0.24, 0), (0.26, 4)):  # of the logarithmic range
        assert contrasts.on_boundary(made.params(boundary=share), trials).get(("baseline", "lr"), 0) == n


def test_arms_with_other_ranges_of_the_learning_rate_are_flagged() -> None:
    settings = made.params()
    own = settings.arms["regularized"].model_copy(update={"lr": Range(low=1e-3, high=1e-1)})
    result = summarise(made.records(), settings.model_copy(update={"arms": settings.arms | {"regularized": own}}))
    flag = ["learning-rate ranges differ"]
    assert [contrast(result, number=number)["flags"] for number in range(3)] == [flag, [], flag]


@pytest.mark.parametrize("arm,change", [("regularized", "-1.0"), ("baseline", "+1.0"), ("baseline", None)])
def test_an_effect_that_still_moves_with_the_budget_is_flagged(arm: str, change: str | None) -> None:
    """One of the two best of 60 runs is drawn in 1090 of 3540 searches of 10 trials, in 570 of 3540 of 5."""
    records = made.records()
    for run in records[f"budget/{arm}"][:2]:  # replicate 0, point 0
        run["test_loss"] = (1.0101 if change else 1.0099) ** (-3540 / 520)
    flag = f"budget-limited: the effect still moves by {change} % between 5 and 10 trials of random search"
    assert contrast(summarise(records))["flags"] == ([flag] if change else [])


def test_a_design_of_failed_runs_has_no_effect_and_leaves_the_studies_verdict() -> None:
    records = made.records({"regularized": BETTER})
    result = summarise(records)
    assert [row["n_trials"] for row in result["budget"]] == 3 * list(range(1, made.POINTS + 1))
    assert result["budget_verdicts"][0]["effect_percent"] == pytest.approx(percent(np.mean(BETTER)))
    assert result["arms"][1]["expected_test_loss"] == pytest.approx(made.POINTS * [math.exp(np.mean(BETTER))])
    for run in records["budget/regularized"]:
        run |= made.losses_of(None)
    lost = summarise(records)
    assert (contrast(lost)["verdict"], lost["budget_verdicts"][0]["verdict"]) == ("better", "no verdict")
    assert contrast(lost)["flags"] == [] and lost["arms"][1]["expected_best"] == made.POINTS * [None]


def test_the_running_best_is_the_lowest_loss_so_far() -> None:
    """None as long as a study has no complete trial, and the mean over studies from there on."""
    losses = [[None, 3.0, 4.0, None, 2.0], [2.0, None, 1.0, 5.0, 0.5]]
    rows = [made.trial(s, number, loss) for s, row in enumerate(losses) for number, loss in enumerate(row)]
    trials = made.frames(made.records() | {"tune/baseline": rows}, ["baseline"])[0]
    for shuffled in (trials, trials.sample(frac=1, random_state=0)):
        assert contrasts.running_best(shuffled) == [None, 2.5, 2.0, 2.0, 1.25]


def test_an_arm_in_no_contrast_meets_its_reference_and_one_alone_meets_none() -> None:
    result = summarise(made.records({"weight_decay": BETTER}), made.params(contrasts=(QUESTION,)))
    second = contrast(result, number=1)
    assert (second["arm"], second["reference"], second["verdict"]) == ("weight_decay", "baseline", "better")
    lone = summarise(made.records() | {"activity": []}, made.params(arms=["baseline"], contrasts=()))
    assert [row["arm"] for row in lone["arms"]] == ["baseline"] and lone["hypothesis"] == "no verdict"
    assert lone["contrasts"] == lone["budget"] == lone["budget_verdicts"] == []


def test_the_committed_records_give_the_committed_summary() -> None:
    """All but the sampling errors, which take the test losses of each example; libraries may sum in another order."""
    params, metrics = made.COMMITTED, made.ROOT / "metrics"
    trials, runs, design, diagnosed, activity = made.read(metrics, params.arms)
    losses = made.examples(params.tuning.studies)
    found = contrasts.summarise(params, trials, runs, design, diagnosed, activity, losses)
    committed = read_json(metrics / "summary.json")
    assert committed["hypothesis"] == found.pop("hypothesis")
    for name, rows in found.items():
        one, other = (pd.DataFrame(each) for each in (rows, committed[name]))
        kept = one.columns.drop("sampling_se_percent", errors="ignore")
        assert_frame_equal(one[kept], other[kept], rtol=1e-12, atol=0)
