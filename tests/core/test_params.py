"""Every way to get params.yaml wrong is told in one line that names file, key, got and expected."""

import copy
import io
import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ruamel.yaml
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from svvr.core.params import ParamsError, load, near_end, penalty_names

ROOT = Path(__file__).parents[2]
SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")
TREE: dict[str, Any] = yaml.safe_load(SHIPPED)
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "params.yaml"


def complaint(path: Path, content: str | bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ParamsError) as caught:
        load(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    assert "got " in message and "expected " in message
    assert len(message) < 500
    return message.removeprefix(f"{path}: ")


def changed(key: str, value: object) -> str:
    """The shipped parameters with another value at a dotted key, as YAML."""
    tree = shipped()
    put(tree, key, value)
    return yaml.dump(tree, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)


def put(tree: dict[str, Any], key: str, value: object) -> None:
    node, last = holder(tree, key), key.split(".")[-1]
    node[int(last) if isinstance(node, list) else last] = value


def holder(tree: dict[str, Any], key: str) -> Any:
    """The mapping or list that holds the value of a dotted key."""
    node: Any = tree
    for part in key.split(".")[:-1]:
        node = node[int(part) if isinstance(node, list) else part]
    return node


def shipped() -> dict[str, Any]:
    return copy.deepcopy(TREE)


# Shipped values


def test_shipped_file_loads_as_written() -> None:
    params = load(ROOT / "params.yaml")
    assert params.data.model_dump() == {"seed": 42, "n_test": 20000, "test_seed": 1042}
    assert params.model.hidden == (128, 128)
    assert (params.training.epochs, params.training.batch_size, params.training.device) == (20, 128, "cpu")
    assert params.selection == "last_epoch"
    assert list(params.arms) == ["baseline", "regularized", "weight_decay", "weight_decay_regularized"]
    assert params.arms["regularized"].penalty.name == "sv_variance"
    assert params.arms["baseline"].reference is None
    assert params.compare.contrasts[1] == ("weight_decay_regularized", "weight_decay")
    assert params.replicate.regularized.strength == 0.0422
    assert params.dose_response.strengths == (0, 0.01, 0.03, 0.1, 0.3, 1, 3)


def test_every_shipped_value_survives() -> None:
    assert plain(load(ROOT / "params.yaml").model_dump(mode="json")) == plain(TREE)


def test_ranges_of_an_arm_join_shared_knobs_and_its_penalty() -> None:
    params = load(ROOT / "params.yaml")
    found = {name: arm.ranges(params.tuning.space) for name, arm in params.arms.items()}
    lr, strength, decay = (1e-4, 1e-1), (1e-3, 10.0), (1e-2, 3.0)
    assert found == {
        "baseline": {"lr": lr},
        "regularized": {"lr": lr, "strength": strength},
        "weight_decay": {"lr": lr, "weight_decay": decay},
        "weight_decay_regularized": {"lr": lr, "strength": strength, "weight_decay": decay},
    }


def test_order_of_knobs_does_not_matter(path: Path) -> None:
    path.write_text(changed("arms.weight_decay_regularized.tune", ["strength", "weight_decay", "lr"]))
    params = load(path)
    assert list(params.arms["weight_decay_regularized"].ranges(params.tuning.space)) == [
        "lr",
        "strength",
        "weight_decay",
    ]


def test_parameters_are_frozen() -> None:
    params = load(ROOT / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.training.epochs = 3


def test_penalties_are_the_files_of_their_folder() -> None:
    files = {file.name for file in (ROOT / "src/svvr/penalties").iterdir() if file.suffix == ".py"}
    assert {f"{name}.py" for name in penalty_names()} == files - {"__init__.py"}
    assert {"none", "sv_variance"} <= set(penalty_names())
    assert penalty_names() == sorted(penalty_names())


def test_loading_brings_in_no_heavy_package() -> None:
    code = (
        "import sys, pathlib, svvr.params as p; p.load(pathlib.Path(sys.argv[1]));"
        "print({'torch', 'optuna', 'matplotlib', 'numpy', 'scipy', 'mnist1d'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(ROOT / "params.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src")}, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


# The file


def test_missing_file(path: Path) -> None:
    assert "No such file" in complaint(path)


def test_folder_in_place_of_the_file(path: Path) -> None:
    path.mkdir()
    assert "Is a directory" in complaint(path)


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing but a comment\n", "---\n", "null\n"])
def test_empty_file(path: Path, content: str) -> None:
    message = complaint(path, content)
    assert "empty" in message and "data, model, training" in message


@pytest.mark.parametrize(("content", "got"), [("- a\n- b\n", "['a', 'b']"), ("hello\n", "'hello'"), ("3\n", "3")])
def test_not_a_mapping(path: Path, content: str, got: str) -> None:
    message = complaint(path, content)
    assert f"got {got}, expected a mapping with the keys data, model" in message


def test_bytes_that_are_not_utf8(path: Path) -> None:
    assert "byte at 6 that is not UTF-8" in complaint(path, b"data: \xff\xfe\n")


@pytest.mark.parametrize(
    "content", ["data:\n\tseed: 42\n", "data:\n  \tseed: 42\n", "data:\n  seed: 42\n\tn_test: 10\n"]
)
def test_tab_indentation(path: Path, content: str) -> None:
    line = next(n for n, text in enumerate(content.splitlines(), 1) if "\t" in text)
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
        ("a: 1\n? [b]\n: 2\n", 2),
        ("a: 1\nb: \x01\n", 2),
        ("a: 1\nb: @x\n", 2),
    ],
)
def test_broken_yaml_names_the_line(path: Path, content: str, line: int) -> None:
    assert f"line {line}: got broken YAML (" in complaint(path, content)


@pytest.mark.parametrize("content", ["a: 2026-13-45\n", "a: " + "9" * 10000 + "\n"])
def test_values_that_python_cannot_build(path: Path, content: str) -> None:
    assert "a value that cannot be read" in complaint(path, content)


def test_brackets_too_deep_to_follow(path: Path) -> None:
    assert "got brackets too deep" in complaint(path, "a: " + "[" * 500 + "]" * 500 + "\n")


def test_aliases_that_loop_or_blow_up_end_in_a_short_message(path: Path) -> None:
    loop = complaint(path, SHIPPED.replace("    tune: [lr]\n", "    tune: &a [*a]\n", 1))
    assert loop.startswith("arms.baseline.tune.0: got [[[")
    bomb = "  - &a0 [x, x]\n" + "".join(f"  - &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    message = complaint(path, SHIPPED.replace("  seed: 42 ", f"  seed:\n{bomb}  # ", 1))
    assert message.startswith("data.seed: got [['x', 'x'], [[")


def test_an_alias_may_share_a_setting(path: Path) -> None:
    shared = SHIPPED.replace("penalty: {name: sv_v", "penalty: &svv {name: sv_v", 1)
    head, tail = shared.rsplit("penalty: {name: sv_v", 1)
    path.write_text(head + "penalty: *svv\n" + tail.split("\n", 1)[1])
    assert load(path) == load(ROOT / "params.yaml")


# Keys


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("model:\n", "data: {seed: 1}\nmodel:\n", "data"),
        ("  batch_size: 128", "  epochs: 30\n  batch_size: 128", "training.epochs"),
        ("  regularized:\n", "  baseline: {tune: [lr], penalty: {name: none}}\n  regularized:\n", "arms.baseline"),
        ("{low: 1.0e-4, ", "{low: 1.0e-4, low: 1.0e-3, ", "tuning.space.lr.low"),
        ("  contrasts:", "  contrasts: [[{a: 1, a: 2}]]\n  contrasts:", "compare.contrasts.0.0.a"),
        ("  contrasts:", "  'margin': 0.02\n  contrasts:", "compare.margin"),
    ],
)
def test_duplicate_keys(path: Path, old: str, new: str, key: str) -> None:
    text = SHIPPED.replace(old, new, 1)
    assert text != SHIPPED
    message = complaint(path, text)
    assert message.startswith(f"{key}: got it in line ") and "expected each key once" in message


def test_duplicate_key_names_both_lines(path: Path) -> None:
    assert complaint(path, "data:\n  seed: 1\n  seed: 2\n") == (
        "data.seed: got it in line 2 and again in line 3, expected each key once"
    )


def sections(tree: dict[str, Any], above: str = "") -> list[str]:
    here = [above] if above not in ("", "arms") else []
    return here + [
        found
        for key, value in tree.items()
        if isinstance(value, dict)
        for found in sections(value, f"{above}.{key}" if above else key)
    ]


SECTIONS = sections(TREE)
LEAVES = [f"{section}.{key}" for section in SECTIONS for key in holder(TREE, f"{section}.")]


@pytest.mark.parametrize("section", SECTIONS)
def test_unknown_key_in_each_section(path: Path, section: str) -> None:
    message = complaint(path, changed(f"{section}.sede", 3))
    assert message.startswith(f"{section}.sede: got 'sede', expected a key among ")


def test_unknown_key_lists_the_known_ones(path: Path) -> None:
    message = complaint(path, SHIPPED.replace("  epochs: 20 ", "  epoch: 20 ", 1))
    assert message == "training.epoch: got 'epoch', expected a key among epochs, batch_size, device"
    assert complaint(path, SHIPPED + "\nextra: 1\n").startswith("extra: got 'extra', expected a key among data, model")


@pytest.mark.parametrize("key", ["1", "yes", "~", "2.5", '"a b"', '"a\\nb"', '"' + "x" * 900 + '"'])
def test_strange_keys(path: Path, key: str) -> None:
    assert "expected a key among data, model" in complaint(path, f"{key}: 1\n" + SHIPPED)


OPTIONAL = ("reference", "strength")


@pytest.mark.parametrize("key", [key for key in LEAVES if not (key.startswith("arms.") and key.endswith(OPTIONAL))])
def test_each_missing_key(path: Path, key: str) -> None:
    tree = shipped()
    del holder(tree, key)[key.split(".")[-1]]
    message = complaint(path, yaml.safe_dump(tree))
    assert message.startswith(f"{key}: got nothing, expected ")


def test_missing_section(path: Path) -> None:
    tree = shipped()
    del tree["final"]
    assert complaint(path, yaml.safe_dump(tree)).startswith("final: got nothing, expected this key, one of data, model")


# Numbers

WHOLE = {
    "data.seed": (0, 2**32 - 1),
    "data.test_seed": (0, 2**32 - 1),
    "data.n_test": (10, 1_000_000),
    "model.hidden.0": (2, 8192),
    "training.epochs": (1, 10_000),
    "training.batch_size": (1, 4000),
    "tuning.studies": (1, 10_000),
    "tuning.trials": (1, 10_000),
    "tuning.seeds_per_trial": (1, 10_000),
    "tuning.startup_trials": (1, 10_000),
    "tuning.batch": (1, 10_000),
    "final.seeds": (1, 10_000),
    "diagnose.seeds": (1, 10_000),
    "diagnose.probes": (2, 100_000),
    "diagnose.last_epochs": (1, 10_000),
    "replicate.seeds": (2, 10_000),
    "replicate.epochs": (1, 10_000),
    "dose_response.seeds": (2, 10_000),
}
POSITIVE = [
    "tuning.space.lr.low",
    "tuning.space.lr.high",
    "tuning.space.weight_decay.low",
    "arms.regularized.penalty.strength.low",
    "arms.regularized.penalty.strength.high",
    "replicate.baseline.lr",
    "replicate.regularized.lr",
    "dose_response.lr",
]
NONNEGATIVE = ["replicate.regularized.strength", "dose_response.strengths.0"]
FRACTIONS = [
    "diagnose.tolerance",
    "compare.margin",
    "compare.level",
    "compare.equivalence_level",
    "compare.link_margins.conditioning",
    "compare.link_margins.smoothness",
    "compare.link_margins.gradient_stability",
]
HALF_OPEN = {"compare.min_activity": 1.0, "compare.boundary": 0.5}
NUMBERS = [*WHOLE, *POSITIVE, *NONNEGATIVE, *FRACTIONS, *HALF_OPEN]


def test_the_lists_above_hold_every_number_of_the_file() -> None:
    def numbers(node: Any, above: str) -> set[str]:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        deeper = {key for name, value in items for key in numbers(value, f"{above}.{name}")}
        return deeper | ({above[1:]} if isinstance(node, int | float) else set())

    tested = {key for key in NUMBERS if not key.startswith("arms.")}
    copies = {"model.hidden.1", "tuning.space.weight_decay.high"} | {
        f"dose_response.strengths.{i}" for i in range(1, 7)
    }
    found = numbers({k: v for k, v in TREE.items() if k != "arms"}, "")
    assert found == tested | copies


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *itertools.product(NUMBERS, [True, None, "many", math.nan, -1]),
        *itertools.product([*HALF_OPEN, *NONNEGATIVE, "training.epochs"], [False, [3], {"n": 3}, math.inf, "nan"]),
    ],
)
def test_what_is_no_number_here(path: Path, key: str, value: object) -> None:
    message = complaint(path, changed(key, value))
    assert message.startswith(f"{key}: got {'nothing' if value is None else repr(value)}, expected a ")
    assert "number" in message


@pytest.mark.parametrize("key", ["training.epochs", "tuning.space.lr.low", "compare.margin"])
@pytest.mark.parametrize("word", ["yes", "no", "on", "True"])
def test_yaml_booleans_are_no_numbers(path: Path, key: str, word: str) -> None:
    text = changed(key, "PLACEHOLDER").replace("PLACEHOLDER", word)
    assert f"{key}: got {word in ('yes', 'on', 'True')}, expected a" in complaint(path, text)


@pytest.mark.parametrize("key", WHOLE)
def test_whole_numbers_have_named_bounds(path: Path, key: str) -> None:
    low, high = WHOLE[key]
    for value in (low - 1, high + 1, 10**9 if high < 10**9 else 10**30, 20.0, "20"):
        message = complaint(path, changed(key, value))
        assert message == f"{key}: got {value!r}, expected a whole number from {low} to {high}"


@pytest.mark.parametrize("key", [key for key in WHOLE if key != "diagnose.seeds"])
def test_bounds_themselves_are_allowed(path: Path, key: str) -> None:
    for value in WHOLE[key]:
        tree = shipped()
        put(tree, key, value)
        tree["diagnose"]["seeds"] = 1
        path.write_text(yaml.safe_dump(tree))
        assert str(value) in str(load(path))


@pytest.mark.parametrize("key", POSITIVE)
def test_positive_numbers(path: Path, key: str) -> None:
    for value in (0, -1.0e-4):
        assert complaint(path, changed(key, value)) == f"{key}: got {value!r}, expected a finite number above 0"


@pytest.mark.parametrize("key", NONNEGATIVE)
def test_nonnegative_numbers(path: Path, key: str) -> None:
    assert complaint(path, changed(key, -0.1)) == f"{key}: got -0.1, expected a finite number, 0 or above"
    path.write_text(changed(key, 0))
    load(path)


@pytest.mark.parametrize("key", FRACTIONS)
def test_fractions(path: Path, key: str) -> None:
    for value in (0, 1.0, 95):
        assert complaint(path, changed(key, value)) == f"{key}: got {value}, expected a number above 0 and below 1"


@pytest.mark.parametrize("key", HALF_OPEN)
def test_half_open_fractions(path: Path, key: str) -> None:
    high = HALF_OPEN[key]
    assert complaint(path, changed(key, high)).startswith(f"{key}: got {high}, expected a number from 0 to below ")
    path.write_text(changed(key, 0))
    load(path)


@pytest.mark.parametrize("text", ["1e-5", "1e-05", "1E-5", "0.00001", "1.0e-5", '"1e-5"'])
def test_floats_as_yaml_1_2_writes_them(path: Path, text: str) -> None:
    path.write_text(SHIPPED.replace("lr: {low: 1.0e-4,", f"lr: {{low: {text},", 1))
    assert load(path).tuning.space.lr.low == 1e-5


def test_whole_numbers_serve_as_floats(path: Path) -> None:
    path.write_text(changed("arms", {"baseline": {"tune": ["lr"], "penalty": {"name": "none"}}}).replace("10.0", "10"))
    assert "one of the arms baseline" in complaint(path)
    path.write_text(SHIPPED.replace("high: 10.0", "high: 10"))
    assert (
        load(path).arms["regularized"].penalty.strength
        == load(ROOT / "params.yaml").arms["regularized"].penalty.strength
    )


def test_a_number_too_large_for_a_float(path: Path) -> None:
    assert complaint(path, changed("dose_response.lr", 10**400)).startswith("dose_response.lr: got 1000")


# Choices, lists


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("training.device", "'cpu' or 'cuda'"),
        ("selection", "'last_epoch' or 'best_epoch'"),
        ("tuning.sampler", "'tpe' or 'random'"),
        ("arms.baseline.tune.0", "'lr', 'strength' or 'weight_decay'"),
    ],
)
@pytest.mark.parametrize("value", ["gpu", None, True, ["cpu"]])
def test_choices(path: Path, key: str, choices: str, value: object) -> None:
    got = "nothing" if value is None else repr(value)
    assert complaint(path, changed(key, value)) == f"{key}: got {got}, expected {choices}"


@pytest.mark.parametrize(
    ("key", "value"), [("training.device", "cuda"), ("selection", "best_epoch"), ("tuning.sampler", "random")]
)
def test_other_choice_of_each(path: Path, key: str, value: str) -> None:
    path.write_text(changed(key, value))
    assert value in str(load(path))


LISTS = {
    "model.hidden": (1, 16),
    "arms.baseline.tune": (1, 3),
    "compare.contrasts": (0, 1000),
    "dose_response.strengths": (2, 1000),
}


@pytest.mark.parametrize("key", LISTS)
def test_lists(path: Path, key: str) -> None:
    low, high = LISTS[key]
    too_short = [[1] * n for n in range(low)]
    for value in (128, "lr", None, {"lr": 1}, [1] * (high + 1), *too_short):
        message = complaint(path, changed(key, value))
        assert message.startswith(f"{key}: got ")
        assert message.endswith(f", expected a list of {low} to {high} entries")


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("value", [3, [1]])
def test_sections_are_mappings(path: Path, section: str, value: object) -> None:
    message = complaint(path, changed(section, value))
    assert message.startswith(f"{section}: got {value!r}, expected a mapping with the keys ")


def test_a_section_left_blank(path: Path) -> None:
    message = complaint(path, changed("final", None))
    assert message == "final: got nothing, expected a mapping with the keys seeds"


# Relations between values


@pytest.mark.parametrize("key", ["tuning.space.lr", "tuning.space.weight_decay", "arms.regularized.penalty.strength"])
def test_ranges_ascend(path: Path, key: str) -> None:
    assert (
        complaint(path, changed(key, {"low": 2.0, "high": 1.0}))
        == f"{key}.low: got 2.0, expected a number below high = 1.0"
    )
    assert complaint(path, changed(key, {"low": 2.0, "high": 2.0})).startswith(f"{key}.low: got 2.0")


@pytest.mark.parametrize("value", [15, 20001])
def test_test_split_is_balanced(path: Path, value: int) -> None:
    assert complaint(path, changed("data.n_test", value)).startswith(
        f"data.n_test: got {value}, expected a multiple of 10"
    )


def test_test_split_has_a_seed_of_its_own(path: Path) -> None:
    message = complaint(path, changed("data.test_seed", 42))
    assert message == "data.test_seed: got 42, expected another seed than data.seed = 42"


def test_levels_are_ordered(path: Path) -> None:
    message = complaint(path, changed("compare.equivalence_level", 0.96))
    assert message == "compare.equivalence_level: got 0.96, expected at most level = 0.95"
    path.write_text(changed("compare.equivalence_level", 0.95))
    assert load(path).compare.equivalence_level == 0.95


def test_only_trained_runs_are_diagnosed(path: Path) -> None:
    assert complaint(path, changed("diagnose.seeds", 13)) == "diagnose.seeds: got 13, expected at most final.seeds = 12"
    path.write_text(changed("diagnose.seeds", 12))
    assert load(path).diagnose.seeds == 12


def test_few_epochs_and_trials_need_no_other_change(path: Path) -> None:
    tree = shipped()
    tree["training"]["epochs"], tree["tuning"]["trials"] = 3, 2
    path.write_text(yaml.safe_dump(tree))
    params = load(path)
    assert params.training.epochs < params.diagnose.last_epochs
    assert params.tuning.trials < params.tuning.startup_trials


@pytest.mark.parametrize("value", [[1, 0.5], [0, 0.1, 0.1], [0, 0.0]])
def test_strengths_increase(path: Path, value: list[float]) -> None:
    assert complaint(path, changed("dose_response.strengths", value)).startswith("dose_response.strengths: got ")
    assert complaint(path).endswith("expected strengths that increase")


# Arms


@pytest.mark.parametrize("value", [{}, [], None, "baseline", 3])
def test_arms_are_a_mapping(path: Path, value: object) -> None:
    got = "nothing" if value is None else repr(value)
    assert complaint(path, changed("arms", value)) == f"arms: got {got}, expected a mapping of at least one arm"


@pytest.mark.parametrize(
    "name", ["a/b", "../a", "a b", "a.b", "1a", "_a", "", "a-b", "é", "a\n", "a" * 65, True, 3, None]
)
def test_arm_names_are_file_names(path: Path, name: object) -> None:
    tree = shipped()
    tree["arms"][name] = tree["arms"]["baseline"]
    message = complaint(path, yaml.safe_dump(tree))
    assert message.startswith("arms.") and "expected an arm's name: a letter" in message


def test_arm_names_differ_on_every_file_system(path: Path) -> None:
    tree = shipped()
    tree["arms"]["Baseline"] = tree["arms"]["baseline"]
    message = complaint(path, yaml.safe_dump(tree, sort_keys=False))
    assert message.startswith("arms.Baseline: got 'Baseline', expected a name that differs from baseline")


def edited(edit: Edit) -> str:
    tree = shipped()
    edit(tree["arms"])
    return yaml.safe_dump(tree, sort_keys=False)


@pytest.mark.parametrize("name", ["svv", "__init__", "", "../none", None, 3, ["none"], "none.py"])
def test_unknown_penalty_lists_the_known_ones(path: Path, name: object) -> None:
    message = complaint(path, changed("arms.baseline.penalty.name", name))
    got = "nothing" if name is None else repr(name)
    assert message.startswith(f"arms.baseline.penalty.name: got {got}, expected a penalty, ")
    assert message.endswith(": " + ", ".join(penalty_names()))


def test_strength_range_goes_with_a_penalty(path: Path) -> None:
    strength = {"low": 0.1, "high": 1.0}
    message = complaint(path, edited(lambda arms: arms["baseline"]["penalty"].update(strength=strength)))
    assert message == (
        "arms.baseline.penalty.strength: got {low: 0.1, high: 1.0}, expected no such key with the penalty none"
    )
    message = complaint(path, edited(lambda arms: arms["regularized"]["penalty"].pop("strength")))
    assert message.startswith("arms.regularized.penalty.strength: got nothing, expected a range {low, high}")
    assert complaint(path, changed("arms.regularized.penalty.strength", None)) == message


@pytest.mark.parametrize(
    ("arm", "tune", "expected"),
    [
        ("baseline", ["lr", "strength"], "no strength with the penalty none"),
        ("regularized", ["lr"], "strength among the knobs, for the penalty sv_variance"),
        ("baseline", ["lr", "lr"], "each knob once"),
        ("weight_decay", ["weight_decay"], "lr among the knobs, which every arm tunes"),
    ],
)
def test_knobs_fit_the_arm(path: Path, arm: str, tune: list[str], expected: str) -> None:
    message = complaint(path, changed(f"arms.{arm}.tune", tune))
    assert message == f"arms.{arm}.tune: got {tune}, expected {expected}"


def test_unknown_knob(path: Path) -> None:
    message = complaint(path, changed("arms.baseline.tune", ["lr", "momentum"]))
    assert message == "arms.baseline.tune.1: got 'momentum', expected 'lr', 'strength' or 'weight_decay'"


def test_arms_with_one_penalty_have_one_range(path: Path) -> None:
    message = complaint(path, changed("arms.weight_decay_regularized.penalty.strength.high", 1.0))
    assert message == (
        "arms.weight_decay_regularized.penalty.strength: got {low: 0.001, high: 1.0}, "
        "expected {low: 0.001, high: 10.0} as in arms.regularized, since both have the penalty sv_variance"
    )


@pytest.mark.parametrize(
    ("references", "key", "got", "expected"),
    [
        ({"regularized": "base"}, "regularized", "base", "one of the arms baseline, regularized"),
        ({"baseline": "baseline"}, "baseline", "baseline", "(baseline -> baseline)"),
        ({"baseline": "regularized"}, "regularized", "baseline", "(baseline -> regularized -> baseline)"),
        ({"baseline": "weight_decay_regularized"}, "weight_decay", "baseline", "lead back"),
        ({"regularized": "a b"}, "regularized", "a b", "an arm's name"),
        ({"regularized": 3}, "regularized", 3, "an arm's name"),
    ],
)
def test_references(path: Path, references: dict[str, object], key: str, got: object, expected: str) -> None:
    def edit(arms: dict[str, Any]) -> None:
        for arm, reference in references.items():
            arms[arm]["reference"] = reference

    message = complaint(path, edited(edit))
    assert message.startswith(f"arms.{key}.reference: got {got!r}, expected ") and expected in message


@pytest.mark.parametrize(
    ("contrasts", "where", "expected"),
    [
        ([["regularized", "base"]], "contrasts.0: got 'base'", "one of the arms baseline, regularized"),
        ([["reg", "baseline"]], "contrasts.0: got 'reg'", "one of the arms baseline, regularized"),
        ([["baseline", "baseline"]], "contrasts.0: got ['baseline', 'baseline']", "two different arms"),
        ([["regularized", "baseline"]] * 2, "contrasts.1: got ['regularized', 'baseline']", "each contrast once"),
        ([["regularized"]], "contrasts.0: got ['regularized']", "a list of 2 entries"),
        ([["a", "b", "c"]], "contrasts.0: got ['a', 'b', 'c']", "a list of 2 entries"),
        (["regularized"], "contrasts.0: got 'regularized'", "a list of 2 entries"),
        ([["regularized", 3]], "contrasts.0.1: got 3", "an arm's name"),
    ],
)
def test_contrasts(path: Path, contrasts: list[Any], where: str, expected: str) -> None:
    message = complaint(path, changed("compare.contrasts", contrasts))
    assert message.startswith(f"compare.{where}, expected ") and expected in message


def test_contrasts_may_be_empty(path: Path) -> None:
    path.write_text(changed("compare.contrasts", []))
    assert load(path).compare.contrasts == ()


# Round trip


def plain(tree: Any) -> Any:
    """The tree without keys whose value is None: they may be left out."""
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items() if value is not None}
    return [plain(value) for value in tree] if isinstance(tree, list | tuple) else tree


floats = st.floats(1e-12, 1e12)
ranges = st.tuples(floats, floats).filter(lambda ends: ends[0] != ends[1]).map(sorted)
# `yes` or `null` without quotes is no string to PyYAML
arm_names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,63}", fullmatch=True).filter(
    lambda name: isinstance(yaml.safe_load(name), str)
)
fractions = st.floats(0, 1, exclude_min=True, exclude_max=True)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    tree = shipped()
    for key in [key for key in WHOLE if key != "model.hidden.0"]:
        put(tree, key, draw(st.integers(*WHOLE[key])))
    for key in ("diagnose.tolerance", "compare.margin", *(f for f in FRACTIONS if "link" in f)):
        put(tree, key, draw(fractions))
    for key in ("replicate.baseline.lr", "replicate.regularized.lr", "dose_response.lr"):
        put(tree, key, draw(floats))
    for key in ("lr", "weight_decay"):
        put(tree, f"tuning.space.{key}", dict(zip(("low", "high"), draw(ranges), strict=True)))
    put(tree, "data", {"seed": draw(st.integers(0, 99)), "n_test": 10 * draw(st.integers(1, 9)), "test_seed": 100})
    put(tree, "diagnose.seeds", draw(st.integers(1, tree["final"]["seeds"])))
    levels = sorted(draw(st.tuples(fractions, fractions)))
    put(tree, "compare.equivalence_level", levels[0])
    put(tree, "compare.level", levels[1])
    put(tree, "compare.boundary", draw(st.floats(0, 0.5, exclude_max=True)))
    put(tree, "model.hidden", draw(st.lists(st.integers(2, 8192), min_size=1, max_size=16)))
    put(tree, "dose_response.strengths", sorted(draw(st.sets(st.floats(0, 1e6), min_size=2, max_size=9))))
    put(tree, "selection", draw(st.sampled_from(["last_epoch", "best_epoch"])))
    put(tree, "arms", draw(arms()))
    names = list(tree["arms"])
    pairs = st.tuples(st.sampled_from(names), st.sampled_from(names)).filter(lambda pair: pair[0] != pair[1])
    several = st.lists(pairs.map(list), unique_by=tuple, max_size=4) if len(names) > 1 else st.just([])
    put(tree, "compare.contrasts", draw(several))
    return tree


@st.composite
def arms(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(arm_names, min_size=1, max_size=5, unique_by=str.lower))
    strength = {name: dict(zip(("low", "high"), draw(ranges), strict=True)) for name in penalty_names()}
    found: dict[str, Any] = {}
    for name in names:
        penalty = draw(st.sampled_from(penalty_names()))
        knobs = ["lr", *draw(st.sampled_from([[], ["weight_decay"]])), *([] if penalty == "none" else ["strength"])]
        span = {} if penalty == "none" else {"strength": dict(strength[penalty])}
        arm: dict[str, Any] = {"tune": draw(st.permutations(knobs)), "penalty": {"name": penalty, **span}}
        if found and draw(st.booleans()):
            arm["reference"] = draw(st.sampled_from(list(found)))
        found[name] = arm
    return found


def write_by_ruamel(tree: Any) -> str:
    """As DVC writes params.yaml: 1e-05 without a point, which PyYAML reads as a string."""
    text = io.StringIO()
    ruamel.yaml.YAML().dump(tree, text)
    return text.getvalue()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(trees(), st.sampled_from([yaml.safe_dump, write_by_ruamel]))
def test_valid_parameters_survive_a_round_trip(tmp_path_factory: pytest.TempPathFactory, tree: Any, write: Any) -> None:
    path = tmp_path_factory.mktemp("round") / "params.yaml"
    path.write_text(write(tree))
    params = load(path)
    assert plain(params.model_dump()) == plain(tree)
    path.write_text(yaml.safe_dump(params.model_dump(mode="json")))
    assert load(path) == params


@pytest.mark.parametrize(
    "value,expected",
    [(1e-4, True), (1.3e-4, True), (1.5e-4, False), (3e-3, False), (6e-2, False), (8e-2, True), (1e-1, True)],
)
def test_the_end_of_a_range_is_a_share_of_its_logarithm(value: float, expected: bool) -> None:
    assert near_end(value, 1e-4, 1e-1, 0.05) is expected
