"""What is wrong with a file's content, in one line: file, dotted key, got, expected."""

import re
from pathlib import Path
from reprlib import Repr

from pydantic import ValidationError
from pydantic_core import PydanticCustomError


def refusal(got: object, expected: str, key: str = "") -> PydanticCustomError:
    """Make the error of a pydantic validator; `key` is the dotted key below the validated value."""
    return PydanticCustomError("refused", "refused", {"got": show(got), "expected": expected, "key": key})


def sentence(path: Path, error: ValidationError) -> str:
    """Say the first of the errors in one line; those that are not of `refusal` are pydantic's own."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "missing":
        words = {"got": "nothing", "expected": "this key"}
    else:
        words = {"got": show(first["input"]), "expected": first["msg"].removeprefix("Input should be ")}
    context = {"key": "", **words, **first.get("ctx", {})}
    keys = [part(each) for each in first["loc"] if each != "[key]"]
    key = ".".join(filter(None, [*keys, context["key"]]))
    return f"{path}: {key}{key and ': '}got {context['got']}, expected {context['expected']}"


def part(key: object) -> str:
    """Return a key as it stands in a dotted key: plain where it can be, else quoted and cut."""
    return str(key) if re.fullmatch(r"[\w-]{1,60}", str(key)) else show(key)


def show(value: object) -> str:
    """Return a value as it is shown in an error: on one line, at most 120 characters."""
    brief = Repr()  # bounds what aliases in YAML can blow up, and escapes line breaks
    brief.maxlevel, brief.maxstring, brief.maxother, brief.maxlong = 3, 60, 60, 60
    text = "nothing" if value is None else brief.repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
