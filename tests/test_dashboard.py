"""Studies rebuilt for optuna-dashboard."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna

from tools import dashboard

ROOT = Path(__file__).parents[1]


def test_the_studies_are_those_of_the_records() -> None:
    storage = dashboard.studies(ROOT / "metrics/tune", ROOT / "params.yaml")
    names = {study.study_name for study in optuna.get_all_study_summaries(storage)}
    for path in (ROOT / "metrics/tune").glob("*.json"):
        for study in json.loads(path.read_text())["studies"]:
            name = f"{path.stem}, study {study['study']}"
            names.remove(name)
            rebuilt = optuna.load_study(study_name=name, storage=storage)
            assert rebuilt.best_params == study["best"] and rebuilt.best_value == study["objective"]
            assert len(rebuilt.trials) == len(study["trials"])
    assert not names


def test_a_failed_trial_is_shown_as_failed(tmp_path: Path) -> None:
    trial = {"number": 0, "params": {"lr": 0.01}, "state": "failed", "objective": None, "seeds": [1], "losses": [None]}
    (tmp_path / "baseline.json").write_text(json.dumps({"studies": [{"study": 0, "trials": [trial]}]}))
    storage = dashboard.studies(tmp_path, ROOT / "params.yaml")
    (study,) = optuna.get_all_study_summaries(storage)
    (rebuilt,) = optuna.load_study(study_name=study.study_name, storage=storage).trials
    assert rebuilt.state == optuna.trial.TrialState.FAIL and rebuilt.user_attrs["losses"] == [None]


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
