"""What must hold between records before anything is computed from them: the same studies, runs, knobs and weights."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from svvr import tables
from svvr.core.files import array_hash
from svvr.tables import KNOBS, RUN

if TYPE_CHECKING:
    from svvr.core.params import Params

Records = Mapping[str, Mapping[str, tables.Record]]  # kind -> arm -> record
Losses = Mapping[str, npt.NDArray[np.float32]]  # arm -> (studies, n_test)
SAME = [*RUN, "initial_weights"]


def check(params: "Params", records: Records, test_losses: Losses, contrasts: Sequence[tuple[str, str]]) -> None:
    """Refuse records that do not belong together; each by itself is taken to be what its schema says.

    Args:
        params: the tuning budget and the selection rule are read.
        records: of kinds tune, train, budget and diagnose, each with the same arms.
        test_losses: per-example losses averaged over a study's runs, nats.
        contrasts: (arm, reference), whose runs must be paired.

    Raises:
        ValueError: naming the record's kind and arm, what was got and what was expected.
    """
    trials, runs = tables.trials(records), tables.runs(records)
    diagnosed = _diagnosed(records)
    for kind, name in (("train", "final"), ("budget", "budget")):
        for arm, record in records[kind].items():
            if record["selection"] != params.selection:
                got = f"got selection {record['selection']!r}, expected {params.selection!r}"
                raise ValueError(f"{name} record of arm {arm}: {got}")
    _check_trials(trials, params.tuning.trials)
    for kind, frame in (("final", runs), ("diagnosed", diagnosed)):
        _check_keys(kind, frame, trials)
    _check_knobs(runs, trials)
    _check_subset(diagnosed, runs)
    for arm, reference in contrasts:
        for frame in (runs, diagnosed):
            check_pairing(frame, arm, reference)
    for arm, record in records["train"].items():
        _check_losses(arm, record["test_losses"][0], runs[runs["arm"] == arm], test_losses[arm])


def check_design(params: "Params", design: pd.DataFrame, contrasts: Sequence[tuple[str, str]]) -> None:
    """Refuse runs of the random design that are not those of params, or not paired between arms.

    Args:
        params: `budget` is read.
        design: as from `tables.design`.
        contrasts: (arm, reference), which must share points and seeds.

    Raises:
        ValueError: naming the arms, and the first run that differs.
    """
    settings = params.budget
    expected = settings.replicates * settings.points * settings.seeds
    for arm, n in design.groupby("arm", sort=False).size().items():
        if n != expected:
            raise ValueError(f"budget record of arm {arm}: got {n} runs, expected {expected} as in params")
    key = ["replicate", "point", "seed", "lr"]  # every arm tunes lr
    for pair in contrasts:
        one, other = (design.loc[design["arm"] == arm, key] for arm in pair)
        both = one.merge(other, on=key, how="outer", indicator=True)
        for row in both[both["_merge"] != "both"].to_dict("records")[:1]:
            where = f"replicate {row['replicate']}, point {row['point']}, seed {row['seed']}, lr {row['lr']:g}"
            owner = pair[row["_merge"] == "right_only"]
            raise ValueError(f"budget records of {pair[0]} and {pair[1]}: {where} is in {owner} alone, expected pairs")


def check_pairing(runs: pd.DataFrame, arm: str, reference: str) -> None:
    """Refuse runs that are not paired: the same seeds in the same studies, from the same initial weights.

    Args:
        runs: a row a run, with arm, study, seed and initial_weights.
        arm: compared with the reference.
        reference: the other arm.

    Raises:
        ValueError: naming arms, study and seed, and where they differ the hashes of the initial weights.
    """
    subject = f"runs of {arm} and {reference} are not paired"
    both = runs[runs["arm"] == arm].merge(
        runs[runs["arm"] == reference], on=["study", "seed"], how="outer", indicator=True, suffixes=("", "_reference")
    )
    for row in both[both["_merge"] != "both"].to_dict("records")[:1]:
        owner = arm if row["_merge"] == "left_only" else reference
        raise ValueError(
            f"{subject}: study {row['study']}, seed {row['seed']} is in {owner} alone, expected equal seeds"
        )
    for row in both[both["initial_weights"] != both["initial_weights_reference"]].to_dict("records")[:1]:
        hashes = f"{row['initial_weights'][:12]} and {row['initial_weights_reference'][:12]}"
        where = f"study {row['study']}, seed {row['seed']}"
        raise ValueError(f"{subject}: {where}: initial weights {hashes} differ, expected the same ones")


def _diagnosed(records: Records) -> pd.DataFrame:
    rows = [{"arm": arm, **run} for arm, record in records["diagnose"].items() for run in record["runs"]]
    return pd.DataFrame(rows, columns=SAME)


def _check_trials(trials: pd.DataFrame, n: int) -> None:
    counts = trials.groupby(["arm", "study"], sort=False)["winner"].agg(["size", "sum"]).reset_index()
    for row in counts[(counts["size"] != n) | (counts["sum"] != 1)].to_dict("records")[:1]:
        got = f"{row['size']} trials in study {row['study']}, {row['sum']} of which won"
        raise ValueError(f"tuning record of arm {row['arm']}: got {got}, expected {n} and one winner")


def _check_keys(kind: str, runs: pd.DataFrame, trials: pd.DataFrame) -> None:
    """Refuse a run that stands twice, and other studies than the tuned ones."""
    for row in runs[runs.duplicated(RUN)].to_dict("records")[:1]:
        got = f"study {row['study']}, seed {row['seed']} twice"
        raise ValueError(f"{kind} record of arm {row['arm']}: got {got}, expected each run once")
    for arm, of_arm in trials.groupby("arm", sort=False):
        tuned = sorted(of_arm["study"].unique().tolist())
        found = sorted(runs.loc[runs["arm"] == arm, "study"].unique().tolist())
        if tuned != found:
            raise ValueError(f"{kind} record of arm {arm}: got studies {found}, expected {tuned}")


def _check_knobs(runs: pd.DataFrame, trials: pd.DataFrame) -> None:
    winners = trials.loc[trials["winner"], ["arm", "study", *KNOBS]].fillna(0.0)
    both = runs.merge(winners, on=["arm", "study"], suffixes=("", "_tuned"), validate="many_to_one")
    tuned = both[[f"{knob}_tuned" for knob in KNOBS]].to_numpy()
    for row in both[(both[KNOBS].to_numpy() != tuned).any(axis=1)].to_dict("records")[:1]:
        got, expected = ({knob: row[knob + end] for knob in KNOBS} for end in ("", "_tuned"))
        where = f"study {row['study']}, seed {row['seed']}"
        raise ValueError(f"final record of arm {row['arm']}: got {got} at {where}, expected {expected} as tuned")


def _check_subset(diagnosed: pd.DataFrame, runs: pd.DataFrame) -> None:
    both = diagnosed.merge(runs[SAME], on=SAME, how="left", indicator=True)
    for row in both[both["_merge"] != "both"].to_dict("records")[:1]:
        got = f"study {row['study']}, seed {row['seed']}, initial weights {row['initial_weights'][:12]}"
        raise ValueError(f"diagnosed record of arm {row['arm']}: got {got}, expected one of its final runs")


def _check_losses(arm: str, digest: str, runs: pd.DataFrame, losses: npt.NDArray[np.float32]) -> None:
    """Refuse per-example test losses that are not those of an arm's final runs, or do not agree with their means."""
    if array_hash(losses) != digest:
        raise ValueError(f"test losses of arm {arm}: got others than the final record's, expected those of its runs")
    means: dict[Any, float] = runs.dropna(subset=["test_loss"]).groupby("study")["test_loss"].mean().to_dict()
    for study, got in means.items():
        expected = float(losses[study].mean(dtype=np.float64))
        if not np.isclose(got, expected, rtol=1e-5, atol=0):
            where = f"final record of arm {arm}, study {study}"
            raise ValueError(f"{where}: got a mean test loss of {got}, expected {expected} of the examples")
