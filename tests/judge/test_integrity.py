"""Records that do not belong together: each fault is refused in one line that names kind and arm."""

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest

from svvr import tables
from svvr.judge import contrasts, integrity
from tests.judge import made

Fault: TypeAlias = Callable[[made.Records], object]
ROLES = ("train", "diagnose")
TRAINED = "those of the trained baseline"


def check(records: made.Records) -> None:
    integrity.check(made.PARAMS, records, made.losses(records), contrasts.pairs_to_compare(made.PARAMS))


def drop(*kinds: str, arm: str = "regularized", first: int = 3, n: int = 1) -> Fault:
    """Drop n runs of an arm."""

    def fault(records: made.Records) -> None:
        for kind in kinds:
            del records[kind][arm]["runs"][first : first + n]

    return fault


def alter(*kinds: str, arms: Sequence[str] = ("regularized",), place: int = 3, key: str, value: object) -> Fault:
    """Give a run of each of the arms another value."""

    def fault(records: made.Records) -> None:
        for run in (records[kind][arm]["runs"][place] for kind in kinds for arm in arms):
            run[key] = value

    return fault


def repeat(kind: str) -> Fault:
    return lambda records: records[kind]["baseline"]["runs"].append(records[kind]["baseline"]["runs"][6])


def set_study(key: str, value: object) -> Fault:
    return lambda records: records["tune"]["regularized"]["studies"][1].update({key: value})


def repeat_winner(records: made.Records) -> None:
    trials = records["tune"]["regularized"]["studies"][1]["trials"]
    trials[5] = trials[0] | {"number": 5}


def leave_out(kind: str) -> Fault:
    return lambda records: records[kind].pop("weight_decay")


def test_records_that_belong_together_pass_in_any_order() -> None:
    records = made.records()
    check(records)
    for kind in ROLES:
        records[kind]["baseline"]["runs"].reverse()
    check({kind: dict(reversed(of_kind.items())) for kind, of_kind in records.items()})


NOT_PAIRED = "runs of regularized and baseline are not paired: study 0, seed"


@pytest.mark.parametrize(
    "fault,message",
    [
        (alter(*ROLES, key="initial_weights", value=TRAINED), f"{NOT_PAIRED} 3: initial weights those of the and hash"),
        (drop(*ROLES), f"{NOT_PAIRED} 3 is in baseline alone, expected equal seeds"),
        (drop("diagnose"), f"{NOT_PAIRED} 3 is in baseline alone, expected equal seeds"),
        (drop(*ROLES, arm="baseline"), f"{NOT_PAIRED} 3 is in regularized alone, expected equal seeds"),
        (alter(*ROLES, key="seed", value=999), f"{NOT_PAIRED} 3 is in baseline alone, expected equal seeds"),
        # alike in every arm, so that pairing alone would not see it
        (alter("diagnose", arms=made.ARMS, key="seed", value=999),
         "diagnosed record of arm baseline: got study 0, seed 999, initial weights hash3, expected one of its final"),
        (alter("diagnose", arms=made.ARMS, key="initial_weights", value=TRAINED),
         "diagnosed record of arm baseline: got study 0, seed 3, initial weights those of the, expected one of its"),
        (repeat("train"), "final record of arm baseline: got study 1, seed 102 twice, expected each run once"),
        (repeat("diagnose"), "diagnosed record of arm baseline: got study 1, seed 102 twice, expected each run once"),
        (drop("train", first=12, n=4), "final record of arm regularized: got studies [0, 1, 2], expected [0, 1, 2, 3]"),
        (drop("diagnose", first=4, n=4),
         "diagnosed record of arm regularized: got studies [0, 2, 3], expected [0, 1, 2, 3]"),
        (leave_out("train"), "final record of arm weight_decay: got studies [], expected [0, 1, 2, 3]"),
        (leave_out("diagnose"), "diagnosed record of arm weight_decay: got studies [], expected [0, 1, 2, 3]"),
        (alter("train", place=5, key="strength", value=0.2),
         "final record of arm regularized: got {'lr': 0.01, 'strength': 0.2, 'weight_decay': 0.0} at study 1, "
         "seed 101, expected {'lr': 0.01, 'strength': 0.1, 'weight_decay': 0.0} as tuned"),
        (alter("train", arms=["baseline"], place=0, key="weight_decay", value=0.1), "'weight_decay': 0.0} as tuned"),
        (lambda records: records["train"]["weight_decay"].update(selection="best_epoch"),
         "final record of arm weight_decay: got selection 'best_epoch', expected 'last_epoch'"),
        (set_study("trials", [made.trial(0, 1.0, lr=0.01, strength=0.1)]),
         f"arm regularized: got 1 trials in study 1, 1 of which won, expected {made.N_TRIALS} and one win"),
        (set_study("best", {"lr": 0.02, "strength": 0.1}), "in study 1, 0 of which won, expected"),
        (set_study("objective", 0.9), "in study 1, 0 of which won, expected"),
        (repeat_winner, "in study 1, 2 of which won, expected"),
    ],
)  # fmt: skip
def test_each_fault_is_refused(fault: Fault, message: str) -> None:
    records = made.records()
    fault(records)
    with pytest.raises(ValueError, match=re.escape(message)):
        check(records)


def test_test_losses_of_other_runs_are_named() -> None:
    records = made.records({"regularized": made.BETTER})
    losses = made.losses(records)
    with pytest.raises(ValueError, match="test losses of arm baseline: got others than the final record's"):
        integrity.check(made.PARAMS, records, losses | {"baseline": losses["regularized"]}, [])
    for run in records["train"]["regularized"]["runs"][4:8]:
        run["test_loss"] *= 1.001
    with pytest.raises(ValueError, match=r"final record of arm regularized, study 1: got a mean test loss of .*, exp"):
        integrity.check(made.PARAMS, records, losses, [])


def test_a_failed_run_passes_and_its_study_s_mean_is_that_of_the_others() -> None:
    records = made.records()
    records["train"]["regularized"]["runs"][6] = made.final_run(1, 102, None, strength=0.1)
    for seed in range(4):  # and a study without any complete run
        records["train"]["regularized"]["runs"][seed] = made.final_run(0, seed, None, strength=0.1)
    check(records)


def check_design(records: made.Records) -> None:
    integrity.check_design(made.PARAMS, tables.design(records), contrasts.pairs_to_compare(made.PARAMS))


def test_a_design_that_is_shared_passes_in_any_order() -> None:
    records = made.records()
    records["budget"]["regularized"]["runs"].reverse()
    check_design(records)


N_DESIGN = made.BUDGET.replicates * made.BUDGET.points * made.BUDGET.seeds
DESIGN = "budget records of regularized and baseline: replicate 0, point 1, seed"


@pytest.mark.parametrize(
    "fault,message",
    [
        (drop("budget"), f"record of arm regularized: got {N_DESIGN - 1} runs, expected {N_DESIGN} as in params"),
        (alter("budget", key="seed", value=999), f"{DESIGN} 1, lr 0.011 is in baseline alone, expected pairs"),
        (alter("budget", arms=["baseline"], key="seed", value=0), f"{DESIGN} 1, lr 0.011 is in regularized alone, exp"),
        (alter("budget", key="lr", value=0.0109), f"{DESIGN} 1, lr 0.0109 is in regularized alone, expected pairs"),
        (leave_out("budget"), "and weight_decay: replicate 0, point 0, seed 0, lr 0.01 is in weight_decay_regul"),
    ],
)  # fmt: skip
def test_each_fault_of_the_design_is_refused(fault: Fault, message: str) -> None:
    records = made.records()
    fault(records)
    with pytest.raises(ValueError, match=re.escape(message)):
        check_design(records)
