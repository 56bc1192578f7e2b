"""What is said of a finished summary, and that its table leaves nothing out."""

from typing import Any

import pytest

from svvr.links import LINKS
from svvr.show import words
from tests.show import made
from tests.show.made import Record

LISTED = [("regularized", "baseline"), ("weight_decay_regularized", "weight_decay")]
RANDOM = "Random search, n: generalisation of the best of n random trials."
FAR = {"ci_high": 1.3e37, "effect_percent": 4.0e5}


def said(**changes: Any) -> str:
    entry = made.contrast("weight_decay_regularized", "weight_decay", "generalisation")
    return words.sentence(entry | changes, trials=20)


def table(record: Record) -> list[str]:
    lines = words.verdict_table(record).splitlines()
    assert max(map(len, lines)) <= 120
    return lines


def test_a_sentence_names_contrast_effect_interval_counts_and_budget() -> None:
    assert said(flags=["penalty inactive in 1 of 4 studies"]) == (
        "weight decay regularized against weight decay, generalisation: the test loss changes by -1.00 % "
        "(95 % interval -4.00 to +2.00; 4 studies, 12 pairs) at a budget of 20 trials: supported; "
        "penalty inactive in 1 of 4 studies."
    )


@pytest.mark.parametrize(
    "changes,end",
    [
        ({"verdict": "opposite"}, ": opposite."),
        ({"verdict": "not supported"}, ": not supported (practically equal, within 2 %)."),
        ({"verdict": "inconclusive"}, ": inconclusive, about 12 studies needed."),
        ({"verdict": "inconclusive", "studies_needed": None}, ": inconclusive, more than 1000 studies needed."),
        ({"verdict": "no verdict", "reason": "a smoke run"}, ": no verdict (a smoke run)."),
    ],
)
def test_a_sentence_ends_with_the_verdict(changes: Record, end: str) -> None:
    assert said(**changes).endswith(f"trials{end}")


def test_a_sentence_without_a_verdict_has_no_interval() -> None:
    smoke = {"verdict": "no verdict", "reason": "a smoke run", "n_studies": 1, "n_pairs": 1}
    assert "-1.00 % (1 study, 1 pair) at" in said(**smoke)
    failed = made.contrast("regularized", "baseline", "conditioning", "no verdict")
    assert words.sentence(failed, 20) == "regularized against baseline, conditioning: no verdict, since a run failed."


def test_what_is_far_away_is_capped() -> None:
    assert "changes by > +999 % (95 % interval -4.00 to > +999;" in said(**FAR)
    assert "+999.00" in said(ci_high=999.0)
    record = made.summary()
    record["contrasts"][0] |= FAR
    row = table(record)[1]
    assert "> +999 %  -4.00 to > +999  supported" in row and "e+" not in row


def test_a_setting_is_named_by_its_learning_rate_and_decay() -> None:
    assert words.setting({"lr": 0.002, "weight_decay": 0.0}) == "lr 0.002, no weight decay"
    assert words.setting({"lr": 8e-3, "weight_decay": 0.4}) == "lr 0.008, weight decay 0.4"


@pytest.mark.parametrize(
    "verdicts,conclusion",
    [
        (("supported", "supported"), "the hypothesis is supported: "),
        (("supported", "opposite"), "the hypothesis as a whole is not established: "),
        (("no verdict", "supported"), "there is no verdict on the hypothesis: "),
    ],
)
def test_the_first_two_contrasts_decide(verdicts: tuple[str, str], conclusion: str) -> None:
    contrasts = [
        made.contrast(*pair, link.name, verdict)
        for pair, verdict in zip(LISTED, verdicts, strict=True)
        for link in LINKS
    ]
    first = words.overall(made.summary() | {"contrasts": contrasts}, LISTED, 20)[0]
    names = [f"{words.name(arm)} against {words.name(reference)}" for arm, reference in LISTED]
    named = " and ".join(f"{name} ({verdict})" for name, verdict in zip(names, verdicts, strict=True))
    assert first.startswith(f"At a budget of 20 trials (TPE), in 4 studies, {conclusion}{named}")
    assert f"Links, {names[0]}: " in first


def test_one_contrast_gives_no_conclusion_and_none_no_sentence() -> None:
    found = made.summary(made.ARMS[:2], ("inconclusive", "supported", "opposite", "not supported"))
    first, *others = words.overall(found, LISTED[:1], 4)
    assert "there is no verdict on the hypothesis as a whole, which takes two contrasts: regularized" in first
    assert first.endswith(
        "Links, regularized against baseline: holds: conditioning; no change beyond the margin: gradient stability; "
        "the other way: smoothness; open: generalisation."
    )
    assert [sentence.split(",")[0].split(":")[0] for sentence in others] == ["By random search", "Open"]
    assert words.overall(found, [], 4) == []


def by_budget(record: Record, trials: int = 4) -> str:
    """Return what is said of the first contrast against the budget."""
    return words.overall(record, LISTED, trials)[1]


def test_the_effect_is_said_against_the_budget_with_where_it_turns() -> None:
    assert by_budget(made.summary()) == (
        "By random search, regularized against baseline changes the test loss by +2.00 % after 1 trial, "
        "+0.00 % (-1.00 to +1.00) after 4 (4 times the published budget: supported) and "
        "-2.00 % (-3.00 to -1.00) after 16 (16 times the published budget: supported). "
        "The 95 % interval lies above 0 up to 1 trial and below 0 from 9 trials on."
    )
    assert "by +2.00 % (+1.00 to +3.00) after 1 trial (1 times" in by_budget(made.summary(trials=1), trials=1)


@pytest.mark.parametrize(
    "intervals,said",
    [
        ([(-2, -1)] * 4, "lies below 0 at every number of trials"),
        ([(-1, 1)] * 4, "includes 0 at every number of trials"),
        ([(None, None)] * 3 + [(-1, 1)], "includes 0 at every number of trials"),
        ([(None, None), (1, 2), (1, 2), (1, 2)], "lies above 0 from 2 trials on"),
        ([(-1, 1), (1, 2), (1, 2), (-1, 1)], "lies above 0 from 2 to 3 trials"),
        ([(1, 2), (1, 2), (-1, 1), (-1, 1)], "lies above 0 up to 2 trials"),
        ([(1, 2), (-1, 1), (-2, -1), (-1, 1)], "lies above 0 up to 1 trial and below 0 at 3 trials"),
        ([(-1, 1), (-1, 1), (-1, 1), (-2, -1)], "lies below 0 from 4 trials on"),
    ],
)
def test_where_the_interval_lies_on_one_side_is_said(intervals: list[tuple[int | None, int | None]], said: str) -> None:
    record = made.summary(trials=1, most=4)
    for point, (low, high) in zip(record["budget"][:4], intervals, strict=True):
        point |= {"ci_low": low, "ci_high": high}
    assert by_budget(record, 1).endswith(f" The 95 % interval {said}.")


def test_without_a_verdict_no_interval_is_said_and_why() -> None:
    assert by_budget(made.summary(known=False)) == (
        "By random search, regularized against baseline changes the test loss by "
        "an unknown amount after 4 trials (4 times the published budget: no verdict) and "
        "an unknown amount after 16 (16 times the published budget: no verdict). No verdict: a run that may win failed."
    )
    smoke = made.summary()
    for entry in smoke["budget_verdicts"]:
        entry |= {"verdict": "no verdict", "reason": "a smoke run"}
    assert by_budget(smoke).endswith(
        " and -2.00 % after 16 (16 times the published budget: no verdict). No verdict: a smoke run."
    )
    beyond = made.summary() | {"budget_verdicts": []}  # the tuning budget exceeds the design's
    assert not any("By random search" in sentence for sentence in words.overall(beyond, LISTED, 99))


@pytest.mark.parametrize(
    "tuned,at_random,needed,last",
    [
        ("opposite", "supported", 14, "Nothing remains open at these budgets."),
        (
            "inconclusive",
            "supported",
            14,
            "Open: regularized against baseline in 4 studies (about 12 studies would decide); weight decay regularized "
            "against weight decay in 4 studies (about 12 studies would decide).",
        ),
        (
            "supported",
            "inconclusive",
            None,
            "Open: regularized against baseline after 16 trials of random search (more than 1000 replicates would "
            "decide).",
        ),
        (
            "inconclusive",
            "inconclusive",
            14,
            "Open: regularized against baseline in 4 studies (about 12 studies would decide) and after 16 trials of "
            "random search (about 14 replicates would decide); weight decay regularized against weight decay in "
            "4 studies (about 12 studies would decide).",
        ),
    ],
)
def test_what_remains_open_is_said_with_what_would_decide_it(
    tuned: str, at_random: str, needed: int | None, last: str
) -> None:
    record = made.summary(verdicts=[tuned])
    record["budget_verdicts"][1] |= {"verdict": at_random, "replicates_needed": needed}
    assert words.overall(record, LISTED, 4)[-1] == last


def test_nothing_is_said_to_be_open_where_a_verdict_is_missing() -> None:
    sentences = words.overall(made.summary(known=False, verdicts=["supported"]), LISTED, 4)
    assert len(sentences) == 3 and "remains open" not in "".join(sentences)


def test_a_summary_gets_its_sentences() -> None:
    found = {"flat": 1.5, **made.summary()}
    result = words.with_sentences(found, LISTED, 20)
    assert list(result) == ["flat", "overall", "sampler", "arms", "contrasts", "budget", "budget_verdicts"]
    assert [c["sentence"] for c in result["contrasts"]] == [words.sentence(c, 20) for c in found["contrasts"]]
    assert result["overall"] == words.overall(found, LISTED, 20)
    assert all(result[key] == found[key] for key in ("arms", "budget", "budget_verdicts"))


def test_the_table_leaves_out_no_verdict() -> None:
    record = made.summary((*made.ARMS, *(f"arm_{i}_with_a_long_name_{i * 'x'}" for i in range(12))))
    lines = table(record)
    rows = lines[1 : lines.index(RANDOM)]
    ends = (*made.VERDICTS, "studies")
    links = ["generalisation"] * 14 + ["random search"] * 28 + [""] * 42
    assert len(rows) == 14 * (4 + 2) and all(line.rstrip().endswith(ends) for line in rows)
    for link in ("generalisation", "random search"):
        assert [link in line for line in rows] == [link == of_row for of_row in links]
    assert [line.split("  ")[0] for line in rows[14:18]] == ["arm 11 with a long name xxxxxxxxxxx vs baseline"] * 2 + [
        "arm 10 with a long name xxxxxxxxxx vs baseline"
    ] * 2


def test_new_arms_stand_on_top_and_the_others_as_listed() -> None:
    record = made.summary(("baseline", "regularized", "weight_decay", "weight_decay_regularized", "older", "newer"))
    record["contrasts"] += [made.contrast("regularized", "weight_decay", link.name) for link in LINKS]
    firsts = [line.split("  ")[0] for line in table(record)[1:6]]
    assert firsts == [
        "newer vs baseline",
        "older vs baseline",
        "regularized vs baseline",
        "weight decay regularized vs weight decay",
        "regularized vs weight decay",
    ]


@pytest.mark.parametrize("arm,reference", [(made.LONG[:64], "y" * 64), ("x" * 64, "baseline")])
def test_long_names_are_wrapped_and_complete(arm: str, reference: str) -> None:
    record = {
        "overall": [],
        "arms": [{"arm": arm}, {"arm": reference}],
        "contrasts": [made.contrast(arm, reference, link.name) for link in LINKS],
        "budget_verdicts": [made.judged(made.at_budget(arm, reference, 64, 64), "inconclusive")],
    }
    lines = table(record)
    width = lines[0].index("link")
    starts = [i for i, line in enumerate(lines) if line.endswith(("supported", "~14 replicates"))]
    assert len(starts) == 5 and "generalisation" in lines[starts[0]] and "random search, 64" in lines[starts[1]]
    written = "".join(line[:width].replace(" ", "") for line in lines[starts[0] : starts[1]])
    assert written == words.versus({"arm": arm, "reference": reference}).replace(" ", "")


def test_the_table_has_a_dash_for_what_has_no_verdict() -> None:
    record = made.summary(verdicts=("no verdict", "inconclusive"))
    record["contrasts"][4] |= {"effect_percent": -1.0, "ci_low": -9.0, "ci_high": 1e12}  # a smoke run has them
    record["budget_verdicts"][0] |= {"verdict": "no verdict"}
    record["budget_verdicts"][1] |= {"verdict": "inconclusive", "replicates_needed": None}
    lines = table(record)
    assert lines[1].split()[-4:] == ["-", "-", "no", "verdict"]
    assert lines[2].split()[-5:] == ["-1.00", "%", "-", "no", "verdict"]
    assert lines[3].split()[-5:] == ["+0.00", "%", "-", "no", "verdict"]
    assert lines[4].endswith("-3.00 to -1.00  inconclusive  >1000 replicates")
    assert lines[7].endswith("inconclusive  ~12 studies")


def test_the_notes_follow_the_table() -> None:
    record = made.summary()
    record["contrasts"][0]["flags"] = ["regularized: strength on the boundary in 1 of 4 studies", "budget-limited"]
    notes = table(record)[1 + 8 + 4 :]
    levels = "Intervals: 95 % for generalisation; 98.3 % for conditioning, smoothness, gradient stability."
    flags = "regularized vs baseline: regularized: strength on the boundary in 1 of 4 studies; budget-limited."
    assert notes == [RANDOM, levels, "Nothing is established.", flags]
    assert table({"overall": [], "arms": [], "contrasts": [], "budget_verdicts": []}) == [
        "contrast  link  effect  interval  verdict  needs"
    ]
