"""Tune one arm: independent Optuna studies, on the train and validation splits alone."""

from svvr.run import lifetime

lifetime.begin("tune")

from pathlib import Path

from svvr import summaries
from svvr.core import files
from svvr.core.params import Params
from svvr.data import read
from svvr.learn import work
from svvr.run import evaluate, stage
from svvr.search import studies

DATA = Path("data/dev.npz")
ARM = stage.arm("tune")


def main(params: Params) -> None:
    data, arm, settings = read.splits(DATA, "train", "validation"), params.arms[ARM], params.tuning
    with evaluate.session(f"tune@{ARM}", settings.studies * settings.trials * settings.seeds_per_trial) as session:
        losses = work.losses_of(params, ARM, session, data)
        found = studies.tune(params.seed, ARM, arm.ranges(settings.space), settings, params.selection, losses)
    if studies.no_better_than_chance(found, classes := int(data["y_train"].max()) + 1):
        text = "tune@%s: in no study is a trial better than a guess among %d classes; are penalty and ranges as meant?"
        stage.log.warning(text, ARM, classes)
    record = {"arm": ARM, "penalty": arm.penalty.name, **summaries.of_studies(found), "studies": found}
    files.write_json(Path(f"metrics/tune/{ARM}.json"), record)


if __name__ == "__main__":
    stage.run(f"tune@{ARM}", main, [DATA], Path("params.yaml"))
