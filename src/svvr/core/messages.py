"""What is wrong with a file's content, in one line: file, dotted key, got, expected."""

import re
from pathlib import Path
from reprlib import Repr

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

# What was expected, by pydantic's name of the error; the fields in braces are those of the error's context.
EXPECTED = {
    "missing": "a value",
    "extra_forbidden": "no such key",
    "int_type": "a whole number",
    "float_type": "a number",
    "greater_than": "greater than {gt:.12g}",
    "less_than": "less than {lt:.12g}",
    "greater_than_equal": "{number}, at least {ge:.12g}",
    "less_than_equal": "{number}, at most {le:.12g}",
    "literal_error": "{expected}",
    "string_type": "text",
    "string_too_short": "text of {min_length} or more characters",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "too_short": "{min_length} or more entries",
    "too_long": "{max_length} or fewer entries",
    "refused": "{expected}",
}


def refusal(got: object, expected: str, key: str = "") -> PydanticCustomError:
    """Make the error of a pydantic validator; `key` is the dotted key below the validated value."""
    return PydanticCustomError("refused", "refused", {"got": show(got), "expected": expected, "key": key})


def sentence(path: Path, error: ValidationError) -> str:
    """Return the first of the errors as one line, whether it comes from `refusal` or from a constraint of pydantic."""
    first = error.errors(include_url=False)[0]
    context = first.get("ctx", {})
    got = "nothing" if first["type"] == "missing" else context.get("got", show(first["input"]))
    keys = [part(each) for each in first["loc"] if each != "[key]"]  # pydantic's mark of an error in the key itself
    key = ".".join(filter(None, [*keys, context.get("key")]))
    return f"{path}: {key}{key and ': '}got {got}, expected {_expected(first)}"


def _expected(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    number = "a whole number" if isinstance(context.get("ge", context.get("le")), int) else "a number"
    words = EXPECTED.get(error["type"])
    return words.format(number=number, **context) if words else error["msg"].removeprefix("Input should be ")


def part(key: object) -> str:
    """Return a key as it stands in a dotted key: plain where it can be, else quoted and cut."""
    return key if isinstance(key, str) and re.fullmatch(r"[\w-]{1,60}", key) else show(key)


def show(value: object) -> str:
    """Return a value as it is shown in an error: on one line, at most 120 characters."""
    brief = Repr()  # bounds what aliases in YAML can blow up, and escapes line breaks
    brief.maxlevel, brief.maxstring, brief.maxother, brief.maxlong = 3, 60, 60, 60
    try:
        text = "nothing" if value is None else brief.repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits, but reads it where it is hexadecimal
        return "a number of too many digits"
    return text if len(text) <= 120 else text[:117] + "..."
