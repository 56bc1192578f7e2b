"""What a larger `tuning.batch` costs: how good the winners are on a smooth stand-in for an arm's validation loss.

`python -m benchmarks.batch [ARM [STUDIES]]`. The stand-in interpolates the arm's runs of the random design; a trial
has noise as it lies between two seeds of a point there. A winner counts without noise.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import RBFInterpolator

from svvr.core.params import load
from svvr.judge import schemas
from svvr.search import studies


def main(arm: str, n_studies: int) -> None:
    params = load(Path("params.yaml"))
    ranges = params.arms[arm].ranges(params.tuning.space)
    runs = schemas.read(Path(f"metrics/budget/{arm}.json"), schemas.Budget, arm)["runs"]
    complete = [run for run in runs if run["state"] == "complete"]

    def place(knobs: dict[str, float]) -> list[float]:
        return [float(np.log(knobs[knob] / low) / np.log(high / low)) for knob, (low, high) in ranges.items()]

    points: dict[tuple[float, ...], list[float]] = {}
    for run in complete:
        points.setdefault(tuple(place(run)), []).append(np.log(run["validation_loss"]))
    noise = (
        float(np.median([np.ptp(pair) for pair in points.values() if len(pair) == 2])) / 0.954
    )  # median of |N(0, 2)|
    truth = RBFInterpolator(
        list(points), [np.mean(each) for each in points.values()], neighbors=60, smoothing=1e-2, kernel="linear"
    )
    print(f"{arm}: {n_studies} studies of {params.tuning.trials} trials; noise of a trial {100 * noise:.1f} %")
    print("winner's loss against batch 1, with its standard error")
    losses: dict[str, np.ndarray] = {}
    changes: dict[str, dict[str, Any]] = {f"batch {n}": {"batch": n} for n in (1, 2, 4, 5, 10, 20)}
    for name, change in (changes | {"random": {"sampler": "random"}}).items():
        settings = params.tuning.model_copy(update={"studies": n_studies, **change})
        rng = np.random.default_rng(0)

        def evaluate(asked: studies.Asked, rng: np.random.Generator = rng) -> list[studies.Losses]:
            found = truth([place(knobs) for knobs, _ in asked]) + noise * rng.normal(size=len(asked))
            return [{"last_epoch": float(np.exp(each))} for each in found]

        found = studies.tune(params.seed, arm, ranges, settings, "last_epoch", evaluate)
        losses[name] = truth([place(study["best"]) for study in found])
        change_of = losses[name] - losses["batch 1"]
        error = 100 * change_of.std(ddof=1) / n_studies**0.5
        print(f"{name:<9} {100 * change_of.mean():+.2f} % ({error:.2f})", flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(given[0] if given else "weight_decay_regularized", int(given[1]) if len(given) > 1 else 240)
