"""What is said of a summary is right whatever the verdicts, in every place where one may stand."""

import itertools
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from svvr.analysis.contrasts import hypothesis
from svvr.links import LINKS
from svvr.params import Params, load
from svvr.report import text

Record = dict[str, Any]
ROOT = Path(__file__).parents[2]
FIRST, SECOND, OWN = ("regularized", "baseline"), ("weight_decay_regularized", "weight_decay"), ("mine", "baseline")
VERDICTS = ("better", "worse", "equal", "undecided", "no verdict")
TWO, THREE = list(itertools.product(VERDICTS, VERDICTS)), list(itertools.product(VERDICTS, VERDICTS, VERDICTS))
SMOKE = "fewer than 3 studies or 2 seeds: a smoke run"
EFFECTS = {
    "better": (-3.0, -4.0, -2.0),
    "worse": (3.0, 2.0, 4.0),
    "equal": (0.1, -0.2, 0.4),
    "undecided": (1.0, -1.0, 3.0),
}


def entry(pair: tuple[str, str], verdict: str, **others: Any) -> Record:
    effect, low, high = EFFECTS.get(verdict, (None, None, None))
    found = {"effect_percent": effect, "ci_low": low, "ci_high": high, "verdict": verdict, "within_margin": False}
    names = {"arm": pair[0], "reference": pair[1]}
    return names | found | {"reason": "a run failed" if verdict == "no verdict" else None} | others


def made(
    *verdicts: str,
    links: str = "better",
    budget: str = "equal",
    pairs: tuple[tuple[str, str], ...] = (FIRST, SECOND, OWN),
) -> Record:
    """Return a summary with these verdicts on the test loss, and the same verdict on all links and on all budgets."""
    found: Record = {"contrasts": [], "budget": [], "budget_verdicts": [], "arms": []}
    for pair, verdict in zip(pairs, verdicts, strict=False):
        for link in LINKS:
            rule = {"link": link.name, "margin_percent": 1.0, "level": 0.95 if link is LINKS[0] else 0.983}
            basis = {"n_studies": 24, "studies_needed": 26, "flags": []}
            found["contrasts"].append(entry(pair, verdict if link is LINKS[0] else links, **rule, **basis))
        found["budget"] += [entry(pair, budget, n_trials=n) for n in range(1, 65)]
        at = {"replicates_needed": 14, "decided_from": None}
        found["budget_verdicts"] += [entry(pair, budget, n_trials=n, **at) for n in (20, 64)]
    found["hypothesis"] = hypothesis(found["contrasts"], pairs[: min(2, len(verdicts))])
    return found


def settings(*listed: tuple[str, str]) -> Params:
    params = load(ROOT / "params.yaml")
    tuning = params.tuning.model_copy(update={"trials": 20, "studies": 24, "sampler": "tpe"})
    budget = params.budget.model_copy(update={"replicates": 8, "points": 64})
    compare = params.compare.model_copy(update={"contrasts": listed})
    return params.model_copy(update={"tuning": tuning, "budget": budget, "compare": compare})


PARAMS = settings(FIRST, SECOND)
SAID = {
    "better": "{} vs {}: better, test loss -3.00% (95% interval -4.00 to -2.00)",
    "worse": "{} vs {}: worse, test loss +3.00% (95% interval +2.00 to +4.00)",
    "equal": "{} vs {}: equal, test loss +0.10% (95% interval -0.20 to +0.40)",
    "undecided": "{} vs {}: undecided, test loss +1.00% (95% interval -1.00 to +3.00)",
    "no verdict": "{} vs {}: no verdict (a run failed)",
}
HYPOTHESIS = {("better", "better"): "the hypothesis is supported"}
NEITHER = itertools.product(("equal", "worse"), ("equal", "worse"))
HYPOTHESIS |= dict.fromkeys(NEITHER, "the hypothesis is not supported")


@pytest.mark.parametrize("verdicts", TWO)
def test_overall_says_the_hypothesis_and_its_contrasts(verdicts: tuple[str, str]) -> None:
    first = text.overall(made(*verdicts), PARAMS)[0]
    either = "there is no verdict on the hypothesis" if "no verdict" in verdicts else "the hypothesis is undecided"
    clauses = "; ".join(SAID[word].format(*pair) for word, pair in zip(verdicts, (FIRST, SECOND), strict=True))
    assert first == f"At a budget of 20 trials (TPE), in 24 studies, {HYPOTHESIS.get(verdicts, either)}. {clauses}."


@pytest.mark.parametrize("verdicts", THREE)
def test_what_works_names_every_better_arm_by_its_reference(verdicts: tuple[str, str, str]) -> None:
    first, second, own = verdicts
    names = [arm for arm, verdict in (("regularized", first), ("mine", own)) if verdict == "better"]
    baseline = "; ".join(f"{arm} -3.00% (-4.00 to -2.00)" for arm in names) or "none"
    decay = "weight_decay_regularized -3.00% (-4.00 to -2.00), within the margin" if second == "better" else "none"
    summary = made(*verdicts)
    summary["contrasts"][4]["within_margin"] = True
    assert text.works(summary) == f"Better than baseline: {baseline}. Better than weight_decay: {decay}."


@pytest.mark.parametrize(("fresh", "continued", "said"), [
    ((1.0, 1.1), (1.3, 1.5), "did not start from the baseline's initial weights but was continued from the trained"),
    ((1.3, 1.5), (1.0, 1.1), "started from the baseline's initial weights: its settings give 1.00 to 1.10 (continued"),
    ((1.3, 1.5), (1.3, 1.5), "may have started from either"),
    ((1.0, 1.1), (1.0, 1.1), "lies in neither range"),
])  # fmt: skip
def test_where_the_published_run_started_is_read_from_the_ranges(
    fresh: tuple[float, float], continued: tuple[float, float], said: str
) -> None:
    frame = pd.DataFrame([fresh, continued], columns=["last_min", "last_max"])
    frame = frame.assign(row=["regularized_fresh", "regularized_continued"], published=1.396)
    assert said in text.published(frame)
    assert "other settings or data" in text.published(frame.assign(published=float("nan")))


@pytest.mark.parametrize("budget", VERDICTS)
def test_overall_says_how_the_effect_depends_on_the_budget(budget: str) -> None:
    summary = made("better", "better", budget=budget)
    after = {
        "better": "-3.00% after 5 trials; -3.00% (-4.00 to -2.00) after 20 trials, better; "
        "-3.00% (-4.00 to -2.00) after 64 trials, better",
        "no verdict": "no verdict after 20 trials (a run failed); no verdict after 64 trials (a run failed)",
    }
    said = text.overall(summary, PARAMS)[1]
    assert said.startswith("Random search, regularized vs baseline: ") and said.count(budget) == 2
    assert after.get(budget, "after 5 trials; ") in said
    summary["budget_verdicts"][1]["decided_from"] = 10
    assert text.overall(summary, PARAMS)[1] == f"{said} The interval excludes 0 from 10 trials on."
    assert not any("Random search" in each for each in text.overall(summary | {"budget_verdicts": []}, PARAMS))


@pytest.mark.parametrize("verdict,links,budget", THREE)
def test_answer_has_at_most_three_lines_a_contrast_and_treats_own_arms_alike(
    verdict: str, links: str, budget: str
) -> None:
    said = text.answer(made(verdict, "worse", verdict, links=links, budget=budget), PARAMS)
    question, first, _, own, end = said.split("\n\n")
    assert question.startswith(
        "Is regularized better than baseline, and weight_decay_regularized better than weight_decay? "
    )
    assert end == "Details: make verdicts"
    assert own == first.replace("regularized", "mine") and len(first.splitlines()) == 3
    head, search, chain = first.splitlines()
    assert head.startswith(f"regularized vs baseline: {verdict}")
    assert (f"{text.effect(entry(FIRST, verdict), '95% interval ')}; 24 studies" in head) == (verdict != "no verdict")
    assert ("about 2 more studies would decide if mean and spread stayed" in head) == (verdict == "undecided")
    assert search.count(budget) == 2 and "20 trials" in search and "64 trials" in search
    assert chain == f"  Links: conditioning, smoothness, gradient stability: {links}."


def test_answer_names_flags_and_groups_links() -> None:
    summary = made("better", "undecided")
    summary["contrasts"][0] |= {"flags": ["penalty inactive in 2 of 24 studies"], "within_margin": True}
    summary["contrasts"][2] |= {"verdict": "worse", "within_margin": True}
    said = text.answer(summary, PARAMS)
    assert "regularized vs baseline: better, within the margin. Test loss -3.00%" in said
    assert "  Links: conditioning, gradient stability: better; smoothness: worse, within the margin.\n" in said
    assert said.endswith("Details and the flags on 1 contrast: make verdicts")


@pytest.mark.parametrize("verdict,links,budget", THREE)
def test_table_leaves_nothing_out_and_stays_within_its_width(verdict: str, links: str, budget: str) -> None:
    pairs = (("a" * 64, "b" * 64), SECOND)
    summary = made(verdict, "worse", links=links, budget=budget, pairs=pairs)
    for row in summary["contrasts"]:
        row |= {"flags": [f"flag {i}: {' and so on' * 20}" for i in range(2)], "studies_needed": None}
    for row in summary["contrasts"] + summary["budget_verdicts"]:
        row |= {"ci_low": -100.0, "ci_high": 1e9} if row["ci_low"] is not None else {}
    summary["overall"] = text.overall(summary, settings(*pairs))
    lines = text.table(summary).splitlines()
    assert max(map(len, lines)) <= text.WIDTH
    block = "\n".join(lines[: lines.index("")])
    rows = [line for line in lines if re.match(r"  [a-z]+ ", line)]
    assert len(rows) == 2 * (1 + 2 + 3) and verdict in rows[0]
    assert all(budget in row for row in rows[1:3]) and all(links in row for row in rows[3:6])
    assert block.count("a run failed") == [verdict, budget, budget, links, links, links].count("no verdict")
    assert block.count("more than 1000 studies") == [verdict, links, links, links].count("undecided")
    assert "* flag 0" in block and "* flag 1" in block
    assert " ".join(summary["overall"]) in " ".join(lines).replace("  ", " ")
    assert "95% intervals: generalisation." in lines


def test_a_smoke_run_shows_no_interval_and_no_word_that_looks_like_a_verdict() -> None:
    smoke = entry(FIRST, "better") | {"verdict": "no verdict", "reason": SMOKE, "within_margin": True}
    assert (text.effect(smoke), text.verdict(smoke), text.needed(smoke)) == ("-3.00%", "no verdict", "")
    summary = made("better", "better")
    for row in summary["contrasts"] + summary["budget_verdicts"]:
        row |= {"verdict": "no verdict", "reason": SMOKE}
    said = text.answer(summary | {"hypothesis": "no verdict"}, PARAMS)
    assert not re.search("better(?! than)|worse|equal|undecided", said)
    assert f"regularized vs baseline: no verdict ({SMOKE}).\n" in said


@pytest.mark.parametrize(
    "changes,effect,more,total",
    [
        ({}, "+1.00% (-1.00 to +3.00)", "about 2 more studies", "about 26 studies"),
        ({"ci_high": 1e5, "studies_needed": 25}, "+1.00% (-1.00 to > +999)", "about 1 more study", "about 25 studies"),
        ({"effect_percent": 5e3, "studies_needed": None}, "> +999% (-1.00 to +3.00)", *2 * ["more than 1000 studies"]),
        ({"ci_low": None, "verdict": "better"}, "+1.00%", "", ""),
        ({"replicates_needed": 30}, "+1.00% (-1.00 to +3.00)", "about 6 more replicates", "about 30 replicates"),
    ],
)
def test_effects_are_capped_and_what_would_decide_is_counted(
    changes: Record, effect: str, more: str, total: str
) -> None:
    row = entry(FIRST, "undecided", studies_needed=26) | changes
    assert (text.effect(row), text.needed(row, 24), text.needed(row)) == (effect, more, total)


def test_without_two_contrasts_there_is_no_verdict_on_the_hypothesis() -> None:
    one, none = made("better"), made()
    first, budget = text.overall(one, settings(FIRST))
    assert "there is no verdict on the hypothesis, which takes two contrasts. regularized vs baseline: bet" in first
    assert budget.startswith("Random search, regularized vs baseline: ")
    assert text.answer(one, settings(FIRST)).startswith("Is regularized better than baseline? There is no verdict")
    assert text.answer(one, settings()).startswith("There is no verdict on the hypothesis, which takes the first two")
    assert len(text.overall(none, settings())) == 1 and text.table(none | {"overall": []}) == ""
    assert text.answer(none, settings()) == "Nothing to compare: no arm has a reference."
    assert text.contrast_table(none).empty


def test_contrast_table_has_a_row_a_contrast() -> None:
    frame = text.contrast_table(made("better", "undecided", "no verdict"))
    assert list(frame) == ["contrast", "change of test loss (95% interval)", "verdict"]
    assert frame.to_numpy().tolist() == [
        ["regularized vs baseline", "-3.00% (-4.00 to -2.00)", "better"],
        ["weight_decay_regularized vs weight_decay", "+1.00% (-1.00 to +3.00)", "undecided (about 2 more studies)"],
        ["mine vs baseline", "unknown", "no verdict (a run failed)"],
    ]


def test_dvc_s_tables_show_each_contrast_in_a_short_column() -> None:
    rows = text.brief(made("better", "undecided", "no verdict"))
    assert rows == {"regu-base": "-3.00 better", "wdr-wd": "+1.00 undecided", "mine-base": "? no verdict"}
    assert list(text.brief(made("better", "worse", pairs=(FIRST, ("regu", "baseline"))))) == [
        "regularized vs baseline",
        "regu vs baseline",
    ]
