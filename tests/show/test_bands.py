"""What is drawn, against figures taken by hand."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from svvr.show import bands
from tests.show import made


def only(frame: pd.DataFrame, **where: Any) -> dict[str, Any]:
    """Return the one row that has these values."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    (row,) = bands.plain(frame)
    return row


def test_validation_is_the_mean_of_study_means_without_failed_runs() -> None:
    failed = [("baseline", 0, 0), ("baseline", 0, 1), *(("regularized", *key) for key in np.ndindex(4, 3))]
    source = made.source(failed=failed)
    row = only(bands.validation(source), arm="baseline", epoch=1)
    studies = (
        2 + 0.005 * len("baseline") + np.array([0.02, *(0.02 * s + 0.01 for s in (1, 2, 3))])
    )  # study 0: its last seed
    low, high = stats.t.interval(0.95, 3, studies.mean(), stats.sem(studies))
    assert [row["mean"], row["low"], row["high"]] == pytest.approx([studies.mean(), low, high])
    assert set(bands.validation(source)["arm"]) == set(made.ARMS) - {"regularized"}
    assert only(bands.final_runs(source), arm="baseline") == {"arm": "baseline", "n": 12, "failed": 2}
    assert only(bands.final_runs(source), arm="regularized")["failed"] == 12


def test_a_wide_interval_is_drawn_at_most_one_span_beyond_the_means() -> None:
    source = made.source(("baseline",), studies=2, seeds=1, epochs=2)
    source["train"]["baseline"]["runs"][1]["validation_loss"] = [2.5, 2.5]
    frame = bands.validation(source)
    low, high = frame["mean"].min(), frame["mean"].max()
    assert frame["low"].min() < low - 1 and frame["high"].max() > high + 1
    assert frame["drawn_low"].min() == pytest.approx(2 * low - high)
    assert frame["drawn_high"].max() == pytest.approx(2 * high - low)


def test_trials_far_above_the_others_and_failed_ones_stand_at_the_upper_end() -> None:
    source = made.source(trials=4, dead=1)  # a quarter failed, a quarter lies 50 nats above
    frame = bands.trials(source)
    assert len(frame) == 4 * 4 * 4
    kinds = frame.groupby("trial")["kind"].agg(set)
    assert kinds[0] == kinds[1] == {bands.ABOVE} and kinds[2] | kinds[3] == {bands.TRIAL, bands.WINNER}
    shown = frame[frame["kind"] != bands.ABOVE]
    assert (shown["drawn"] == shown["objective"]).all() and shown["drawn"].max() < 10
    (top,) = set(frame.loc[frame["kind"] == bands.ABOVE, "drawn"])
    assert shown["drawn"].max() < top < 10
    best = {(arm, s["study"]): s["objective"] for arm, r in source["tune"].items() for s in r["studies"]}
    winners = frame[frame["kind"] == bands.WINNER].set_index(["arm", "study"])["objective"]
    assert winners.to_dict() == best


def test_trials_that_all_failed_have_no_place() -> None:
    frame = bands.trials(made.source(trials=2, dead=2))
    assert set(frame["kind"]) == {bands.ABOVE} and frame["drawn"].isna().all()


def test_pairs_are_those_of_the_summary_with_their_interval_and_margin() -> None:
    summary = made.summary()
    frame = bands.pairs(summary)
    first = frame[frame["arm"] == "regularized"]
    counts = first["kind"].value_counts()
    assert counts.to_dict() == {bands.PAIR: 12, bands.STUDY: 4, bands.MEAN: 1, bands.EQUAL: 1}
    assert first.loc[first["kind"] == bands.STUDY, "difference"].tolist() == [-3, -2, -1, 0]
    equal = only(first, kind=bands.EQUAL)
    assert (equal["low"], equal["high"]) == pytest.approx((100 / 1.02 - 100, 2.0))
    mean = only(first, kind=bands.MEAN)
    assert (mean["difference"], mean["low"], mean["high"]) == (-1.0, -4.0, 2.0)
    summary["contrasts"][0] |= {"ci_low": -90.0, "ci_high": 1e37}
    mean = only(bands.pairs(summary)[: len(first)], kind=bands.MEAN)
    assert (mean["low"], mean["high"]) == (-7.0, 5.0)  # the pairs lie between -3 and 1


def test_a_contrast_without_an_effect_has_its_margin_alone() -> None:
    frame = bands.pairs(made.summary(verdicts=["no verdict"]))
    assert frame["kind"].tolist() == 2 * [bands.EQUAL]
    one_study = made.summary(studies=1, seeds=1)
    for entry in one_study["contrasts"]:
        entry |= dict.fromkeys(("ci_low", "ci_high", "equivalence_ci_low", "equivalence_ci_high"))
    mean = only(bands.pairs(one_study)[:4], kind=bands.MEAN)
    assert mean["difference"] == -1 and mean["low"] is mean["high"] is None


def test_effects_are_ratios_in_the_order_of_the_links_and_kept_in_sight() -> None:
    summary = made.summary()
    summary["contrasts"][0] |= {"ci_low": -100.0, "ci_high": 1e37}
    frame = bands.effects(summary)
    assert frame["link"].tolist()[::2] == ["generalisation", "conditioning", "smoothness", "gradient_stability"]
    first, second = bands.plain(frame)[:2]
    assert (first["arm"], first["low"], first["high"]) == ("regularized", 0.001, 10.99)
    names = ("effect", "low", "high", "inner_low", "inner_high", "margin_low", "margin_high")
    assert [second[name] for name in names] == pytest.approx([0.99, 0.96, 1.02, 0.97, 1.01, 1 / 1.02, 1.02])
    unknown = bands.plain(bands.effects(made.summary(verdicts=["no verdict"])))
    assert all(row["effect"] is row["low"] is None for row in unknown)


def test_spectra_are_medians_and_quantiles_over_measured_runs() -> None:
    source = made.source(seeds=5, failed=[("baseline", 0, 4)])
    frame = bands.spectra(source)
    factors = np.array([1 + 0.1 * seed for study in range(4) for seed in range(5) if (study, seed) != (0, 4)])
    row = only(frame, arm="baseline", layer=2, index=3)
    value = np.linspace(2, 0.1, 10)[2]
    expected = value * np.quantile(factors, [0.5, 0.1, 0.9])
    assert [row["median"], row["low"], row["high"]] == pytest.approx(expected)
    before = frame[frame["arm"] == bands.BEFORE]
    assert len(before) == 4 + 10 + 12
    assert before["median"].tolist()[:4] == pytest.approx(np.linspace(2, 0.1, 4))
    assert only(bands.measured_runs(source), arm="baseline") == {"arm": "baseline", "n": 20, "failed": 1}


def test_dose_has_every_setting_and_leaves_out_what_is_unknown() -> None:
    frame = bands.dose(made.dose())
    assert frame["quantity"].unique().tolist() == list(bands.DOSE) and len(frame) == 2 * 5 * 5
    row = only(frame, weight_decay=0.3, quantity="smoothness", strength=0.01)
    assert (row["lr"], row["mean"], row["low"], row["high"]) == pytest.approx((0.05, 1.2, 1.15, 1.25))
    unknown = bands.dose(made.dose(known=False, settings=1))
    assert len(unknown) == 5 * 4 and unknown["low"].isna().all()


def test_budget_has_every_number_of_trials_with_its_intervals_and_the_margin() -> None:
    frame = bands.budget(made.summary())
    assert len(frame) == 2 * 16
    row = only(frame, arm="regularized", n_trials=4)
    names = ("effect", "low", "high", "inner_low", "inner_high", "margin_low", "margin_high")
    assert [row[name] for name in names] == pytest.approx([0, -1, 1, -0.8, 0.8, 100 / 1.02 - 100, 2])
    assert all(row[name] == row[f"drawn_{name}"] for name in names[1:5]) and row["drawn"] == row["effect"]
    assert bands.budget(made.summary(known=False))["effect"].isna().all()
    assert bands.budget(made.summary(("baseline",))).empty


def test_budget_is_drawn_within_one_span_of_what_counts() -> None:
    summary = made.summary(made.ARMS[:2])
    for point in summary["budget"]:
        if point["n_trials"] == 1:
            point["effect_percent"] = 30.0
        if point["n_trials"] == 16:
            point |= {"ci_low": -100.0, "ci_high": 1e9}
    frame = bands.budget(summary)
    counting = [p["effect_percent"] for p in summary["budget"] if p["n_trials"] >= 2] + [100 / 1.02 - 100, 2.0]
    low, high = 2 * min(counting) - max(counting), 2 * max(counting) - min(counting)
    first, last = only(frame, n_trials=1), only(frame, n_trials=16)
    assert first["effect"] == 30 and first["drawn"] is first["drawn_low"] is None
    assert (last["drawn_low"], last["drawn_high"], last["high"]) == pytest.approx((low, high, 1e9))


def test_judged_are_the_budgets_with_a_verdict_and_what_the_studies_found() -> None:
    frame = bands.judged(made.summary(trials=4, most=16))
    first = frame[frame["arm"] == "regularized"]
    assert list(zip(first["kind"], first["n_trials"], strict=True)) == [
        (bands.JUDGED, 4), (bands.JUDGED, 16), (bands.TUNED, 4)
    ]  # fmt: skip
    tuned = only(first, kind=bands.TUNED)
    assert (tuned["effect"], tuned["drawn_low"], tuned["drawn_high"]) == (-1.0, -4.0, 2.0)


def test_losses_are_those_of_the_studies_and_of_random_search() -> None:
    summary = made.summary(trials=4, most=16)
    frame = bands.best(summary)
    counts = frame.groupby(["arm", "kind"])["n_trials"].max()
    assert counts["baseline"].to_dict() == {bands.TUNED: 4, bands.AT_RANDOM: 16}
    assert only(frame, arm="regularized", kind=bands.TUNED, n_trials=4)["loss"] == pytest.approx(1.24)
    first, second = (only(bands.expected(summary), arm="baseline", n_trials=n) for n in (1, 2))
    assert (first["loss"], first["drawn"]) == (2.0, None)  # from 2 trials on all lie between 1.03 and 1.5
    assert second["loss"] == second["drawn"] == 1.5


def test_an_arm_that_mostly_diverges_flattens_no_other_s_losses() -> None:
    summary = made.summary(trials=4, most=16)
    usual = bands.best(summary)["drawn"].max()
    (diverging,) = (entry for entry in summary["arms"] if entry["arm"] == "regularized")
    diverging["expected_best"] = [None] * 8 + [10074.7, 509.2, 25.4, 2.2, *diverging["expected_best"][12:]]
    frame = bands.best(summary)
    assert frame["loss"].max() == 10074.7 and frame["drawn"].max() <= usual
    shown = frame[(frame["arm"] == "regularized") & (frame["kind"] == bands.AT_RANDOM)].dropna(subset="drawn")
    assert shown["n_trials"].tolist() == [13, 14, 15, 16]


def test_replication_is_mean_and_range_and_each_published_loss_once() -> None:
    frame = bands.replication(made.replication())
    row = only(frame, row="regularized_fresh", epoch=10)
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((1.68, 1.65, 1.71))
    marks = bands.plain(bands.published(made.replication()))
    assert [(m["row"], m["epoch"], m["loss"]) for m in marks] == [
        ("baseline", 10, 1.198),
        ("regularized_fresh", 10, 1.396),
    ]
    assert bands.published(made.replication(marked=False)).empty


def test_rows_are_plain() -> None:
    (row,) = bands.plain(pd.DataFrame({"a": [1], "b": [math.nan], "c": ["x"], "d": [0.5]}))
    assert row == {"a": 1, "b": None, "c": "x", "d": 0.5}
    assert [type(value) for value in row.values()] == [int, type(None), str, float]
