"""Studies rebuilt for optuna-dashboard."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import yaml

from tools import dashboard

ROOT = Path(__file__).parents[2]


def test_the_studies_are_those_of_the_records() -> None:
    storage = dashboard.studies(ROOT / "metrics", ROOT / "params.yaml")
    names = {study.study_name for study in optuna.get_all_study_summaries(storage)}
    for path in (ROOT / "metrics/tune").glob("*.json"):
        for study in json.loads(path.read_text())["studies"]:
            name = f"{path.stem}, study {study['study']}"
            names.remove(name)
            rebuilt = optuna.load_study(study_name=name, storage=storage)
            assert rebuilt.best_params == study["best"] and rebuilt.best_value == study["objective"]
            assert len(rebuilt.trials) == len(study["trials"])
            times = [(trial.datetime_start, trial.datetime_complete) for trial in rebuilt.trials]
            assert times == sorted(times) and len({start for start, _ in times}) == len(times)
    assert not names


def test_a_failed_trial_is_shown_as_failed(tmp_path: Path) -> None:
    record = json.loads((ROOT / "metrics/tune/baseline.json").read_text())
    trials = record["studies"][0]["trials"]
    loser = next(trial for trial in trials if trial["params"] != record["studies"][0]["best"])
    loser |= {"state": "failed", "objective": None, "losses": [None]}
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune/baseline.json").write_text(json.dumps(record))
    storage = dashboard.studies(tmp_path, ROOT / "params.yaml")
    rebuilt = optuna.load_study(study_name="baseline, study 0", storage=storage).trials[loser["number"]]
    assert rebuilt.state == optuna.trial.TrialState.FAIL and rebuilt.user_attrs["losses"] == [None]
    assert len(optuna.get_all_study_summaries(storage)) == len(record["studies"])


def test_records_of_other_params_are_shown(tmp_path: Path) -> None:
    """A range that was narrowed since, a knob that is no longer tuned, and an arm that is no longer there."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["tuning"]["space"]["lr"] = {"low": 0.05, "high": 0.1}
    params["arms"]["weight_decay"]["tune"] = ["lr"]
    del params["arms"]["weight_decay_regularized"]
    del params["arms"]["regularized_decoupled"]
    params["compare"]["contrasts"] = [["regularized", "baseline"]]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    storage = dashboard.studies(ROOT / "metrics", tmp_path / "params.yaml")
    names = {study.study_name.split(",")[0] for study in optuna.get_all_study_summaries(storage)}
    assert names == {"baseline", "regularized", "weight_decay"}


def test_the_page_opens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "tools.dashboard", str(port)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/dashboard/", timeout=5).read().decode()
                listed = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=5))
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.2)
    finally:
        server.kill()
        server.wait()
    assert "Optuna Dashboard" in page
    assert any(study["study_name"] == "regularized, study 0" for study in listed["study_summaries"])
