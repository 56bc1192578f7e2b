"""Training as units of work, and the runs that the stages ask for."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from svvr.core.files import Arrays
from svvr.core.seeds import derive
from svvr.learn import penalty
from svvr.learn.result import RULES, Result, Score
from svvr.learn.spec import Run
from svvr.learn.train import score, train
from svvr.run import code
from svvr.run.evaluate import CHUNK, Session, Work

if TYPE_CHECKING:
    from svvr.core.params import Params

ON_ACCELERATOR = 1024  # stacked models: few take as long as some hundred, and these fit in some GiB of memory
Asked: TypeAlias = Sequence[tuple[dict[str, float], int]]  # knobs and seed of each run
Losses: TypeAlias = dict[str, float | None]  # selection rule -> validation loss in nats, None where the run failed


def _code(run: Run) -> tuple[str, ...]:
    for name in run.penalties():
        penalty.load(name)  # a file that cannot be loaded is told in one line
    return "svvr.learn.train", *map(code.penalty, run.penalties())


def _chunk(run: Run) -> int:
    return ON_ACCELERATOR if _accelerated(run) else CHUNK


def _accelerated(run: Run) -> bool:
    return run.device != "cpu"


WORK = Work(train, Result, _code, Run.stackable, _chunk, _accelerated)
SCORE = Work(score, Score, _code, Run.stackable, _chunk, _accelerated)  # where nothing but the losses is wanted


def losses_of(params: "Params", arm: str, session: Session, data: Arrays) -> Callable[[Asked], list[Losses]]:
    """Return what a search needs: a function from (knobs, seed) of runs to their validation losses under each rule.

    Args:
        params: of the pipeline.
        arm: its name.
        session: computes the runs; the lowest loss so far is shown beside its count.
        data: the train and validation splits.
    """
    best: list[float] = []

    def losses(asked: Asked) -> list[Losses]:
        runs = [Run.of_arm(params, arm, knobs, seed) for knobs, seed in asked]
        found: list[Losses] = [
            {rule: each.validation_loss(rule) for rule in RULES} for each in session(runs, WORK, data)
        ]
        best[:] = sorted([*best, *(loss for each in found if (loss := each[params.selection]) is not None)])[:1]
        session.note = f"best loss {best[0]:.4f}" if best else ""
        return found

    return losses


def replication(params: "Params") -> dict[str, list[Run]]:
    """Return the runs of each row of the replication: the published hyperparameters, seed by seed.

    The third row continues from the trained baseline's weights instead of starting from fresh ones.
    """
    settings = params.replicate
    plain = Run(
        0,
        settings.baseline.lr,
        hidden=tuple(params.model.hidden),
        epochs=settings.epochs,
        batch_size=params.training.batch_size,
        device=params.training.device,
    )
    penalised = replace(
        plain, lr=settings.regularized.lr, penalty="sv_variance", strength=settings.regularized.strength
    )
    seeds = [derive(params.seed, "replicate", index) for index in range(settings.seeds)]
    return {
        "baseline": [replace(plain, seed=seed) for seed in seeds],
        "regularized_fresh": [replace(penalised, seed=seed) for seed in seeds],
        "regularized_continued": [replace(penalised, seed=seed, start=replace(plain, seed=seed)) for seed in seeds],
    }


def doses(params: "Params") -> list[Run]:
    """Return the runs of the dose-response: setting by setting, strength by strength, on the same seeds."""
    settings = params.dose_response
    seeds = [derive(params.seed, "dose_response", index) for index in range(settings.seeds)]
    return [
        Run.of(params, "sv_variance" if strength else "none", {**setting.model_dump(), "strength": strength}, seed)
        for setting in settings.settings
        for strength in settings.strengths
        for seed in seeds
    ]
