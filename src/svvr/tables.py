"""Records as tidy pandas frames: a row an observation, a column a variable.

Each function takes the folder of the metrics, as in `tables.runs("metrics")`, or records that were read already, as
kind -> arm -> record (`{"train": {"baseline": {...}}}`). Losses are in nats per example; what failed is missing (NaN).
A folder without records is a `RecordError`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from svvr.core import files
from svvr.links import GENERALISATION, MEASURED

Record: TypeAlias = Mapping[str, Any]
Source: TypeAlias = str | Path | Mapping[str, Mapping[str, Record]]

KNOBS = ["lr", "strength", "weight_decay"]
RUN = ["arm", "study", "seed"]  # what names a final run
RUNS = [*RUN, "initial_weights", "state", "selected_epoch", *KNOBS, "test_loss", "test_accuracy"]


def runs(source: Source) -> pd.DataFrame:
    """Return the final runs.

    Returns:
        A row a run: arm, study, seed, initial_weights (a hash), state (`complete` or `failed`), selected_epoch (from
        1), lr, strength, weight_decay, test_loss, test_accuracy.
    """
    frame = pd.DataFrame(_final_runs(source), columns=RUNS)
    return _numbers(frame, *KNOBS, "test_loss", "test_accuracy").astype({"selected_epoch": "Int64"})


def curves(source: Source) -> pd.DataFrame:
    """Return the final runs' curves.

    Returns:
        A row a run and epoch (from 1): arm, study, seed, epoch, and a column a curve, such as validation_loss.
    """
    rows = _final_runs(source)
    names = [name for name, value in rows[0].items() if isinstance(value, list)] if rows else []
    frame = pd.DataFrame(rows, columns=[*RUN, *names])
    if names:
        frame = frame.explode(names, ignore_index=True)
    frame.insert(len(RUN), "epoch", frame.groupby(RUN).cumcount() + 1)
    return _numbers(frame, *names)


def trials(source: Source) -> pd.DataFrame:
    """Return the trials of every study.

    Returns:
        A row a trial: arm, study, trial (from 0), state, objective, winner (whether it is its study's), and the knobs,
        missing where the arm does not tune them.
    """
    rows = [
        {
            "arm": arm,
            "study": study["study"],
            "trial": trial["number"],
            "state": trial["state"],
            "objective": trial["objective"],
            "winner": (trial["params"], trial["objective"]) == (study["best"], study["objective"]),
            **trial["params"],
        }
        for arm, record in _of(source, "tune").items()
        for study in record["studies"]
        for trial in study["trials"]
    ]
    columns = ["arm", "study", "trial", "state", "objective", "winner", *KNOBS]
    return _numbers(pd.DataFrame(rows, columns=columns), "objective", *KNOBS).astype({"winner": "bool"})


def design(source: Source) -> pd.DataFrame:
    """Return the runs of the random design that all arms share.

    Returns:
        A row a run: arm, replicate, point, seed, seed_index (from 0, in the record's order: the same seed in every arm
        and point of a replicate), lr, strength, weight_decay (0 where the arm lacks them), state, validation_loss,
        test_loss.
    """
    rows = [{"arm": arm, **run} for arm, record in _of(source, "budget").items() for run in record["runs"]]
    columns = ["arm", "replicate", "point", "seed", *KNOBS, "state", "validation_loss", "test_loss"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(4, "seed_index", frame.groupby(["arm", "replicate", "point"]).cumcount())
    return _numbers(frame, *KNOBS, "validation_loss", "test_loss")


def spectra(source: Source) -> pd.DataFrame:
    """Return the singular values of the diagnosed runs.

    Returns:
        A row a singular value: arm, study, seed, layer (from 1), index (from 1, the largest first), and its value
        trained and initial.
    """
    rows = [
        {
            "arm": arm,
            **{key: run[key] for key in ("study", "seed")},
            "layer": layer["layer"],
            "trained": layer["singular_values"],
            "initial": layer["initial_singular_values"],
        }
        for arm, record in _of(source, "diagnose").items()
        for run in record["runs"]
        for layer in run["layers"]
    ]
    frame = pd.DataFrame(rows, columns=[*RUN, "layer", "trained", "initial"])
    frame = frame.explode(["trained", "initial"], ignore_index=True)
    frame.insert(len(RUN) + 1, "index", frame.groupby([*RUN, "layer"]).cumcount() + 1)
    return _numbers(frame, "trained", "initial")


def quantities(source: Source) -> pd.DataFrame:
    """Return every run's figure for every link, a logarithm.

    Returns:
        A row a run and link: arm, study, seed, initial_weights, link, value; the value is missing where the run failed
        or could not be measured.
    """
    columns = [*RUN, "initial_weights"]
    final = runs(source)
    final = final[columns].assign(link=GENERALISATION.name, value=np.log(final["test_loss"]))
    names = [link.name for link in MEASURED]
    rows = [{"arm": arm, **run} for arm, record in _of(source, "diagnose").items() for run in record["runs"]]
    measured = _numbers(pd.DataFrame(rows, columns=[*columns, *names]), *names)
    measured = measured.melt(columns, names, var_name="link", value_name="value")
    return pd.concat([final, measured], ignore_index=True)


def evenness(source: Source) -> pd.DataFrame:
    """Return how uneven the singular values of every diagnosed run are, a frame as from `quantities`.

    Returns:
        The value is the mean over layers of the log of their coefficient of variation, missing where the run could not
        be measured.
    """
    rows = [
        {"arm": arm, **run, "link": "evenness"}
        | {"value": [layer["coefficient_of_variation"] for layer in run["layers"]]}
        for arm, record in _of(source, "diagnose").items()
        for run in record["runs"]
    ]
    frame = pd.DataFrame(rows, columns=[*RUN, "initial_weights", "link", "value"])
    frame["value"] = [float(np.mean(np.log(each))) if each else np.nan for each in frame["value"]]
    return frame


def pairs(values: pd.DataFrame, contrasts: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Pair the runs of arms with those of their references.

    Args:
        values: as from `quantities`.
        contrasts: (arm, reference).

    Returns:
        A row a contrast, link and pair of runs: arm, reference, link, study, seed, d, the difference of the
        logarithms; missing where either run has none.

    Raises:
        pandas.errors.MergeError: where an arm has a run twice.
    """
    key = ["arm", "reference", "link", "study", "seed"]
    listed = pd.DataFrame(contrasts, columns=["arm", "reference"])
    of_arm = listed.merge(values, on="arm")
    of_reference = listed.merge(values.rename(columns={"arm": "reference"}), on="reference")
    paired = of_arm.merge(of_reference[[*key, "value"]], on=key, suffixes=("", "_reference"), validate="one_to_one")
    paired["d"] = paired["value"] - paired["value_reference"]
    return paired[[*key, "d"]]


def contrasts(source: str | Path | Record) -> pd.DataFrame:
    """Return the contrasts of the summary, given as the metrics' folder or as the record.

    Returns:
        A row a contrast and link, a column a single figure: effect_percent, ci_low, ci_high, verdict and so on.
    """
    record = files.read_json(Path(source, "summary.json")) if isinstance(source, str | Path) else source
    rows = [
        {key: value for key, value in entry.items() if not isinstance(value, list | dict)}
        for entry in record["contrasts"]
    ]
    return pd.DataFrame(rows)


def csv(frame: pd.DataFrame) -> bytes:
    """Return a frame as CSV in UTF-8, the same bytes everywhere: floats in full precision, missing values empty."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _of(source: Source, kind: str) -> Mapping[str, Record]:
    if not isinstance(source, str | Path):
        return source[kind]
    found = {path.stem: files.read_json(path) for path in sorted(Path(source, kind).glob("*.json"))}
    if not found:
        raise files.RecordError(f"{Path(source, kind)}: got no records, expected a JSON file for each arm")
    return found


def _final_runs(source: Source) -> list[dict[str, Any]]:
    return [{"arm": arm, **run} for arm, record in _of(source, "train").items() for run in record["runs"]]


def _numbers(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return frame.astype({column: "float64" for column in columns})
