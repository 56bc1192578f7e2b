"""Measure all four links against the penalty's strength, at one learning rate."""

from pathlib import Path
from typing import Any

from svvr.core import files as records
from svvr.core.params import Params
from svvr.core.seeds import derive
from svvr.data import read as splits
from svvr.judge import dose as dose_response
from svvr.learn import train as training
from svvr.measure import unit as diagnosis
from svvr.run import evaluate as execution
from svvr.run import stage

DEVELOPMENT, TEST = Path("data/dev.npz"), Path("data/test.npz")


def main(params: Params) -> None:
    settings = params.dose_response
    development, test = splits.read(DEVELOPMENT, "train", "validation"), splits.read(TEST, "test")
    seeds = [derive("dose_response", index) for index in range(settings.seeds)]
    runs = [
        training.Run(
            seed=seed,
            lr=settings.lr,
            penalty="sv_variance" if strength else "none",
            strength=strength,
            hidden=tuple(params.model.hidden),
            epochs=params.training.epochs,
            batch_size=params.training.batch_size,
            device=params.training.device,
            selection=params.selection,
        )
        for strength in settings.strengths
        for seed in seeds
    ]
    work = execution.Work(training.train, training.modules, training.stackable)
    count = stage.Progress("dose_response", 2 * len(runs))
    with execution.workers() as executor:
        trained = execution.evaluate(runs, work, development, executor, stage.cache_folder(), count)
        complete = {run: result["weights"] for run, result in zip(runs, trained, strict=True) if result["complete"]}
        units = [
            diagnosis.Measurement(run.seed, weights, run.hidden, params.diagnose.tolerance)
            for run, weights in complete.items()
        ]
        count(len(runs) - len(units))
        results = execution.evaluate(units, diagnosis.WORK, development, executor, stage.cache_folder(), count)
    count.close()
    measured = {run: diagnosis.measured(each) for run, each in zip(complete, results, strict=True)}
    rows: list[dict[str, Any]] = []
    for run, result in zip(runs, trained, strict=True):
        found = diagnosis.figures(training.record(run, result), measured.get(run), params.diagnose.last_epochs)
        row: dict[str, Any] = {"strength": run.strength, "seed": run.seed, "state": "failed"}
        row |= dict.fromkeys(dose_response.FIGURES)
        if run in complete:
            losses, _ = training.test_losses(result["weights"], training.layer_sizes(run, development), **test)
            row["state"] = "complete"
            row["validation_loss"] = float(result["validation_loss"][result["selected_epoch"]])
            row["test_loss"] = float(losses.mean())
        if "reason" in found:
            stage.log.info("dose_response: strength %g, seed %d: %s", run.strength, run.seed, found["reason"])
            rows.append(row | found)
        else:
            rows.append(row | {name: found[name] for name in diagnosis.LINKS})
    head = {"lr": settings.lr, "strengths": list(settings.strengths), "n_seeds": settings.seeds}
    records.write_json(
        Path("metrics/dose_response.json"), {**head, **dose_response.curves(rows, settings.strengths), "runs": rows}
    )


if __name__ == "__main__":
    stage.run("dose_response", main, [DEVELOPMENT, TEST], Path("params.yaml"))
