"""Numbers of a YAML file are read as DVC reads them, and each way to break the file is told in one line."""

from pathlib import Path
from typing import Any

import pytest
import ruamel.yaml

from svvr.core.yaml_file import YamlError, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.yaml"


def of(path: Path, content: str | bytes) -> Any:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path)


def complaint(path: Path, content: str | bytes) -> str:
    with pytest.raises(YamlError) as caught:
        of(path, content)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 300
    assert message.startswith(f"{path}: ") and "got " in message and ", expected " in message
    return message.removeprefix(f"{path}: ")


# Values


NUMBERS = ["1e-5", "1E-5", "1e+3", "-1e-05", "+2.5e7", "1.5e5", "1.e3", ".5e-3", "1E5", "1.0e-4", "0.1", "3"]


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_are_those_of_dvc(path: Path, text: str) -> None:
    expected = ruamel.yaml.YAML(typ="safe", pure=True).load(text)
    found = of(path, text)
    assert (type(found), found) == (type(expected), float(text))


@pytest.mark.parametrize(
    "text", ["'1e-5'", '"1e-5"', "e5", "1e", "1e-", "1e5x", "1e-5 m", "1-e5", ".e5", "-.5e3", "--1e5"]
)
def test_other_text_stays_text(path: Path, text: str) -> None:
    assert of(path, text) == text.strip("'\"")


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing but a comment\n", "---\n", "null\n"])
def test_an_empty_file_holds_nothing(path: Path, content: str) -> None:
    assert of(path, content) is None


def test_aliases_and_merges_share_values(path: Path) -> None:
    text = "a: {deep: {er: &x {<<: &y {low: 1, high: 2}, low: 3}}}\nb: {<<: *x, high: 4}\nc: *y\n"
    found = {"a": {"deep": {"er": {"low": 3, "high": 2}}}, "b": {"low": 3, "high": 4}, "c": {"low": 1, "high": 2}}
    assert of(path, text) == found


# Faults


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(YamlError, match=r"a\.yaml: got no readable file \(No such file or directory\), expected YAML"):
        read(path)


def test_a_folder_in_place_of_the_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(YamlError, match="Is a directory"):
        read(path)


def test_bytes_that_are_not_utf8(path: Path) -> None:
    assert complaint(path, b"data: \xff\xfe\n") == "got a byte at 6 that is not UTF-8, expected text in UTF-8"


@pytest.mark.parametrize(("content", "line"), [("a:\n\tb: 1\n", 2), ("a:\n  \tb: 1\n", 2), ("a:\n  b: 1\n\tc: 2\n", 3)])
def test_a_tab_is_told_as_such(path: Path, content: str, line: int) -> None:
    assert complaint(path, content) == f"line {line}: got a tab, expected indentation by spaces"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("data: {seed: 42\nmodel: 3\n", 2),
        ("data:\n  seed: 42\n   n_test: 3\n", 3),
        ("data: [1, 2\n", 2),
        ('data: "open\n', 2),
        ("data: 1\n---\nmodel: 2\n", 2),
        ("data: *nowhere\n", 1),
        ("a: 1\ndata: !python/object:os.system {}\n", 2),
        ("a: 1\nb: !!set {x, y}\n", 2),
        ("a: 1\n? [b]\n: 2\n", 2),
        ("a: 1\nb: \x01\n", 2),
        ("a: 1\nb: @x\n", 2),
    ],
)
def test_broken_yaml_names_its_line(path: Path, content: str, line: int) -> None:
    message = complaint(path, content)
    assert message.startswith(f"line {line}: got broken YAML (")
    assert message.endswith("), expected `key: value` or `key: {key: value}`")


@pytest.mark.parametrize("value", ["2026-13-45", "9" * 10_000, "!!bool x", "!!float x", "!!int ''", "!!timestamp x"])
def test_values_that_python_cannot_build(path: Path, value: str) -> None:
    assert complaint(path, f"a: {value}\n").startswith("got a value that cannot be read (")


def test_brackets_too_deep_to_follow(path: Path) -> None:
    expected = "got brackets too deep to follow, expected a few levels"
    assert complaint(path, "a: " + "[" * 500 + "]" * 500 + "\n") == expected


@pytest.mark.parametrize(
    ("content", "key", "lines"),
    [
        ("data:\n  seed: 1\n  seed: 2\n", "seed", (2, 3)),
        ("a: 1\nb: 2\n'a': 3\n", "a", (1, 3)),
        ("a:\n  - {b: 1, c: 2, b: 3}\n", "b", (2, 2)),
        ("? a b\n: {a b: 1}\n? a b\n: 2\n", "'a b'", (1, 3)),
        ("a: &x {k: 1}\nb:\n  <<: *x\n  <<: *x\n", "'<<'", (3, 4)),
    ],
)
def test_a_repeated_key_is_named_with_both_lines(path: Path, content: str, key: str, lines: tuple[int, int]) -> None:
    first, second = lines
    expected = f"{key}: got it in line {first} and again in line {second}, expected each key once"
    assert complaint(path, content) == expected


def test_a_key_may_stand_in_several_mappings(path: Path) -> None:
    assert of(path, "a: {k: 1}\nb: {k: {k: 2}}\n") == {"a": {"k": 1}, "b": {"k": {"k": 2}}}
