"""Run `dvc repro` as `make repro` does: its progress lines say how long all stages still take."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable

from svvr.params import Params, load
from svvr.records import Arrays, read_npz
from svvr.training.run import Run, doses, replication

MEASURE = 25  # epochs of an unpenalised run that measuring a trained one takes


def forecast(params: Params, stages: Iterable[str], data: Arrays) -> dict[str, float]:
    """Return each stage's seconds, from a timed epoch of each kind of run; 0 where nothing is trained."""
    from svvr.execution import work
    from tools.try_penalty import seconds

    tuning, budget, doses_ = params.tuning, params.budget, doses(params)
    measure = [Run(0, 0.0, epochs=MEASURE, hidden=params.model.hidden, device=params.training.device)]
    counts = {"tune": tuning.studies * tuning.trials * tuning.seeds_per_trial}
    counts |= {"train": tuning.studies * params.final.seeds, "budget": budget.replicates * budget.points * budget.seeds}
    asked = {"dose_response": doses_ + measure * len(doses_), "replicate": [run for _, run in replication(params)]}
    if params.data.name != "mnist1d":
        del asked["replicate"]
    for arm, settings in params.arms.items():
        middle = {name: (low * high) ** 0.5 for name, (low, high) in settings.ranges(tuning.space).items()}
        asked |= {f"{stage}@{arm}": [Run.of_arm(params, arm, middle, 0)] * n for stage, n in counts.items()}
        asked[f"diagnose@{arm}"] = measure * (tuning.studies * params.diagnose.seeds)
    runs = {stage: [((run.penalty, run.strength > 0), run) for run in asked.get(stage, ())] for stage in stages}
    with work.session("timing", 0, params.training.device, keep=False) as session:
        kinds = {kind: run for of_stage in runs.values() for kind, run in of_stage}
        took = {kind: seconds(run, session, data) for kind, run in kinds.items()}
    return {stage: sum(run.epochs * took[kind] for kind, run in of_stage) for stage, of_stage in runs.items()}


def outdated() -> list[str]:
    """Return the stages that `dvc repro` will run and can name; where one needs what is not there yet, -k goes on."""
    said = subprocess.run(["dvc", "repro", "--dry", "-k"], capture_output=True, text=True).stdout
    stages = [name for name in re.findall("Running stage '([^']+)'", said) if f"'{name}' is cached" not in said]
    return stages + sorted({f"diagnose@{name[6:]}" for name in stages if name.startswith("train@")} - {*stages})


if __name__ == "__main__":
    plan: dict[str, float] = {}
    os.environ["PYTHONHASHSEED"] = "0"  # dvc's order of stages hangs on it: the plan has the one that is run
    try:
        if code := subprocess.run(["dvc", "repro", "prepare"]).returncode:  # the others are known with the data
            sys.exit(code)
        stages = outdated()
        if any(re.match("tune|train|budget", stage) for stage in stages):
            plan = forecast(load(), stages, read_npz("data/dev.npz"))
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"repro: no forecast: {error}")
    os.execvpe("dvc", ["dvc", "repro"], os.environ | {"SVVR_PLAN": json.dumps(plan)})
