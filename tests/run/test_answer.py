"""An answer that cannot be printed is told in a line."""

import subprocess
import sys

import pytest

CODE = f'exec {sys.executable} -c \'from svvr.run import stage; stage.answer("compare", "a\\nb")\''


def shell(command: str) -> tuple[int, str, str]:
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    return result.returncode, result.stdout, result.stderr


def test_it_is_printed() -> None:
    assert shell(CODE) == (0, "a\nb\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command,why",
    [
        (f"{CODE} >&-", "it is closed"),
        (f"{CODE} >/dev/full", "No space left on device"),
        (f"({CODE}; echo $? >&2) | true", "Broken pipe"),
    ],
)
def test_an_output_that_is_closed_or_full_is_a_line(command: str, why: str) -> None:
    if "|" in command:  # the reader must be gone before the answer is printed
        command = command.replace("(exec", "(sleep 0.3; ")
    status, _, said = shell(command)
    line, *code = said.splitlines()
    assert line == f"compare: the output cannot be written ({why})"
    assert (status, code) in ((1, []), (0, ["1"]))
