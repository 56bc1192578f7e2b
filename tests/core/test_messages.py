"""Each error of pydantic's that a file can cause is one line: file, dotted key, got, expected."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from svvr.core.messages import part, refusal, sentence, show


class Inner(BaseModel):
    n: int


class Outer(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")

    whole: Annotated[int, Field(ge=1, le=2**32 - 1)] = 1
    real: Annotated[float, Field(ge=1e-12, le=1e12)] = 1.0
    inside: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    choice: Literal["a", "b"] = "a"
    text: Annotated[str, Field(min_length=1)] = "a"
    names: Annotated[list[str], Field(min_length=1, max_length=2)] = ["a"]
    pair: Annotated[tuple[int, int], Field(strict=False)] = (1, 2)
    counts: Annotated[dict[str, int], Field(min_length=1)] = {"a": 1}
    inner: Inner = Inner(n=1)
    flag: bool = True
    low: int = 0
    high: int = 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise refusal([self.low], f"at most high = {self.high}", "low.0")
        return self


def message(values: dict[Any, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(values)
    return sentence(Path("a/b.yaml"), caught.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"whole": 0}, "whole: got 0, expected a whole number, at least 1"),
        ({"whole": 10**10}, "whole: got 10000000000, expected a whole number, at most 4294967295"),
        ({"whole": True}, "whole: got True, expected a whole number"),
        ({"whole": 2.0}, "whole: got 2.0, expected a whole number"),
        ({"real": -1}, "real: got -1, expected a number, at least 1e-12"),
        ({"real": 1e300}, "real: got 1e+300, expected a number, at most 1e+12"),
        ({"real": "1"}, "real: got '1', expected a number"),
        ({"real": None}, "real: got nothing, expected a number"),
        ({"real": float("nan")}, "real: got nan, expected a finite number"),
        ({"inside": 0}, "inside: got 0, expected greater than 0"),
        ({"inside": 0.5}, "inside: got 0.5, expected less than 0.5"),
        ({"choice": "c"}, "choice: got 'c', expected 'a' or 'b'"),
        ({"text": 3}, "text: got 3, expected text"),
        ({"text": ""}, "text: got '', expected text of 1 or more characters"),
        ({"names": "a"}, "names: got 'a', expected a list"),
        ({"names": []}, "names: got [], expected 1 or more entries"),
        ({"names": ["a", "b", "c"]}, "names: got ['a', 'b', 'c'], expected 2 or fewer entries"),
        ({"names": ["a", 3]}, "names.1: got 3, expected text"),
        ({"pair": 3}, "pair: got 3, expected a list"),
        ({"pair": [1]}, "pair.1: got nothing, expected a value"),
        ({"counts": [1]}, "counts: got [1], expected a mapping"),
        ({"counts": {"a b": "x"}}, "counts.'a b': got 'x', expected a whole number"),
        ({"counts": {3: 4}}, "counts.3: got 3, expected text"),
        ({"inner": 3}, "inner: got 3, expected a mapping"),
        ({"inner": {}}, "inner.n: got nothing, expected a value"),
        ({"low": 3}, "low.0: got [3], expected at most high = 1"),
        ({"whole": 0, "real": 0}, "whole: got 0, expected a whole number, at least 1"),
        ({"other": 3}, "other: got 3, expected no such key"),
        ({"flag": 3}, "flag: got 3, expected a valid boolean"),  # as pydantic says it
    ],
)
def test_each_kind_of_error_has_its_words(values: dict[Any, Any], expected: str) -> None:
    assert message(values) == f"a/b.yaml: {expected}"


def test_an_error_of_the_whole_file_has_no_key() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(3)
    assert sentence(Path("b.yaml"), caught.value) == "b.yaml: got 3, expected a mapping"


@pytest.mark.parametrize(
    ("key", "expected"),
    [("lr", "lr"), ("a-b_3", "a-b_3"), (3, "3"), (True, "True"), (2.5, "2.5"), ("a b", "'a b'"), ("a.b", "'a.b'"),
     ("a\nb", "'a\\nb'"), ("", "''"), ("é" * 60, "é" * 60), ("x" * 61, f"'{'x' * 27}...{'x' * 28}'")],
)  # fmt: skip
def test_a_key_stands_plain_where_it_can(key: object, expected: str) -> None:
    assert part(key) == expected


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value, value]
    return value


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "nothing"),
        (1e-05, "1e-05"),
        ("a\nb", "'a\\nb'"),
        ({"a": [1, None]}, "{'a': [1, None]}"),
        (LOOP, "[[[[...]]]]"),
        (nested(3), "[[[[], []], [[], []]], [[[], []], [[], []]]]"),
        (nested(40), "[[[[...], [...]], [[...], [...]]], [[[...], [...]], [[...], [...]]]]"),
        (10**400, "1" + "0" * 27 + "..." + "0" * 29),
        ([16**5000], "a number of too many digits"),
    ],
)
def test_a_value_is_shown_briefly(value: object, expected: str) -> None:
    assert show(value) == expected


@pytest.mark.parametrize("value", [["x" * 50] * 9, "x" * 1000, {"x" * 100: ["y" * 100] * 9}])
def test_no_value_is_longer_than_a_line(value: object) -> None:
    assert len(show(value)) <= 120
    assert "..." in show(value)
