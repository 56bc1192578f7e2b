"""A python that has loaded the libraries: a copy's stages fork from it, which saves two seconds of import a stage."""

import importlib
import json
import os
import runpy
import select
import socket
import sys

CLIENT = """#!{python} -IS
import json, os, socket, sys

with socket.socket(socket.AF_UNIX) as door:
    door.connect({door!r})
    socket.send_fds(door, [json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()], [0, 1, 2])
    sys.exit(int(door.recv(8) or b"1"))
"""


def serve(door: socket.socket) -> None:
    """Run scripts for clients of a socket until standard input ends; a script loads the project's code itself."""
    for module in ("matplotlib.figure", "optuna", "pandas", "scipy.stats", "torch"):
        importlib.import_module(module)
    while door in select.select([door, sys.stdin], [], [])[0]:
        client = door.accept()[0]
        if os.fork() == 0:
            message, files, *_ = socket.recv_fds(client, 1 << 20, 3)
            if script := os.fork():
                client.send(str(os.waitstatus_to_exitcode(os.waitpid(script, 0)[1])).encode())
                os._exit(0)
            arguments, folder, environment = json.loads(message)
            os.chdir(folder)
            os.environ.clear()
            os.environ |= environment
            for number, file in enumerate(files):
                os.dup2(file, number)
            sys.argv = arguments
            sys.path[:0] = [os.path.dirname(arguments[0]), os.path.abspath(environment["PYTHONPATH"])]
            runpy.run_path(arguments[0], run_name="__main__")
            return
        client.close()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
