"""`python` and `dvc` that begin as a fork of a process in which the packages of others are loaded already.

Of a stage on tiny settings most of the time is the import of torch. The project's own files are imported anew, from
wherever a command runs. Where it matters how a process begins or who its parent is, tests take the real commands.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

LOADED = (
    *("torch", "numpy", "scipy.stats", "scipy.sparse.linalg", "pandas", "pydantic", "yaml", "filelock", "tqdm"),
    *("optuna", "mnist1d.data", "matplotlib.figure", "matplotlib.backends.backend_agg", "loky", "threadpoolctl"),
    *("dvc.cli", "dvc.repo.experiments", "dvc.repo.reproduce", "dvc.repo.plots", "dvc.repo.status", "dvc.schema"),
)  # fmt: skip
# Hands arguments, folder, environment and open files over, and ends as the fork does. The real command does what would
# begin otherwise in a fork: options of Python, code in an argument, settings of the interpreter, a closed file.
COMMAND = """#!{python} -IS
import json, os, socket, sys
name, real, arguments = {name!r}, {real!r}, sys.argv[1:]
alike = name == "dvc" or arguments[:1] == ["-m"] or arguments and arguments[0].endswith(".py")
settings = [key for key in os.environ if key.startswith(("LC_", "PYTHON")) and key != "PYTHONPATH"]
if settings or not alike or not all(os.path.exists("/dev/fd/%d" % file) for file in range(3)):
    os.execv(real, [real, *arguments])
umask = os.umask(0)
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    job = json.dumps([name, arguments, os.getcwd(), umask, dict(os.environ)]).encode()
    socket.send_fds(server, [len(job).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(job)
    os._exit(int(server.recv(8) or 1))
"""


@functools.cache
def commands() -> str:
    """Return the folder of the two commands; the process whose forks they are ends with this one."""
    folder = Path(tempfile.mkdtemp(prefix="warm"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address, real = str(folder / "socket"), Path(sys.executable).parent
    for name in ("python", "dvc"):
        command = COMMAND.format(python=sys.executable, name=name, real=str(real / name), address=address)
        (folder / name).write_text(command)
        (folder / name).chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )  # fmt: skip
    atexit.register(process.communicate)
    assert process.stdout and process.stdout.readline() == b"loaded\n"
    return str(folder)


def serve(address: str) -> None:
    """Fork for each command that asks, until the standard input is closed."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.write(1, b"loaded\n")
    while sys.stdin not in select.select([sys.stdin, server], [], [])[0]:
        command = server.accept()[0]
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            server.close()
            tend(command)
            os._exit(0)
        command.close()


def tend(command: socket.socket) -> None:
    """Run a command in a process of its own and say how it ended; kill it where the one who asked was killed."""
    length, files, _, _ = socket.recv_fds(command, 8, 3)
    job = json.loads(command.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL))
    process = multiprocessing.get_context("fork").Process(target=run, args=(files, *job))
    process.start()
    ended = os.pidfd_open(process.pid or 0)  # not its sentinel, which a daemon that it leaves behind holds open
    if command.fileno() in select.select([command.fileno(), ended], [], [])[0]:
        process.kill()
    process.join()
    status = process.exitcode or 0
    with contextlib.suppress(OSError):
        command.send(b"%d" % (status if status >= 0 else 128 - status))


def run(*job: Any) -> None:
    """Become the command and end as an interpreter does: threads first, which may be needed to end processes."""
    try:
        become(*job)
    finally:
        threading._shutdown()  # type: ignore[attr-defined]


def become(
    files: list[int], name: str, arguments: list[str], folder: str, umask: int, environment: dict[str, str]
) -> None:
    """Run the command as an interpreter does that has just begun."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = os.fdopen(0, closefd=False)  # multiprocessing had put nothing in its place
    os.chdir(folder)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:1] = [os.path.abspath(each) for each in environment.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.modules.pop("sitecustomize", None)
    with contextlib.suppress(ImportError):
        importlib.import_module("sitecustomize")
    if name == "dvc":
        del sys.path[0]
        sys.argv = [name, *arguments]
        sys.exit(importlib.import_module("dvc.cli").main())
    elif arguments[0] == "-m":
        sys.path[0], sys.argv = folder, arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0], sys.argv = os.path.dirname(os.path.abspath(arguments[0])), arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    for package in LOADED:
        importlib.import_module(package)
    gc.freeze()  # or each fork walks through all of it
    serve(sys.argv[1])
