"""Tune one arm: independent Optuna studies, on the train and validation splits alone."""

from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path

from svvr.core import files as records
from svvr.core.params import Params
from svvr.data import read as splits
from svvr.learn import spec as arms
from svvr.learn import train as training
from svvr.run import evaluate as execution
from svvr.run import stage
from svvr.search import studies as tuning

DATA = Path("data/dev.npz")
ARM = stage.arm("tune")


def main(params: Params) -> None:
    settings = params.tuning
    work = execution.Work(training.train, training.modules, training.stackable)
    development = splits.read(DATA, "train", "validation")
    total = settings.studies * settings.trials * settings.seeds_per_trial
    count, best = stage.Progress(f"tune@{ARM}", total), [float("inf")]

    with execution.workers() as executor:

        def evaluate(trials: Sequence[tuple[dict[str, float], Sequence[int]]]) -> list[list[tuning.Losses]]:
            runs = [arms.run_of(params, ARM, values, seed) for values, seeds in trials for seed in seeds]
            results = execution.evaluate(runs, work, development, executor, stage.cache_folder())
            losses = [losses_of(result) for result in results]
            best[0] = min([best[0], *(each[params.selection] for each in losses if isfinite(each[params.selection]))])
            count(len(losses), f"best loss {best[0]:.4f}")
            n = settings.seeds_per_trial
            return [losses[start : start + n] for start in range(0, len(losses), n)]

        studies = tuning.tune(
            ARM,
            params.arms[ARM].ranges(settings.space),
            evaluate,
            studies=settings.studies,
            trials=settings.trials,
            seeds_per_trial=settings.seeds_per_trial,
            batch=settings.batch,
            sampler_name=settings.sampler,
            startup_trials=settings.startup_trials,
            selection=params.selection,
        )
    count.close()
    for knob in params.arms[ARM].tune:
        ends = ", ".join(str(study["study"]) for study in studies if knob in study["on_boundary"])
        if ends:
            stage.log.info("tune@%s: the winner's %s is on the boundary of its range in study %s", ARM, knob, ends)
    record = {"arm": ARM, "penalty": params.arms[ARM].penalty.name, **tuning.summary(studies), "studies": studies}
    records.write_json(Path(f"metrics/tune/{ARM}.json"), record)


def losses_of(result: records.Arrays) -> tuning.Losses:
    """Return a run's validation loss under each selection rule, NaN where it diverged."""
    curve = result["validation_loss"]
    rules = ("last_epoch", "best_epoch")
    return {rule: float(curve[training.selected_epoch(curve, rule)]) if result["complete"] else nan for rule in rules}


if __name__ == "__main__":
    stage.run(f"tune@{ARM}", main, [DATA], Path("params.yaml"))
