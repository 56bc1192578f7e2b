"""What is said of a finished summary, and that its table leaves nothing out."""

from typing import Any

import pytest

from svvr.links import LINKS
from svvr.show import words
from tests.show import made
from tests.show.made import Record

LISTED = [("regularized", "baseline"), ("weight_decay_regularized", "weight_decay")]
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
    (sentence,) = words.overall(contrasts, LISTED, 20)
    names = [f"{words.name(arm)} against {words.name(reference)}" for arm, reference in LISTED]
    named = " and ".join(f"{name} ({verdict})" for name, verdict in zip(names, verdicts, strict=True))
    assert sentence.startswith(f"At a budget of 20 trials {conclusion}{named}")
    assert f"Links, {names[0]}: " in sentence


def test_one_contrast_gives_no_conclusion_and_none_no_sentence() -> None:
    verdicts = ("inconclusive", "supported", "opposite", "not supported")
    contrasts = made.summary(verdicts=verdicts)["contrasts"]
    (sentence,) = words.overall(contrasts, LISTED[:1], 20)
    assert "there is no verdict on the hypothesis as a whole, which takes two contrasts: regularized" in sentence
    assert "weight decay" not in sentence
    assert sentence.endswith(
        "Links, regularized against baseline: holds: conditioning; no change beyond the margin: gradient stability; "
        "the other way: smoothness; open: generalisation."
    )
    assert words.overall(contrasts, [], 20) == []


def test_a_summary_gets_its_sentences() -> None:
    found = {"flat": 1.5, **made.summary()}
    result = words.with_sentences(found, LISTED, 20)
    assert list(result) == ["flat", "overall", "arms", "contrasts"]
    assert [c["sentence"] for c in result["contrasts"]] == [words.sentence(c, 20) for c in found["contrasts"]]
    assert result["overall"] == words.overall(found["contrasts"], LISTED, 20)


def test_the_table_leaves_out_no_verdict() -> None:
    record = made.summary((*made.ARMS, *(f"arm_{i}_with_a_long_name_{i * 'x'}" for i in range(12))))
    lines = table(record)
    rows = lines[
        1 : lines.index("Intervals: 95 % for generalisation; 98.3 % for conditioning, smoothness, gradient stability.")
    ]
    assert (
        sum(any(line.rstrip().endswith(verdict) for verdict in (*made.VERDICTS, "studies")) for line in rows) == 14 * 4
    )
    assert all("generalisation" in line for line in rows[:14]) and "generalisation" not in "".join(rows[14:])


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
    }
    lines = table(record)
    width = lines[0].index("link")
    starts = [i for i, line in enumerate(lines) if line.endswith("supported")]
    assert len(starts) == 4 and "generalisation" in lines[starts[0]]
    written = "".join(line[:width].replace(" ", "") for line in lines[starts[0] : starts[1]])
    assert written == words.versus({"arm": arm, "reference": reference}).replace(" ", "")


def test_the_table_has_a_dash_for_what_has_no_verdict() -> None:
    record = made.summary(verdicts=("no verdict", "inconclusive"))
    record["contrasts"][4] |= {"effect_percent": -1.0, "ci_low": -9.0, "ci_high": 1e12}  # a smoke run has them
    lines = table(record)
    assert lines[1].split()[-4:] == ["-", "-", "no", "verdict"]
    assert lines[2].split()[-5:] == ["-1.00", "%", "-", "no", "verdict"]
    assert lines[3].endswith("inconclusive  ~12 studies")


def test_the_notes_follow_the_table() -> None:
    record = made.summary()
    record["contrasts"][0]["flags"] = ["regularized: strength on the boundary in 1 of 4 studies", "budget-limited"]
    notes = table(record)[9:]
    assert notes[0] == "Intervals: 95 % for generalisation; 98.3 % for conditioning, smoothness, gradient stability."
    flags = "regularized vs baseline: regularized: strength on the boundary in 1 of 4 studies; budget-limited."
    assert notes[1:] == ["Nothing is established.", flags]
    assert table({"overall": [], "arms": [], "contrasts": []}) == ["contrast  link  effect  interval  verdict  needs"]
