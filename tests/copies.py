"""A copy of the repository with tiny params, in which the whole pipeline runs through dvc itself."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests import warm
from tools import git

ROOT = Path(__file__).parents[1]
TOOLS = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # this interpreter's come first
ARMS = ("baseline", "regularized")
OF_ARM = ("tune", "train", "budget", "diagnose")
ALL = {
    "prepare",
    "dose_response",
    "replicate",
    "compare",
    "tables",
    "plot",
    *(f"{stage}@{arm}" for stage in OF_ARM for arm in ARMS),
}
GATHER = {"compare", "tables", "plot"}  # the stages that read all arms
# What a stage reads of params.yaml is noted beside the lock, so that a test can hold it against dvc.yaml. Python loads
# this file before a stage, as it lies on the path of stages alone; the package itself stays as it is.
NOTE_READS = """
import importlib.util
import os
import sys


class Noted:
    def __init__(self, params):
        self.params = params

    def __getattr__(self, name):
        with open(f".cache/reads-{os.environ.get('DVC_STAGE', '').rpartition(':')[2]}", "a") as handle:
            handle.write(name + "\\n")
        return getattr(self.params, name)


class Finder:
    def find_spec(self, name, path, target=None):
        if name != "svvr.core.params":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def note(module):
            execute(module)
            load = module.load
            module.load = lambda path: Noted(load(path))

        spec.loader.exec_module = note
        return spec


sys.meta_path.insert(0, Finder())
"""


def tiny(params: dict[str, Any]) -> dict[str, Any]:
    """Make params small: fewer arms too, since each costs the start of five stages."""
    params["arms"] = {arm: params["arms"][arm] for arm in ARMS}
    contrasts = params["compare"]["contrasts"]
    params["compare"]["contrasts"] = [pair for pair in contrasts if set(pair) <= set(ARMS)]
    params["data"]["n_test"] = 100
    params["model"]["hidden"] = [8, 8]
    params["training"] |= {"epochs": 2, "batch_size": 1000}
    params["tuning"] |= {"studies": 3, "trials": 3, "startup_trials": 2}
    params["final"]["seeds"] = 2
    params["budget"] = {"replicates": 3, "points": 4, "seeds": 2}
    params["diagnose"] |= {"seeds": 1, "probes": 2, "last_epochs": 2}
    params["replicate"] |= {"seeds": 2, "epochs": 2}
    params["dose_response"] |= {"strengths": [0, 0.1], "seeds": 2}
    return params


def environment() -> dict[str, str]:
    """Return this process's environment without what make or git, which may have started the tests, put into it."""
    return {name: value for name, value in git.environment().items() if not name.startswith(("MAKE", "MFLAGS"))}


def forks() -> dict[str, str]:
    """Return the setting with which `python` and `dvc` are found that begin as forks; see `warm`."""
    return {"PATH": f"{warm.commands()}{os.pathsep}{TOOLS['PATH']}"}


def commit(folder: Path, message: str) -> None:
    """Commit what is staged in a repository, if anything, as nobody in particular."""
    own = "-c", "user.name=t", "-c", "user.email=t@example.org"
    git.ask(folder, *own, "commit", "-q", "--allow-empty", "-m", message)


class Copy:
    """A copy of the repository with tiny params."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = git.ask(ROOT, "ls-files", "-co", "--exclude-standard", "-z")
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file() and not name.startswith(("metrics/", "plots/", "dvc.lock")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        (folder / "src/sitecustomize.py").write_text(NOTE_READS)
        self.write_params(tiny(self.params()))
        self.commit("tiny params")

    @classmethod
    def at(cls, folder: Path) -> "Copy":
        """Return the copy that already lies in a folder."""
        copy = object.__new__(cls)
        copy.folder = folder
        return copy

    def params(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self.folder / "params.yaml").read_text())
        return loaded

    def write_params(self, params: dict[str, Any]) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def commit(self, message: str) -> None:
        if not (self.folder / ".git").exists():
            git.ask(self.folder, "init", "-q")
        git.ask(self.folder, "add", "-A")
        commit(self.folder, message)

    def environment(self) -> dict[str, str]:
        return environment() | TOOLS | {"DVC_NO_ANALYTICS": "1"}

    def run(self, *command: str, status: int = 0, **environment: str) -> str:
        """Run a command to its end, `python` and `dvc` warm unless PATH is given.

        It writes to files: a pipe would only end with what the command leaves running behind it.
        """
        own = self.environment() | forks() | environment
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
            result = subprocess.run(command, cwd=self.folder, env=own, stdout=out, stderr=error, timeout=300)
            out.seek(0)
            error.seek(0)
            output = out.read() + error.read()
        assert result.returncode == status, output
        return output

    def make(self, target: str, status: int = 0, **environment: str) -> str:
        """Run a target of make with the environment that runs the tests, instead of a new one."""
        command = ["make", "--no-print-directory", "-o", ".venv/.installed", target]
        return self.run(*command, status=status, **environment)

    def repro(self, *arguments: str) -> set[str]:
        """Run `dvc repro` and return the stages that ran."""
        return set(re.findall(r"Running stage '([^']+)'", self.run("dvc", "repro", *arguments)))

    def results(self) -> dict[str, bytes]:
        """Return the content of all metrics and figures; what a kill cut off before it got its name is none."""
        files = [
            path for folder in ("metrics", "plots") for path in (self.folder / folder).rglob("*") if path.is_file()
        ]
        names = {str(path.relative_to(self.folder)): path for path in files}
        return {
            name: path.read_bytes()
            for name, path in names.items()
            if "provenance" not in name and not name.endswith(".tmp")
        }

    def json(self, name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / "metrics" / name).read_text())
        return loaded
