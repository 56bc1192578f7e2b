"""What a PNG and the interactive chart of the same data both draw: tidy frames with a middle and its band.

Effects, intervals and verdicts are read from the summary; what is taken here are means and quantiles that decide
nothing. Losses are in nats per example.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from svvr import tables
from svvr.judge.statistics import CONFIDENCE, mean_interval
from svvr.links import GENERALISATION, LINKS, MEASURED
from svvr.tables import KNOBS, RUN, Record, Source

QUANTILES = 0.1, 0.9
BEFORE = "before training"  # stands where an arm stands
TRIAL, WINNER, ABOVE = "trial", "a study's winner", "above the range, or failed"
PAIR, STUDY, MEAN, EQUAL = "one pair of runs", "mean of a study", "mean", "practically equal"
TUNED, AT_RANDOM = "tuning", "random search"  # how trials were chosen
JUDGED = "random search, judged"
FEW = 8  # budgets smaller than the largest one by more than this factor need not be in sight
FARTHEST = 0.001, 1 + 9.99  # ratios between which links are drawn: -99.9 % and +999 %
CONTRAST, SETTING = ["arm", "reference"], ["lr", "weight_decay"]  # what names one
PERCENTS = {
    "effect": "effect_percent",
    "low": "ci_low",
    "high": "ci_high",
    "inner_low": "equivalence_ci_low",
    "inner_high": "equivalence_ci_high",
}  # column -> key of the summary
DOSE = {
    "test_loss": GENERALISATION.axis,
    "validation_loss": "validation loss (nats per example, used for tuning)",
    **{link.name: link.axis for link in MEASURED},
}  # quantity -> label of its axis


def plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows in plain types, None where a value is missing."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def final_runs(source: Source) -> pd.DataFrame:
    """Return how many final runs each arm has and how many of them failed: arm, n, failed."""
    runs = tables.runs(source)
    return _counts(runs[["arm"]].assign(failed=runs["state"] != "complete"))


def validation(source: Source) -> pd.DataFrame:
    """Return each arm's validation loss by epoch, failed runs left out.

    Returns:
        arm, epoch, mean (over studies of the studies' means), low and high (its t interval at CONFIDENCE), drawn_low
        and drawn_high (the same, but at most one span of all means beyond them, so that few studies flatten nothing).
    """
    states = tables.runs(source)[[*RUN, "state"]]
    curves = tables.curves(source).merge(states, on=RUN, validate="many_to_one")
    complete = curves[curves["state"] == "complete"]
    studies = complete.groupby(["arm", "study", "epoch"], sort=False)["validation_loss"].mean().reset_index()
    rows = [
        (arm, epoch, *mean_interval(values.to_numpy(), CONFIDENCE))
        for (arm, epoch), values in studies.groupby(["arm", "epoch"], sort=False)["validation_loss"]
    ]
    frame = pd.DataFrame(rows, columns=["arm", "epoch", "mean", "low", "high"])
    low, high = _around(frame["mean"])
    return frame.assign(drawn_low=frame["low"].clip(lower=low), drawn_high=frame["high"].clip(upper=high))


def trials(source: Source) -> pd.DataFrame:
    """Return every trial.

    Returns:
        arm, study, trial, the knobs (missing where the arm does not tune them), objective (missing where it failed),
        kind (TRIAL, WINNER or ABOVE), drawn (the objective; ABOVE, the upper end of the range that is shown).
    """
    frame = tables.trials(source)
    top = _top(frame)
    above = ~(frame["objective"] <= top)
    frame["kind"] = np.select([above, frame["winner"]], [ABOVE, WINNER], TRIAL)
    frame["drawn"] = frame["objective"].where(~above, top)
    return frame[["arm", "study", "trial", *KNOBS, "objective", "kind", "drawn"]]


def _top(frame: pd.DataFrame) -> float:
    """Return the upper end of the objective's axis: above every winner, else where most trials lie."""
    values = frame["objective"].dropna()
    if values.empty:
        return np.nan
    lowest, median, quantile = values.min(), values.median(), values.quantile(0.9)
    # the quantile alone lets a tenth of diverging trials flatten all others
    highest = np.nanmax([min(quantile, lowest + 4 * (median - lowest)), frame.loc[frame["winner"], "objective"].max()])
    return float(highest + 0.08 * ((highest - lowest) or 1.0))


def pairs(summary: Record) -> pd.DataFrame:
    """Return what is drawn of each generalisation contrast, in per cent of test loss.

    Returns:
        arm, reference, kind, study, difference, low, high: a row a PAIR and a STUDY, one for the MEAN with its
        interval, which is drawn at most one span of the pairs beyond them, and one for the margin (EQUAL). A contrast
        without an effect has its margin alone.
    """
    rows = [
        {"arm": entry["arm"], "reference": entry["reference"], **row}
        for entry in summary["contrasts"]
        if entry["link"] == GENERALISATION.name
        for row in _of_contrast(entry)
    ]
    columns = ["arm", "reference", "kind", "study", "difference", "low", "high"]
    floats = dict.fromkeys(("difference", "low", "high"), "float64")
    return pd.DataFrame(rows, columns=columns).astype({"study": "Int64", **floats})


def _of_contrast(entry: Record) -> list[dict[str, Any]]:
    low, high = margin(entry["margin_percent"])
    rows: list[dict[str, Any]] = [{"kind": EQUAL, "low": low, "high": high}]
    if entry["effect_percent"] is None:
        return rows
    rows += [
        {"kind": PAIR, "study": study, "difference": effect}
        for study, effects in enumerate(entry["pair_effects"])
        for effect in effects
    ]
    low, high = _around(pd.Series([row["difference"] for row in rows[1:]]))
    rows += [{"kind": STUDY, "study": study, "difference": d} for study, d in enumerate(entry["study_effects"])]
    mean = {"kind": MEAN, "difference": entry["effect_percent"]}
    if entry["ci_low"] is not None:
        mean |= {"low": max(entry["ci_low"], low), "high": min(entry["ci_high"], high)}
    return [*rows, mean]


def margin(percent: float) -> tuple[float, float]:
    """Return the ends of a margin in per cent; they are symmetric as logarithms, hence not as percentages."""
    return -100 * percent / (100 + percent), percent


def effects(summary: Record) -> pd.DataFrame:
    """Return every contrast's effect on every link, in the order of the links.

    Returns:
        The columns of `tables.contrasts`, and as ratios effect, low, high, inner_low, inner_high (the interval at the
        equivalence level), margin_low, margin_high, held within FARTHEST; missing where there are none.
    """
    frame = tables.contrasts(summary)
    if frame.empty:
        return frame
    order = [link.name for link in LINKS]
    frame = frame.sort_values("link", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)
    ends = frame["margin_percent"].map(margin)
    percents = {
        "effect": frame["effect_percent"],
        **{end: frame[f"ci_{end}"] for end in ("low", "high")},
        **{f"inner_{end}": frame[f"equivalence_ci_{end}"] for end in ("low", "high")},
        **{f"margin_{end}": ends.str[i] for i, end in enumerate(("low", "high"))},
    }
    ratios = {name: (1 + values.astype("float64") / 100).clip(*FARTHEST) for name, values in percents.items()}
    return frame.assign(**ratios)


def budget(summary: Record) -> pd.DataFrame:
    """Return each contrast's effect against the number of trials of random search, in per cent of test loss.

    Returns:
        arm, reference, n_trials, effect, low and high (its interval), inner_low and inner_high (that at the equivalence
        level), missing where runs failed; the same as far as they are in sight, as drawn, drawn_low, drawn_high,
        drawn_inner_low and drawn_inner_high; margin_low, margin_high; kind (AT_RANDOM).
    """
    return _in_sight(_effects(summary["budget"], "n_trials").assign(kind=AT_RANDOM), summary)


def judged(summary: Record) -> pd.DataFrame:
    """Return what is marked on those curves: the effects on which there is a verdict.

    Returns:
        The columns of `budget`, and verdict; kind is JUDGED, a row a contrast and judged budget of random search, or
        TUNED, a row a contrast: what the studies found at the tuning budget.
    """
    at_random = _effects(summary["budget_verdicts"], "n_trials", "verdict").assign(kind=JUDGED)
    tuned = _effects(_of_tuning(summary), "verdict").assign(kind=TUNED, n_trials=tuning_budget(summary))
    drawn = _effects(summary["budget"])[CONTRAST].drop_duplicates()
    marks = pd.concat([at_random, tuned[at_random.columns]], ignore_index=True).merge(drawn, on=CONTRAST)
    return _in_sight(marks, summary)


def tuning_budget(summary: Record) -> int:
    """Return the number of trials of a study."""
    return max((len(arm["running_best"]) for arm in summary["arms"]), default=0)


def _of_tuning(summary: Record) -> list[Record]:
    return [entry for entry in summary["contrasts"] if entry["link"] == GENERALISATION.name]


def _effects(entries: Sequence[Record], *columns: str) -> pd.DataFrame:
    names = [*CONTRAST, *columns]
    rows = [{name: e[name] for name in names} | {name: e[key] for name, key in PERCENTS.items()} for e in entries]
    return pd.DataFrame(rows, columns=[*names, *PERCENTS]).astype(dict.fromkeys(PERCENTS, "float64"))


def _in_sight(frame: pd.DataFrame, summary: Record) -> pd.DataFrame:
    """Add the margin, and what is drawn: all that lies within one span of the margin and the effects that count.

    So neither what very few trials find nor the wide intervals of few replicates flatten everything else.
    """
    points, tuned = _effects(summary["budget"], "n_trials"), _of_tuning(summary)
    ends = [(*(c[key] for key in CONTRAST), *margin(c["margin_percent"])) for c in tuned]
    margins = pd.DataFrame(ends, columns=[*CONTRAST, "margin_low", "margin_high"])
    counting = [
        points[points["n_trials"] >= points["n_trials"].max() / FEW],
        _effects([*summary["budget_verdicts"], *tuned]),
        *(margins[[*CONTRAST, end]].rename(columns={end: "effect"}) for end in ("margin_low", "margin_high")),
    ]
    by_contrast = pd.concat(counting).groupby(CONTRAST)["effect"]
    sight = by_contrast.agg(bottom=lambda values: _around(values)[0], top=lambda values: _around(values)[1])
    found = frame.merge(margins, on=CONTRAST).merge(sight, on=CONTRAST)
    shown = found["effect"].between(found["bottom"], found["top"])
    names = {"effect": "drawn"} | {end: f"drawn_{end}" for end in PERCENTS if end != "effect"}
    drawn = {new: found[old].clip(found["bottom"], found["top"]).where(shown) for old, new in names.items()}
    return found.assign(**drawn).drop(columns=["bottom", "top"])


def best(summary: Record) -> pd.DataFrame:
    """Return the lowest validation loss of so many trials, by arm.

    Returns:
        arm, kind (TUNED: the mean over studies; AT_RANDOM: what is expected of random search), n_trials, loss (nats),
        drawn (the same, missing where it is out of sight).
    """
    return _losses(summary, {TUNED: "running_best", AT_RANDOM: "expected_best"})


def expected(summary: Record) -> pd.DataFrame:
    """Return the test loss to be expected of the best of so many trials of random search, by arm; columns as `best`."""
    return _losses(summary, {AT_RANDOM: "expected_test_loss"})


def _losses(summary: Record, keys: Mapping[str, str]) -> pd.DataFrame:
    rows = [
        {"arm": entry["arm"], "kind": kind, "n_trials": n, "loss": loss}
        for kind, key in keys.items()
        for entry in summary["arms"]
        for n, loss in enumerate(entry[key], 1)
    ]
    frame = pd.DataFrame(rows, columns=["arm", "kind", "n_trials", "loss"]).astype({"loss": "float64"})
    counting = frame.loc[frame["n_trials"] >= frame["n_trials"].max() / FEW, "loss"]
    # an arm of which most trials diverge may have some thousand nats to expect even then, which count no more
    lowest, median = counting.min(), counting.median()
    near = counting[counting <= lowest + 10 * (median - lowest)]
    return frame.assign(drawn=frame["loss"].where(frame["loss"] <= _around(near)[1]))


def measured_runs(source: Source) -> pd.DataFrame:
    """Return how many diagnosed runs each arm has and how many of them failed: arm, n, failed."""
    values = tables.quantities(source)
    runs = values.loc[values["link"] == MEASURED[0].name, RUN]
    having = tables.spectra(source)[RUN].drop_duplicates()
    merged = runs.merge(having, on=RUN, how="left", indicator=True, validate="one_to_one")
    return _counts(merged[["arm"]].assign(failed=merged["_merge"] == "left_only"))


def _counts(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.groupby("arm", sort=False, as_index=False).agg(n=("failed", "size"), failed=("failed", "sum"))


def spectra(source: Source) -> pd.DataFrame:
    """Return the singular values of each layer over the runs, by arm and, over all arms, before training.

    Returns:
        arm (an arm or BEFORE), layer, index, median, low and high (QUANTILES).
    """
    values = tables.spectra(source)
    key = ["arm", "layer", "index"]
    trained = values[key].assign(value=values["trained"])
    initial = values[key].assign(value=values["initial"], arm=BEFORE)
    groups = pd.concat([trained, initial]).groupby(key, sort=False)["value"]
    shares = {"median": 0.5, "low": QUANTILES[0], "high": QUANTILES[1]}
    return pd.DataFrame({name: groups.quantile(share) for name, share in shares.items()}).reset_index()


def dose(record: Record) -> pd.DataFrame:
    """Return each figure's mean over seeds at each strength of each setting, without those that are unknown.

    Returns:
        lr, weight_decay, quantity, strength, mean, low, high; an interval may be missing.
    """
    columns = {"mean": "mean", "low": "ci_low", "high": "ci_high"}
    frames = [
        pd.DataFrame(
            {
                **{key: setting[key] for key in SETTING},
                "quantity": quantity,
                "strength": setting["strengths"],
                **{name: pd.Series(setting[quantity][key], dtype="float64") for name, key in columns.items()},
            }
        )
        for setting in settings(record)
        for quantity in DOSE
    ]
    return pd.concat(frames, ignore_index=True).dropna(subset="mean", ignore_index=True)


def settings(record: Record) -> list[Record]:
    """Return the settings of the dose-response, the first one at the record's top level."""
    return [record, *record["others"]]


def replication(record: Record) -> pd.DataFrame:
    """Return the validation loss of each replicated row by epoch: row, epoch, mean, low and high (the runs' range)."""
    rows = [
        {"row": row["row"], "epoch": range(1, len(run["validation_loss"]) + 1), "loss": run["validation_loss"]}
        for row in record["rows"]
        for run in row["runs"]
    ]
    frame = pd.DataFrame(rows, columns=["row", "epoch", "loss"]).explode(["epoch", "loss"], ignore_index=True)
    groups = frame.astype({"loss": "float64"}).groupby(["row", "epoch"], sort=False)["loss"]
    return groups.agg(mean="mean", low="min", high="max").reset_index()


def published(record: Record) -> pd.DataFrame:
    """Return the published losses, each once: row (the first that it is given for), epoch (their last), loss."""
    rows = [
        {"row": row["row"], "epoch": max((len(run["validation_loss"]) for run in row["runs"]), default=1),
         "loss": row["published"]}
        for row in record["rows"]
        if row["published"] is not None
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["row", "epoch", "loss"])
    return frame.groupby("loss", sort=False, as_index=False).agg(row=("row", "first"), epoch=("epoch", "max"))


def arms_of(summary: Record) -> list[str]:
    """Return the arms of the summary in their order, those that stand in contrasts alone last."""
    contrasts: Sequence[Mapping[str, Any]] = summary["contrasts"]
    named = [arm for entry in contrasts for arm in (entry["arm"], entry["reference"])]
    return list(dict.fromkeys([*(entry["arm"] for entry in summary["arms"]), *named]))


def _around(values: "pd.Series[float]") -> tuple[float, float]:
    """Return the values' range, widened by its span on both sides."""
    span = float(values.max() - values.min()) or 0.1
    return float(values.min()) - span, float(values.max()) + span
