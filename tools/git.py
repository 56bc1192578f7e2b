"""Call git, or dvc, which calls it, on the repository of a folder, and on no other."""

import os
import subprocess
from pathlib import Path

# What a user has set for commits of their own is off: signing, hooks, and the template that brings hooks into a clone.
QUIET = {"commit.gpgSign": "false", "tag.gpgSign": "false", "core.hooksPath": os.devnull}


def environment() -> dict[str, str]:
    """Return this process's environment without git's variables, with signing and hooks off.

    To hooks and to `git rebase --exec` git passes GIT_DIR, GIT_INDEX_FILE and others, by which a command that is meant
    for another repository would change the user's.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for number, (key, value) in enumerate(QUIET.items()):
        kept |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return kept | {"GIT_CONFIG_COUNT": str(len(QUIET)), "GIT_TEMPLATE_DIR": ""}


def ask(folder: Path, *arguments: str) -> str:
    """Return what git answers in a folder.

    Raises:
        ValueError: with the first line of git's complaint, or of the system's where there is no git.
    """
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment(), capture_output=True, encoding="utf-8",
            errors="surrogateescape",
        )  # fmt: skip
    except OSError as error:
        raise ValueError(f"git: {error.strerror}") from error
    if done.returncode:
        raise ValueError((done.stderr.strip() or f"git {arguments[0]} ended with {done.returncode}").splitlines()[0])
    return done.stdout
