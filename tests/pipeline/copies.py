"""A copy of the repository with tiny params, in which the pipeline runs through dvc itself."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.pipeline import warm

ROOT = Path(__file__).parents[2]
ARMS = ("baseline", "regularized")
OF_ARM = ("tune", "train", "budget", "diagnose")
SINGLE = {"prepare", "activity", "dose_response", "replicate", "compare", "plot"}
ALL = SINGLE | {f"{stage}@{arm}" for stage in OF_ARM for arm in ARMS}
RESULTS = (
    "metrics/",
    "plots/",
    "dvc.lock",
    "survey/cells/",
    "survey/dvc.lock",
    "survey/league.csv",
    "survey/league.png",
)
# Nothing of the process that runs the tests, such as a hook's repository, make's flags or a ban on bytecode
NOT_OURS = ("GIT_", "MAKE", "MFLAGS", "DVC_", "SVVR_", "PYTHONDONT")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(NOT_OURS)}
ENVIRONMENT |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
ENVIRONMENT |= {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def tiny(params: dict[str, Any]) -> dict[str, Any]:
    """Make params small, with two arms: each costs the start of four stages."""
    params["arms"] = {arm: params["arms"][arm] for arm in ARMS}
    params["compare"]["contrasts"] = [list(ARMS[::-1])]
    params["data"]["n_test"] = 100
    params["model"]["hidden"] = [8, 8]
    params["training"] |= {"epochs": 2, "batch_size": 1000}
    params["tuning"] |= {"studies": 3, "trials": 3, "startup_trials": 2}
    params["final"]["seeds"] = 2
    params["budget"] = {"replicates": 3, "points": 4, "seeds": 2}
    params["diagnose"] |= {"seeds": 1, "last_epochs": 2}
    params["replicate"] |= {"seeds": 2, "epochs": 2}
    params["dose_response"]["seeds"] = 2
    for path in params["dose_response"]["settings"]:
        path["strengths"] = path["strengths"][::6]
    return params


class Copy:
    """A copy of the repository with tiny params, committed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in listed.stdout.splitlines():
            if (ROOT / name).is_file() and not name.startswith(RESULTS):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        self.params = tiny(yaml.safe_load((ROOT / "params.yaml").read_text()))
        self.write_params()
        self.run("git", "init", "-q")
        self.commit()

    def warm(self) -> "subprocess.Popen[bytes]":
        """Start what the copy's stages fork from, as its `.venv/bin/python`; it ends with its standard input."""
        door, client = str(self.folder / ".venv/door"), self.folder / ".venv/bin/python"
        client.parent.mkdir(parents=True)
        client.write_text(warm.CLIENT.format(python=sys.executable, door=door))
        client.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(door)
            listening.listen()
            files, command = [listening.fileno()], [sys.executable, warm.__file__, str(listening.fileno())]
            return subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=files)

    def write_params(self) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(self.params, sort_keys=False))

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "--allow-empty", "-m", "results")

    def run(self, *command: str, status: int = 0, stdin: str = "", **environment: str) -> str:
        """Run a command and return what it printed, to a file: a pipe would wait for what it leaves running."""
        with tempfile.TemporaryFile("w+") as out:
            own = ENVIRONMENT | environment
            process = subprocess.Popen(command, cwd=self.folder, env=own, stdin=-1, stdout=out, stderr=out, text=True)
            process.communicate(stdin, timeout=300)
            out.seek(0)
            output = out.read()
        assert process.returncode == status, output
        return output

    def start(self, *command: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a command."""
        own = ENVIRONMENT | environment
        return subprocess.Popen(
            command, cwd=self.folder, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def stage(self, name: str, status: int = 0, **environment: str) -> str:
        """Run a stage's script as dvc would."""
        script = f"stages/{name.partition('@')[0]}.py"
        python = str(self.folder / ".venv/bin/python") if (self.folder / ".venv").exists() else "python"
        return self.run(python, script, status=status, PYTHONPATH="src", DVC_STAGE=f"dvc.yaml:{name}", **environment)

    def repro(self, *arguments: str) -> set[str]:
        """Run `dvc repro` and return the stages that ran."""
        return set(re.findall(r"Running stage '([^']+)'", self.run("dvc", "repro", *arguments)))

    def results(self) -> dict[str, bytes]:
        """Return the content of all metrics and figures."""
        files = [path for folder in ("metrics", "plots") for path in (self.folder / folder).rglob("[!.]*.*")]
        return {
            str(path.relative_to(self.folder)): path.read_bytes() for path in files if "provenance" not in str(path)
        }
