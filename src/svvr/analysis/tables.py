"""The records as DataFrames: one row per observation, losses in nats per example, NaN where a run failed.

Readers take the folder of the metrics and the names of the arms; their first column is `arm`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from svvr.links import GENERALISATION, MEASURED
from svvr.params import SHARED, Params
from svvr.records import read_json, read_rows

RUN = ["study", "seed"]  # what identifies a final run of an arm
LINKS = [link.name for link in MEASURED]
LOSSES = ["validation_loss", "test_loss"]
TUNING_LOSSES = ["validation_loss", "validation_loss_last", "validation_loss_best"]
ACCURACIES = ["validation_accuracy", "test_accuracy"]
CURVES = ["train_loss", "validation_loss_curve", "validation_accuracy_curve", "gradient_norm_mean", "gradient_norm_sd"]
SPECTRA = ["singular_values", "initial_singular_values"]
VALUES = ["value", "value_reference"]
FLOATS = {*SHARED, *LOSSES, *TUNING_LOSSES, *ACCURACIES, *LINKS, *VALUES}


def trials(metrics: Path, arms: Iterable[str]) -> pd.DataFrame:
    """Return one row per trial: losses are means over its seeds, missing if a seed failed."""
    runs = _arms(metrics / "tune", arms, "study", "trial", *SHARED, "state", *TUNING_LOSSES, "winner")
    by_trial = runs.groupby(["arm", "study", "trial"], sort=False)
    found = by_trial.first().drop(columns="seed")
    found[TUNING_LOSSES] = by_trial[TUNING_LOSSES].mean(skipna=False)
    found["state"] = np.where(found["validation_loss"].isna(), "failed", "complete")
    return found.reset_index()


def runs(metrics: Path, arms: Iterable[str]) -> pd.DataFrame:
    """Return one row per final run; its curves are lists, see `curves`."""
    columns = [*RUN, "initial_weights", *SHARED, "state", "selected_epoch", *LOSSES, *ACCURACIES, *CURVES]
    return _arms(metrics / "train", arms, *columns).astype({"selected_epoch": "Int64"})


def design(metrics: Path, arms: Iterable[str]) -> pd.DataFrame:
    """Return the runs of the random design."""
    return _arms(metrics / "budget", arms, "replicate", "point", "seed", *SHARED, "state", *LOSSES)


def diagnosed(metrics: Path, arms: Iterable[str]) -> pd.DataFrame:
    """Return one row per diagnosed run: figures, a `reason` where it has none, and lists by layer."""
    return _arms(metrics / "diagnose", arms, *RUN, *LINKS, *SPECTRA, "coefficient_of_variation", "reason")


def activity(metrics: Path) -> pd.DataFrame:
    """Return each penalty's value at its arm's runs and at its reference's; no rows where no arm has a penalty."""
    return _read(metrics / "activity.json", "arm", "reference", *RUN, *VALUES)


def dose_response(metrics: Path) -> pd.DataFrame:
    """Return the runs of the dose-response; `penalty` is the path's, also at strength 0."""
    return _read(metrics / "dose_response.json", "penalty", *SHARED, "seed", "state", *LOSSES, *LINKS)


def replicate(metrics: Path) -> pd.DataFrame:
    """Return the runs of the replication, none with other data than its own; `validation_loss_curve` is a list."""
    return _read(metrics / "replicate.json", "row", "seed", "lr", "strength", "state", "validation_loss_curve")


def _read(path: Path, *columns: str) -> pd.DataFrame:
    found = pd.DataFrame(columns=list(columns)) if read_json(path) == [] else read_rows(path, *columns)
    return found.astype({name: "float64" for name in columns if name in FLOATS})


def _arms(folder: Path, arms: Iterable[str], *columns: str) -> pd.DataFrame:
    frames = {arm: _read(folder / f"{arm}.json", *columns) for arm in arms}
    return pd.concat(frames, names=["arm", None]).reset_index("arm").reset_index(drop=True)


def curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per final run and epoch (from 1): arm, study, seed, epoch, and the curves without `_curve`."""
    frame = runs[["arm", *RUN, *CURVES]].explode(CURVES, ignore_index=True).astype(dict.fromkeys(CURVES, "float64"))
    frame.insert(3, "epoch", frame.groupby(["arm", *RUN]).cumcount() + 1)
    return frame.rename(columns=lambda name: name.removesuffix("_curve"))


def spectra(diagnosed: pd.DataFrame) -> pd.DataFrame:
    """Return one row per singular value: arm, study, seed, layer and index (both from 1), trained, initial."""
    frame = diagnosed[["arm", *RUN, *SPECTRA]].explode(SPECTRA, ignore_index=True).dropna()
    frame.insert(3, "layer", frame.groupby(["arm", *RUN]).cumcount() + 1)
    frame = frame.explode(SPECTRA, ignore_index=True).astype(dict.fromkeys(SPECTRA, "float64"))
    frame.insert(4, "index", frame.groupby(["arm", *RUN, "layer"]).cumcount() + 1)
    return frame.rename(columns=dict(zip(SPECTRA, ("trained", "initial"), strict=True)))


def quantities(runs: pd.DataFrame, diagnosed: pd.DataFrame) -> pd.DataFrame:
    """Return every run's figure for every link, a logarithm: arm, study, seed, link, value."""
    key = ["arm", *RUN]
    final = runs[key].assign(link=GENERALISATION.name, value=np.log(runs["test_loss"]))
    return pd.concat([final, diagnosed.melt(key, LINKS, var_name="link")], ignore_index=True)


def pairs(values: pd.DataFrame, contrasts: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Pair values as from `quantities` with `value_reference` of the same seed; `d`, the difference, may be missing."""
    key = ["arm", "reference", "link", *RUN]
    listed = pd.DataFrame(contrasts, columns=["arm", "reference"], dtype="str")
    of_reference = listed.merge(values.rename(columns={"arm": "reference"}), on="reference")
    paired = listed.merge(values, on="arm").merge(of_reference, on=key, suffixes=("", "_reference"))
    return paired[[*key, *VALUES]].assign(d=paired["value"] - paired["value_reference"])


def check(params: Params, runs: pd.DataFrame) -> None:
    """Raise ValueError where paired runs started from different weights, or one of them is missing."""
    for pair in params.contrasts():
        one, other = (runs.loc[runs["arm"] == arm, [*RUN, "initial_weights"]] for arm in pair)
        both = one.merge(other, on=RUN, how="outer")
        for study, seed, *hashes in both[both["initial_weights_x"] != both["initial_weights_y"]].to_numpy()[:1]:
            got = " and ".join(str(each)[:12] for each in hashes)
            where = f"{' and '.join(pair)}, study {study}, seed {seed}"
            raise ValueError(f"{where}: got initial weights {got}, expected the same in paired runs")


def csv(frame: pd.DataFrame) -> bytes:
    """Return a frame without its curves as CSV, in full precision."""
    return frame.drop(columns=CURVES, errors="ignore").to_csv(index=False, lineterminator="\n").encode()
