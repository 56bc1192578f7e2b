"""Open optuna-dashboard on the studies of metrics/tune/*.json, rebuilt trial by trial."""

import json
import sys
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna_dashboard import run_server


def studies(folder: Path, params: Path) -> optuna.storages.InMemoryStorage:
    """Rebuild every study of every arm as `ARM, study N`, with its trials, losses and failures."""
    settings = yaml.safe_load(params.read_text())
    storage = optuna.storages.InMemoryStorage()
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        for study in record["studies"]:
            rebuilt = optuna.create_study(study_name=f"{path.stem}, study {study['study']}", storage=storage)
            for trial in study["trials"]:
                rebuilt.add_trial(_trial(trial, settings, path.stem))
    return storage


def _trial(trial: dict[str, Any], settings: dict[str, Any], arm: str) -> optuna.trial.FrozenTrial:
    ranges = settings["tuning"]["space"] | {"strength": settings["arms"][arm]["penalty"].get("strength")}
    values = trial["params"]
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        knob: optuna.distributions.FloatDistribution(float(ranges[knob]["low"]), float(ranges[knob]["high"]), log=True)
        for knob in values
    }
    failed = trial["state"] == "failed"
    return optuna.trial.create_trial(
        params=values,
        distributions=distributions,
        state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
        value=None if failed else float(trial["objective"]),
        user_attrs={"seeds": trial["seeds"], "losses": trial["losses"]},
    )


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    print(f"optuna-dashboard on http://127.0.0.1:{port}/, end it with Ctrl-C", flush=True)
    run_server(studies(Path("metrics/tune"), Path("params.yaml")), host="127.0.0.1", port=port)
