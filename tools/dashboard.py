"""Open optuna-dashboard on the studies of metrics/tune/*.json, rebuilt trial by trial."""

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna_dashboard import run_server

from svvr.core import params as parameters
from svvr.judge import schemas
from svvr.search.studies import Ranges

START = datetime(2000, 1, 1)


def studies(folder: Path, params: Path) -> optuna.storages.InMemoryStorage:
    """Rebuild every study of every arm as `ARM, study N`, with its trials, losses and failures.

    A trial takes a second there, from its number on: records hold the order of trials and no times.

    Raises:
        ValueError: where params or a record cannot be used.
    """
    settings = parameters.load(params)
    storage = optuna.storages.InMemoryStorage()
    tuned = [arm for arm in settings.arms if (folder / "tune" / f"{arm}.json").exists()]
    for arm, record in schemas.read_arms(folder, tuned, "tune")["tune"].items():
        ranges = settings.arms[arm].ranges(settings.tuning.space)
        for study in record["studies"]:
            rebuilt = optuna.create_study(study_name=f"{arm}, study {study['study']}", storage=storage)
            for trial in study["trials"]:
                rebuilt.add_trial(_trial(trial, ranges))
    return storage


def _trial(trial: dict[str, Any], ranges: Ranges) -> optuna.trial.FrozenTrial:
    values = trial["params"]
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    for knob, value in values.items():
        low, high = ranges.get(knob, (value, value))  # params may have been edited since: the range holds the value too
        distributions[knob] = optuna.distributions.FloatDistribution(min(low, value), max(high, value), log=True)
    begun = START + timedelta(seconds=trial["number"])
    failed = trial["state"] == "failed"
    rebuilt = optuna.trial.create_trial(
        params=values,
        distributions=distributions,
        state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
        value=None if failed else float(trial["objective"]),
        user_attrs={"seeds": trial["seeds"], "losses": trial["losses"]},
    )
    rebuilt.datetime_start, rebuilt.datetime_complete = begun, begun + timedelta(seconds=1)
    return rebuilt


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    try:
        storage = studies(Path("metrics"), Path("params.yaml"))
    except ValueError as error:
        sys.exit(f"dashboard: {error}")
    print(f"optuna-dashboard on http://127.0.0.1:{port}/, end it with Ctrl-C", flush=True)
    run_server(storage, host="127.0.0.1", port=port)
