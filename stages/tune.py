"""Tune one arm: independent Optuna studies, on the train and validation splits alone."""

from svvr.execution import stage

NAME = stage.begin("tune")

from svvr import records, tuning
from svvr.execution import work
from svvr.params import Params


def main(params: Params) -> None:
    arm, data, settings = NAME.partition("@")[2], records.read_npz("data/dev.npz"), params.tuning
    n_runs = settings.studies * settings.trials * settings.seeds_per_trial
    with work.session(NAME, n_runs, params.training.device) as session:
        rows = tuning.tune(params, arm, lambda runs: session(runs, work.SCORE, data))
    if tuning.no_better_than_chance(rows, classes := int(data["y_train"].max()) + 1):
        print(f"{NAME}: no trial beats a guess among {classes} classes; check the penalty and its range")
    records.write_rows(f"metrics/tune/{arm}.json", stage.report(NAME, rows))


stage.run(NAME, main)
