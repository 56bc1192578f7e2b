"""Records to verdicts: made records against numpy and scipy, and the committed ones against the committed summary."""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from svvr import tables
from svvr.core.files import read_json
from svvr.core.params import Params
from svvr.judge import budget, contrasts, results
from svvr.links import BY_NAME, GENERALISATION, LINKS, MEASURED, Link
from tests.judge import made
from tests.judge.made import BETTER, PARAMS

QUESTION = ("regularized", "baseline")
BOTH_LEVELS = {GENERALISATION: (0.9, 0.95), **dict.fromkeys(MEASURED, (1 - 0.1 / 3, 1 - 0.05 / 3))}  # Bonferroni's


def contrast(result: dict[str, Any], link: str = "generalisation", number: int = 0) -> dict[str, Any]:
    found: list[dict[str, Any]] = [entry for entry in result["contrasts"] if entry["link"] == link]
    return found[number]


def compare(
    records: Any, link: Link = GENERALISATION, pair: tuple[str, str] = QUESTION, params: Params = PARAMS
) -> dict[str, Any]:
    """Compare two arms from the tables, without the checks of whole records."""
    values = tables.quantities(records)
    pairs = tables.pairs(values, [pair])
    return contrasts.compare(params, link, *pair, pairs[pairs["link"] == link.name], values)


@pytest.mark.parametrize(
    "effects,verdict",
    [
        (BETTER, "supported"),
        ([-d for d in BETTER], "opposite"),
        ([0.001, 0.0, -0.001, 0.0], "not supported"),
        ([0.05, -0.04, -0.02, 0.01], "inconclusive"),
        (BETTER[:2], "no verdict"),
        (BETTER[:1], "no verdict"),
    ],
)
def test_each_outcome(effects: list[float], verdict: str) -> None:
    result = made.summarise(made.records({"regularized": effects}))
    assert [len(entry["running_best"]) for entry in result["arms"]] == 4 * [made.N_TRIALS]
    results.Summary.model_validate(json.loads(json.dumps(result | {"overall": []}, allow_nan=False)))
    first = contrast(result)
    assert first["verdict"] == result["regularized_vs_baseline_verdict"] == verdict
    assert first["study_effects"] == pytest.approx([100 * math.expm1(d) for d in effects])
    assert first["effect_percent"] == pytest.approx(100 * math.expm1(np.mean(effects)))
    assert first["n_pairs"] == 4 * len(effects) and first["n_studies"] == len(effects)
    assert (first["studies_needed"] is None) == (verdict != "inconclusive")
    assert (first["reason"] is not None) == (verdict == "no verdict") == ("smoke run" in str(first["reason"]))
    ends = [first[f"{name}_{end}"] for name in ("equivalence_ci", "ci") for end in ("low", "high")]
    if len(effects) == 1:
        assert ends == 4 * [None] and first["study_sd_percent"] is None
    else:
        assert ends[2] < ends[0] < first["effect_percent"] < ends[1] < ends[3]


@pytest.mark.parametrize("studies", [range(5), [0]])
def test_one_seed_in_any_study_makes_a_smoke_run(studies: Sequence[int]) -> None:
    records = made.records({"regularized": [*BETTER, -0.01]})
    for record in (record for kind in ("train", "diagnose") for record in records[kind].values()):
        record["runs"] = [run for run in record["runs"] if run["study"] not in studies or run["seed"] % 100 == 0]
    found = made.summarise(records)["contrasts"]
    assert {entry["verdict"] for entry in found} == {"no verdict"}
    assert found[0]["n_pairs"] == (5 if len(studies) > 1 else 17)  # and each study counts as much as another:
    assert found[0]["effect_percent"] == pytest.approx(100 * math.expm1(np.mean([*BETTER, -0.01])))


def test_a_single_pair_has_an_effect_and_nothing_else() -> None:
    records = made.records({"regularized": [-0.03]})
    for arm in QUESTION:
        del records["train"][arm]["runs"][1:]
    found = compare(records)
    assert found["effect_percent"] == pytest.approx(100 * math.expm1(-0.03))
    assert found["given_these_winners"] is None and found["verdict"] == "no verdict"


def test_every_figure_of_a_contrast_by_hand() -> None:
    """Losses and figures without any pattern, against numpy and scipy; the order of runs and arms changes nothing."""
    records = made.records({"regularized": [0.0] * 5})
    rng = np.random.default_rng(7)
    for arm in QUESTION:
        for run in records["train"][arm]["runs"]:
            run["test_loss"] = float(rng.uniform(1, 1.2))
        for run in records["diagnose"][arm]["runs"]:
            run |= {link.name: float(rng.normal(2, 0.3)) for link in MEASURED}
    figures = {link: {arm: figures_of(records, link, arm) for arm in QUESTION} for link in LINKS}
    losses = made.losses(records)
    in_order = contrasts.summarise(PARAMS, records, losses, made.NO_FIGURES)
    for record in (record for kind in ("train", "diagnose") for record in records[kind].values()):
        rng.shuffle(record["runs"])
    turned = {kind: dict(reversed(of_arm.items())) for kind, of_arm in records.items()}
    result = contrasts.summarise(PARAMS, turned, losses, made.NO_FIGURES)

    for link, (inner, outer) in BOTH_LEVELS.items():
        found, d = contrast(result, link.name), figures[link]["regularized"] - figures[link]["baseline"]
        studies = d.mean(1)
        assert found["effect_percent"] == pytest.approx(100 * math.expm1(studies.mean()))
        for name, key, level in (("equivalence_ci", "equivalence_level", inner), ("ci", "level", outer)):
            assert found[key] == pytest.approx(level)
            low, high = stats.t.interval(level, 4, studies.mean(), stats.sem(studies))
            assert found[f"{name}_low"] == pytest.approx(100 * math.expm1(low))
            assert found[f"{name}_high"] == pytest.approx(100 * math.expm1(high))
        assert found["given_these_winners"]["p_better"] == pytest.approx((d < 0).mean())
        assert found["given_these_winners"]["paired_t_p"] == pytest.approx(stats.ttest_1samp(d.ravel(), 0).pvalue)
        assert found["study_sd_percent"] == pytest.approx(100 * studies.std(ddof=1))
        np.testing.assert_allclose(found["study_effects"], 100 * np.expm1(studies))
        np.testing.assert_allclose(contrast(in_order, link.name)["pair_effects"], 100 * np.expm1(d))
        np.testing.assert_allclose(np.sort(found["pair_effects"]), np.sort(100 * np.expm1(d)))
        rule = (math.log1p(found["margin_percent"] / 100), inner, outer)
        assert found["verdict"] == "inconclusive" and found["studies_needed"] == needed_by_hand(studies, *rule)
        assert found["sampling_se_percent"] is None or link is GENERALISATION
    one, two = (losses[arm].astype(float) for arm in QUESTION)
    relative = (one / one.mean(1, keepdims=True) - two / two.mean(1, keepdims=True)).mean(0)
    first = contrast(result)
    expected = (100 + first["effect_percent"]) * relative.std(ddof=1) / math.sqrt(50)
    assert first["sampling_se_percent"] == pytest.approx(expected)


def figures_of(records: made.Records, link: Link, arm: str) -> npt.NDArray[np.float64]:
    """Return the logarithms (studies, seeds) that a link compares."""
    if link is GENERALISATION:
        rows = [math.log(run["test_loss"]) for run in records["train"][arm]["runs"]]
    else:
        rows = [run[link.name] for run in records["diagnose"][arm]["runs"]]
    return np.array(rows).reshape(-1, made.N_SEEDS)


def needed_by_hand(effects: npt.NDArray[np.float64], margin: float, inner: float, outer: float) -> int:
    """Return the first number of studies at which the same mean and deviation would decide."""
    mean, sd = effects.mean(), effects.std(ddof=1)
    for n in range(3, 1001):
        narrow, wide = (stats.t.ppf((1 + level) / 2, n - 1) * sd / math.sqrt(n) for level in (inner, outer))
        if abs(mean) + narrow < margin or abs(mean) > wide:
            return n
    raise AssertionError("more than 1000 studies")


def test_the_links_use_simultaneous_intervals_and_their_own_margins() -> None:
    result = made.summarise(made.records({"regularized": BETTER}))
    general = contrast(result)
    for link in MEASURED:
        found = contrast(result, link.name)
        assert found["verdict"] == "not supported"  # the same 3 % are little for a condition number
        assert found["margin_percent"] == pytest.approx(100 * getattr(PARAMS.compare.link_margins, link.name))
        assert found["ci_high"] - found["ci_low"] > general["ci_high"] - general["ci_low"]


def test_a_link_that_should_rise_is_supported_where_it_rises() -> None:
    records = made.records({"regularized": [-10 * d for d in BETTER]})
    rising = dataclasses.replace(MEASURED[0], better=1)
    falls, rises = compare(records, MEASURED[0]), compare(records, rising)
    assert (falls["verdict"], rises["verdict"]) == ("opposite", "supported")
    for key in ("effect_percent", "study_effects", "pair_effects", "study_sd_percent"):
        made.assert_same(falls[key], rises[key])
    assert falls["given_these_winners"]["p_better"] == 0 and rises["given_these_winners"]["p_better"] == 1


@pytest.mark.parametrize("arms", [["regularized"], ["baseline"], ["regularized", "baseline"]])
@pytest.mark.parametrize("study", range(4))
def test_a_failed_run_gives_no_verdict_and_is_named(arms: list[str], study: int) -> None:
    records = made.records({"regularized": BETTER})
    for arm in arms:
        records["train"][arm]["runs"][4 * study + 2] |= {"test_loss": None, "state": "failed"}
        records["diagnose"][arm]["runs"][4 * study + 2] |= dict.fromkeys(made.LINKS) | {"layers": []}
    result = made.summarise(records)
    assert result["regularized_vs_baseline_percent"] is result["regularized_vs_baseline_ci_low"] is None
    for link, what in ((link, "could not be measured" if link in MEASURED else "failed") for link in LINKS):
        first = contrast(result, link.name)
        assert first["verdict"] == "no verdict" and first["effect_percent"] is None and first["n_studies"] == 4
        assert first["sampling_se_percent"] is None and first["study_effects"] == []
        where = f"study {study}, seed {100 * study + 2}"
        assert first["reason"] == f"{where}: the run of {' and '.join(arms)} {what}"
        lost = "regularized" in arms  # and with it the third contrast, against weight decay
        assert (contrast(result, link.name, 2)["verdict"] == "no verdict") == lost
        assert contrast(result, link.name, 1)["verdict"] == "not supported"


@pytest.mark.parametrize("lost", [[2], [0, 1, 2, 3], [4, 9, 14], range(16)])
def test_no_failed_run_is_lost_by_grouping(lost: Sequence[int]) -> None:
    """Whether it is one run, a whole study, a run of each or all of them."""
    values = tables.quantities(made.records({"regularized": BETTER}))
    loss = values.index[(values["arm"] == "regularized") & (values["link"] == GENERALISATION.name)]
    values.loc[loss[list(lost)], "value"] = np.nan
    pairs = tables.pairs(values, [QUESTION])
    found = contrasts.compare(PARAMS, GENERALISATION, *QUESTION, pairs[pairs["link"] == GENERALISATION.name], values)
    first = values.loc[loss[lost[0]]]
    assert found["verdict"] == "no verdict" and found["n_studies"] == 4
    assert found["reason"] == f"study {first['study']}, seed {first['seed']}: the run of regularized failed"


def test_a_penalty_that_changes_little_is_inactive() -> None:
    records = made.records(cv={"regularized": 0.95, "weight_decay_regularized": 0.5})
    runs = records["diagnose"]["regularized"]["runs"]
    for run in runs[:4]:  # study 0: active in one layer alone
        run["layers"][1]["coefficient_of_variation"] = 0.3
    result = made.summarise(records)
    first, second = contrast(result), contrast(result, number=1)
    changes = [math.log(0.95) / 2 + math.log(0.5) / 2, *3 * [math.log(0.95)]]
    assert first["activity_percent"] == pytest.approx(100 * math.expm1(np.mean(changes)))
    assert first["inactive"] is False and first["inactive_studies"] == 3
    assert f"penalty inactive in 3 of {PARAMS.tuning.studies} studies" in first["flags"]
    assert second["inactive_studies"] == 0 and second["activity_percent"] == pytest.approx(-50)
    assert not any("inactive" in flag for flag in second["flags"])
    for run in runs[:4]:
        run["layers"][1]["coefficient_of_variation"] = 0.6 * 0.95
    first = contrast(made.summarise(records))
    assert (
        first["inactive"]
        and f"penalty inactive on average and in 4 of {PARAMS.tuning.studies} studies" in first["flags"]
    )
    runs[0] |= dict.fromkeys(made.LINKS) | {"layers": []}
    assert contrast(made.summarise(records))["inactive_studies"] == 4  # of the runs that could be measured
    for run in runs:
        run |= dict.fromkeys(made.LINKS) | {"layers": []}
    first = contrast(made.summarise(records))
    assert first["activity_percent"] is first["inactive"] is first["inactive_studies"] is None
    assert first["flags"] == [] and first["verdict"] == "not supported"


@pytest.mark.parametrize("factor,inactive", [(0.901, True), (0.899, False), (1.5, True)])
def test_the_least_activity_is_a_relative_fall(factor: float, inactive: bool) -> None:
    evenness = tables.pairs(tables.evenness(made.records(cv={"regularized": factor})), [QUESTION])
    assert contrasts.activity(evenness, 0.1) == {
        "activity_percent": pytest.approx(100 * (factor - 1)), "inactive": inactive, "inactive_studies": 4 * inactive,
    }  # fmt: skip


def test_an_answer_stands_alone_for_each_question() -> None:
    result = made.summarise(made.records({"regularized": BETTER}))
    found = contrasts.answers(result["contrasts"])
    assert list(found) == [f"{arm}_vs_{reference}" for arm, reference in PARAMS.compare.contrasts]
    first = contrast(result)
    assert found["regularized_vs_baseline"] == {
        key: first[key] for key in ("effect_percent", "ci_low", "ci_high", "verdict")
    }


def test_where_the_penalty_has_a_figure_of_its_own_that_one_tells() -> None:
    keys = [(study, seed) for study in range(4) for seed in range(3)]
    own = pd.DataFrame(keys, columns=["study", "seed"]).assign(arm="regularized", reference="baseline", d=math.log(0.5))
    own.loc[own["study"] == 1, "d"] = math.log(2.0)
    first = contrast(made.summarise(made.records(cv={"regularized": 1.0}), own=own))
    assert first["activity_percent"] == pytest.approx(100 * (0.5**0.5 - 1))
    assert first["inactive"] is False and first["inactive_studies"] == 1


def test_an_arm_without_a_penalty_has_no_activity() -> None:
    result = made.summarise(made.records(), made.comparing(contrasts=(("weight_decay", "baseline"),)))
    assert contrast(result)["inactive"] is contrast(result)["inactive_studies"] is None


def test_winners_near_the_end_of_their_range_are_flagged() -> None:
    records = made.records(cv={"regularized": 0.5})
    made.retune(records, "regularized", 2, strength=9.0)
    made.retune(records, "regularized", 3, strength=0.00101, lr=0.099)
    result = made.summarise(records)
    assert contrast(result)["flags"] == [
        f"regularized: {knob} on the boundary in {n} of {PARAMS.tuning.studies} studies"
        for knob, n in (("lr", 1), ("strength", 2))
    ]
    assert [entry["on_boundary"] for entry in result["arms"]] == [[], ["lr", "strength"], [], []]
    assert contrast(made.summarise(records, made.comparing(boundary=0.0)))["flags"] == []


@pytest.mark.parametrize("share,flagged", [(0.26, True), (0.24, False)])
@pytest.mark.parametrize("lr", [1e-4 * 1000**0.25, 1e-4 * 1000**0.75])
def test_the_boundary_is_a_share_of_the_logarithmic_range(share: float, flagged: bool, lr: float) -> None:
    records = made.records()
    made.retune(records, "baseline", 1, lr=lr)
    found = contrasts.on_boundary(made.comparing(boundary=share), tables.trials(records))
    assert found[found["knob"] == "lr"].to_dict("records") == flagged * [{"arm": "baseline", "study": 1, "knob": "lr"}]


@pytest.mark.parametrize("size,flagged", [(1.0101, True), (1.0099, False)])
@pytest.mark.parametrize("arm,sign", [("regularized", "-"), ("baseline", "+")])
def test_an_effect_that_still_moves_with_the_budget_is_flagged(arm: str, sign: str, size: float, flagged: bool) -> None:
    """The best of all points is drawn in a third of the searches at the largest budget, in a sixth at half of it."""
    records = made.records(cv={"regularized": 0.5})
    for run in records["budget"][arm]["runs"][: made.BUDGET.seeds]:  # replicate 0, point 0
        run["test_loss"] = size**-6
    half, whole = made.BUDGET.points // 2, made.BUDGET.points
    flag = f"budget-limited: the effect still moves by {sign}1.0 % between {half} and {whole} trials of random search"
    assert contrast(made.summarise(records))["flags"] == flagged * [flag]


def test_budgets_are_judged_at_the_published_one_and_at_the_largest() -> None:
    records = made.records({"regularized": BETTER})
    result = made.summarise(records)
    effect = pytest.approx(100 * math.expm1(np.mean(BETTER)))
    found = [row for row in result["budget_verdicts"] if (row["arm"], row["reference"]) == QUESTION]
    assert [(row["n_trials"], row["label"]) for row in found] == [
        (made.N_TRIALS, "published budget, random search"), (2 * made.N_TRIALS, "twice the published budget"),
    ]  # fmt: skip
    for row in found:
        assert row["verdict"] == "supported" and row["effect_percent"] == row["ci_low"] == row["ci_high"] == effect
        assert row["decided_from"] == 1 and row["replicates_needed"] is row["reason"] is None
    assert [row["n_trials"] for row in result["budget"]] == 3 * list(range(1, made.BUDGET.points + 1))
    assert result["arms"][1]["expected_test_loss"] == pytest.approx(made.BUDGET.points * [math.exp(np.mean(BETTER))])
    for run in records["budget"]["regularized"]["runs"]:
        run |= {"state": "failed", "validation_loss": None, "test_loss": None}
    lost = made.summarise(records)
    assert contrast(lost)["verdict"] == "supported" and contrast(lost)["flags"] == contrast(result)["flags"]
    assert lost["budget_verdicts"][0] | found[0] == found[0] | {"decided_from": 1}
    assert lost["arms"][1]["expected_best"] == made.BUDGET.points * [None]


def test_the_running_best_is_the_lowest_loss_so_far() -> None:
    """None as long as a study has no complete trial, and the mean over studies from there on."""
    losses = [[None, 3.0, 4.0, None, 2.0], [2.0, None, 1.0, 5.0, 0.5]]
    studies = [
        made.study(s, [made.trial(number, loss, lr=0.1) for number, loss in enumerate(row)])
        for s, row in enumerate(losses)
    ]
    trials = tables.trials({"tune": {"a": {"studies": studies}}})
    for shuffled in (trials, trials.sample(frac=1, random_state=0)):
        assert contrasts.running_best(shuffled) == [None, 2.5, 2.0, 2.0, 1.25]


def test_an_arm_in_no_contrast_meets_its_reference() -> None:
    only = made.comparing(contrasts=(QUESTION,))
    assert contrasts.pairs_to_compare(only) == [
        QUESTION, ("weight_decay", "baseline"), ("weight_decay_regularized", "weight_decay"),
    ]  # fmt: skip
    result = made.summarise(made.records({"regularized": BETTER, "weight_decay": BETTER}), only)
    assert [contrast(result, number=n)["verdict"] for n in (0, 1)] == ["supported", "supported"]


def test_an_arm_alone_has_no_contrast() -> None:
    none = made.comparing(contrasts=())
    lone = none.model_copy(update={"arms": {"baseline": PARAMS.arms["baseline"]}})
    records = {kind: {"baseline": of_kind["baseline"]} for kind, of_kind in made.records().items()}
    result = made.summarise(records, lone)
    assert result["contrasts"] == [] and [entry["arm"] for entry in result["arms"]] == ["baseline"]


def test_the_flat_figures_come_first_and_are_few() -> None:
    result = made.summarise(made.records({"regularized": BETTER}))
    flat = [key for key, value in result.items() if not isinstance(value, list)]
    assert (
        list(result) == [*flat, "arms", "contrasts", "budget", "budget_verdicts"]
        and len(flat) == 4 + 2 * (len(PARAMS.compare.contrasts) - 1) + 2
        and flat[-2:] == ["selection", "sampler"]
    )
    assert flat[:4] == [f"regularized_vs_baseline_{end}" for end in ("percent", "ci_low", "ci_high", "verdict")]
    assert result["arms"][1]["winners"] == [{"study": s, "lr": 0.01, "strength": 0.1} for s in range(4)]


def test_the_committed_records_give_the_committed_summary() -> None:
    """All but what takes the test losses of each example, which the repository does not hold."""
    committed = read_json(made.METRICS / "summary.json")
    listed = contrasts.pairs_to_compare(made.COMMITTED)
    evenness = tables.pairs(tables.evenness(made.METRICS), listed)
    assert [(entry["arm"], entry["reference"]) for entry in committed["contrasts"][:: len(LINKS)]] == listed
    for entry in committed["contrasts"]:
        pair = entry["arm"], entry["reference"]
        found = compare(made.METRICS, BY_NAME[entry["link"]], pair, made.COMMITTED)
        assert found.pop("sampling_se_percent") is None
        of_pair = evenness[(evenness["arm"] == pair[0]) & (evenness["reference"] == pair[1])]
        found |= contrasts.activity(of_pair, made.COMMITTED.compare.min_activity)
        made.assert_same(found, {key: entry[key] for key in found})
    designs = {str(arm): budget.design(runs) for arm, runs in tables.design(made.METRICS).groupby("arm")}
    for key, rows in budget.compare(made.COMMITTED, designs, listed).items():
        made.assert_same(rows, committed[key])
    trials = tables.trials(made.METRICS)
    for entry in committed["arms"]:
        of_arm = trials[trials["arm"] == entry["arm"]]
        made.assert_same(contrasts.running_best(of_arm), entry["running_best"])
        found = budget.curves(made.COMMITTED, designs[entry["arm"]])
        made.assert_same(found, {name: entry[name] for name in found})
