"""Every way to get params.yaml wrong is told in one line that names file, key, got and expected."""

import copy
import io
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import ruamel.yaml
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from svvr.core.messages import show
from svvr.core.params import Params, ParamsError, load, penalty_names

ROOT = Path(__file__).parents[2]
SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")
TREE: dict[str, Any] = yaml.safe_load(SHIPPED)
NAMES = ["baseline", "regularized", "weight_decay", "weight_decay_regularized", "regularized_decoupled"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "params.yaml"


def holder(tree: Any, key: str) -> Any:
    """The mapping or list that holds the value of a dotted key."""
    for name in key.split(".")[:-1]:
        tree = tree[int(name) if isinstance(tree, list) else name]
    return tree


def changed(values: dict[str, object]) -> dict[str, Any]:
    """The shipped parameters with other values at dotted keys."""
    tree = copy.deepcopy(TREE)
    for key, value in values.items():
        node, last = holder(tree, key), key.split(".")[-1]
        node[int(last) if isinstance(node, list) else last] = value
    return tree


def loaded(path: Path, tree: Any) -> Params:
    path.write_text(yaml.dump(tree, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False))
    return load(path)


def complaint(path: Path, tree: Any) -> str:
    with pytest.raises(ParamsError) as caught:
        loaded(path, tree)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 500
    assert message.startswith(f"{path}: ") and "got " in message and ", expected " in message
    return message.removeprefix(f"{path}: ")


# Shipped values


def test_the_shipped_file_loads_as_written() -> None:
    params = load(ROOT / "params.yaml")
    assert (params.data.n_test, params.model.hidden, params.selection) == (20000, (128, 128), "last_epoch")
    assert list(params.arms) == NAMES
    assert params.arms["baseline"].reference is None
    assert params.compare.contrasts[1] == ("weight_decay_regularized", "weight_decay")
    assert params.dose_response.strengths == (0, 0.01, 0.03, 0.1, 0.3, 1, 3)
    assert plain(params.model_dump(mode="json", exclude_unset=True)) == plain(TREE)


def plain(tree: Any) -> Any:
    """The tree without keys whose value is None: they may be left out."""
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items() if value is not None}
    return [plain(value) for value in tree] if isinstance(tree, list | tuple) else tree


def test_ranges_of_an_arm_join_shared_knobs_and_its_penalty(path: Path) -> None:
    params = loaded(path, changed({"arms.weight_decay_regularized.tune": ["strength", "weight_decay", "lr"]}))
    found = {name: list(arm.ranges(params.tuning.space).items()) for name, arm in params.arms.items()}
    lr, strength, decay = ("lr", (1e-4, 1e-1)), ("strength", (1e-3, 10.0)), ("weight_decay", (1e-2, 3.0))
    beside = ("strength", (1.0, 1e3))
    expected = [[lr], [lr, strength], [lr, decay], [lr, strength, decay], [lr, beside]]
    assert found == dict(zip(NAMES, expected, strict=True))


def test_parameters_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(ROOT / "params.yaml").training.epochs = 3


def test_penalties_are_the_files_of_their_folder() -> None:
    files = {file.name for file in (ROOT / "src/svvr/penalties").iterdir() if file.suffix == ".py"}
    assert {f"{name}.py" for name in penalty_names()} == files - {"__init__.py"}
    assert {"none", "sv_variance"} <= set(penalty_names())
    assert penalty_names() == sorted(penalty_names())


def test_loading_brings_in_no_heavy_package() -> None:
    code = (
        "import sys, pathlib, svvr.core.params as p; p.load(pathlib.Path(sys.argv[1]));"
        "print({'torch', 'optuna', 'matplotlib', 'numpy', 'pandas', 'scipy', 'mnist1d'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(ROOT / "params.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src")}, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


# The types of values


class Type(NamedTuple):
    """What values of a type can be, and the keys of that type; the first is tried in full."""

    keys: str
    bad: list[tuple[Any, str]]  # a value, and what is expected in its place
    good: list[Any]


def whole(low: int, high: int, keys: str, step: int = 1) -> Type:
    least, most = f"a whole number, at least {low}", f"a whole number, at most {high}"
    words = [(value, "a whole number") for value in (20.0, True, "20", "many", None, math.nan, [3], {"n": 3})]
    return Type(keys, [(low - step, least), (high + step, most), *words, (10**30, most)], [low, high])


def real(outside: list[tuple[float, str]], good: list[float], keys: str) -> Type:
    words = [(value, "a number") for value in (True, "0.5", "many", None, [0.5], {"n": 0.5})]
    infinite = [(value, "a finite number") for value in (math.nan, math.inf, -math.inf)]
    return Type(keys, [*outside, *words, *infinite], good)


def choice(good: list[str], expected: str, keys: str) -> Type:
    return Type(keys, [(value, expected) for value in ("gpu", None, True, 3, ["cpu"])], good)


def listed(outside: list[tuple[list[Any], str]], good: list[Any], keys: str) -> Type:
    return Type(keys, [*outside, *((value, "a list") for value in (128, "lr", None, {"lr": 1}))], good)


LOW, HIGH, ARM = "a number, at least 1e-12", "a number, at most 1e+12", "an arm's name: a letter, then at most 63"
PAIRS = [["regularized", "baseline"], ["weight_decay", "baseline"]]
NO_ARMS, NO_PENALTIES = ("a b", "../a", "1a", "_a", "", "a\n", "a" * 65, "é", True, 3), ("svv", "none.py", None, ["l2"])
EMPTY: tuple[list[Any], str] = ([], "1 or more entries")
DOSE = {"lr": 0.1, "weight_decay": 0}
TYPES = [
    whole(1, 10_000, "training.epochs tuning.studies tuning.trials tuning.seeds_per_trial tuning.startup_trials "
          "tuning.batch final.seeds diagnose.seeds diagnose.last_epochs replicate.epochs"),
    whole(2, 10_000, "replicate.seeds dose_response.seeds budget.seeds"),
    whole(2, 1000, "budget.replicates"),
    whole(2, 4096, "budget.points"),
    whole(0, 2**32 - 1, "seed data.seed data.test_seed"),
    whole(10, 1_000_000, "data.n_test", step=10),
    whole(2, 8192, "model.hidden.N"),
    whole(1, 4000, "training.batch_size"),
    whole(2, 100_000, "diagnose.probes"),
    real([(0, LOW), (-1e-4, LOW), (1e-300, LOW), (1.1e12, HIGH)], [1e-12, 1, 1e12],
         "replicate.baseline.lr replicate.regularized.lr dose_response.settings.N.lr tuning.space.lr.low "
         "tuning.space.lr.high tuning.space.weight_decay.low tuning.space.weight_decay.high "
         "arms.ARM.penalty.strength.low arms.ARM.penalty.strength.high"),
    real([(-0.1, "a number, at least 0"), (1e-13, f"0, or {LOW}"), (1.1e12, HIGH)], [0, 1e-12, 1e12],
         "replicate.regularized.strength dose_response.strengths.N "
         "dose_response.settings.N.weight_decay"),
    real([(0, LOW), (1.0, "a number, at most 0.999999"), (95, "a number, at most 0.999999")], [1e-12, 0.999999],
         "diagnose.tolerance compare.margin compare.equivalence_level compare.level compare.link_margins.conditioning "
         "compare.link_margins.smoothness compare.link_margins.gradient_stability"),
    real([(-0.1, "a number, at least 0"), (1, "less than 1")], [0, 0.99], "compare.min_activity"),
    real([(-0.1, "a number, at least 0"), (0.5, "less than 0.5")], [0, 0.49], "compare.boundary"),
    choice(["cpu", "cuda"], "'cpu' or 'cuda'", "training.device"),
    choice(["last_epoch", "best_epoch"], "'last_epoch' or 'best_epoch'", "selection"),
    choice(["decoupled"], "'coupled' or 'decoupled'", "arms.ARM.penalty.coupling"),
    choice(["tpe", "random"], "'tpe' or 'random'", "tuning.sampler"),
    choice(["lr"], "'lr', 'strength' or 'weight_decay'", "arms.ARM.tune.N"),
    Type("arms.ARM.reference compare.contrasts.N.N", [(value, ARM) for value in NO_ARMS], ["baseline"]),
    Type("arms.ARM.penalty.name", [(value, "a penalty, the name of") for value in NO_PENALTIES], ["none"]),
    listed([EMPTY, ([2] * 17, "16 or fewer entries")], [[2], [2] * 16], "model.hidden"),
    listed([EMPTY], [["lr"], ["weight_decay", "lr"]], "arms.ARM.tune"),
    listed([([1], "2 or more entries"), ([*range(1001)], "1000 or fewer entries")], [[0, 1], [*range(1000)]],
           "dose_response.strengths"),
    listed([EMPTY, ([DOSE] * 5, "4 or fewer entries")], [[DOSE], [DOSE] * 4], "dose_response.settings"),
    listed([(PAIRS[:1] * 1001, "1000 or fewer entries")], [[], PAIRS], "compare.contrasts"),
    listed([(["a", "b", "c"], "2 or fewer entries")], PAIRS, "compare.contrasts.N"),
]  # fmt: skip


def nodes(tree: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of everything in the tree."""
    for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        key = f"{above}.{name}" if above else str(name)
        yield key, value
        yield from nodes(value, key)


MAPPINGS = [key for key, value in nodes(TREE) if isinstance(value, dict)]
VALUES = [key for key, _ in nodes(TREE) if key not in MAPPINGS]
# A key without the names of arms and the numbers of entries -> the first key in the file that is like it.
KEYS = {re.sub(r"\.\d+", ".N", re.sub(r"^arms\.\w+", "arms.ARM", key)): key for key in reversed(VALUES)}


def test_each_key_of_the_file_has_a_type() -> None:
    assert sorted(KEYS) == sorted(key for each in TYPES for key in each.keys.split())


@pytest.mark.no_cover  # many rounds through lines that other tests meet too
@pytest.mark.parametrize("each", TYPES, ids=lambda each: each.keys.split()[0])
def test_each_type_refuses_and_allows(path: Path, each: Type) -> None:
    key = KEYS[each.keys.split()[0]]
    for value, expected in each.bad:
        message = complaint(path, changed({key: value}))
        assert message.startswith(f"{key}: got {show(value)}, expected {expected}")
        assert message.endswith(expected) or expected.startswith(("an arm's name", "a penalty"))
    for value in each.good:
        tree = changed({key: value})
        assert plain(loaded(path, tree).model_dump(mode="json", exclude_unset=True)) == plain(tree)


@pytest.mark.no_cover  # many rounds through lines that other tests meet too
@pytest.mark.parametrize("each", TYPES, ids=lambda each: each.keys.split()[0])
def test_each_key_is_of_its_type(path: Path, each: Type) -> None:
    for key in (KEYS[key] for key in each.keys.split()):
        for value, expected in each.bad[:3]:
            message = complaint(path, changed({key: value}))
            assert message.startswith(f"{key}: got {show(value)}, expected {expected}")


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "1e-05", "0.00001", "1.0e-5", "+1.e-5"])
def test_floats_as_dvc_sets_them(path: Path, text: str) -> None:
    path.write_text(SHIPPED.replace("lr: {low: 1.0e-4,", f"lr: {{low: {text},", 1))
    assert load(path).tuning.space.lr.low == 1e-5


@pytest.mark.parametrize("text", ["'1e-5'", '"0.1"', "yes", "off", "True", "1" + "0" * 400, "1e999", "0x" + "F" * 5000])
def test_what_is_no_number_in_yaml(path: Path, text: str) -> None:
    path.write_text(SHIPPED.replace("lr: {low: 1.0e-4,", f"lr: {{low: {text},", 1))
    with pytest.raises(ParamsError, match=r"params\.yaml: tuning\.space\.lr\.low: got .{1,70}, expected a .*number$"):
        load(path)


# Keys and the file


@pytest.mark.no_cover  # many rounds through lines that other tests meet too
@pytest.mark.parametrize("key", MAPPINGS)
def test_each_mapping_has_its_keys(path: Path, key: str) -> None:
    for value in (3, [1]):
        assert complaint(path, changed({key: value})).startswith(f"{key}: got {value}, expected a mapping")
    mapping = holder(TREE, f"{key}.")
    for name in mapping if key != "arms" else ():
        rest = {each: value for each, value in mapping.items() if each != name}
        if name not in ("reference", "strength", "coupling") or key.startswith("replicate"):
            assert complaint(path, changed({key: rest})) == f"{key}.{name}: got nothing, expected a value"
        message = complaint(path, changed({key: {**rest, "sede": 3}}))
        assert message.startswith(f"{key}.sede: got 'sede', expected a key among {next(iter(mapping))}")


@pytest.mark.parametrize("key", [1, True, None, 2.5, "a b", "a\nb", "x" * 900])
def test_strange_keys(path: Path, key: object) -> None:
    assert ", expected a key among seed, data, model, training, " in complaint(path, {key: 1, **TREE})
    assert f", expected {ARM}" in complaint(path, {**TREE, "arms": {key: TREE["arms"]["baseline"]}})


@pytest.mark.parametrize("tree", [None, ["a", "b"], "hello", 3, {"seed": 1, "data": None}])
def test_a_file_that_holds_something_else(path: Path, tree: object) -> None:
    got = "data: got nothing" if isinstance(tree, dict) else f"got {show(tree)}"
    keys = "seed, n_test, test_seed" if isinstance(tree, dict) else "seed, data, model, training, "
    assert complaint(path, tree).startswith(f"{got}, expected a mapping with the keys {keys}")


def test_a_byte_order_mark_and_other_line_ends_change_nothing(path: Path) -> None:
    committed = (ROOT / "params.yaml").read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + committed.replace(b"\n", b"\r\n"))
    assert load(path) == load(ROOT / "params.yaml")


def test_faults_of_yaml_are_faults_of_params(path: Path) -> None:
    path.write_text("a: 1\na: 2\n")
    with pytest.raises(ParamsError, match=r"params\.yaml: a: got it in line 1 and again in line 2, expected each key"):
        load(path)


def test_aliases_that_loop_or_blow_up_end_in_a_short_message(path: Path) -> None:
    bomb = "\n  - &a0 [x, x]\n" + "".join(f"  - &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    for old, new, expected in (
        ("    tune: [lr]\n", "    tune: &a [*a]\n", "arms.baseline.tune.0: got [[["),
        ("  seed: 42 ", f"  seed:{bomb}  # ", "data.seed: got [['x', 'x'], [["),
    ):
        path.write_text(SHIPPED.replace(old, new, 1))
        with pytest.raises(ParamsError) as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}: {expected}") and len(str(caught.value)) < 300


def test_an_alias_shares_a_setting() -> None:
    assert SHIPPED.count("*sv_variance") == 1
    arms = load(ROOT / "params.yaml").arms
    assert arms["weight_decay_regularized"].penalty == arms["regularized"].penalty


# Relations between values

STRENGTH, SMALLER = {"low": 0.001, "high": 10.0}, {"low": 0.001, "high": 1.0}
RATIO = "at least 1.001 times low = 2.0"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"data.n_test": 20001}, "data.n_test: got 20001, expected a multiple of 10"),
        ({"data.test_seed": 42}, "data.test_seed: got 42, expected another seed than data.seed = 42"),
        ({"tuning.space.lr": {"low": 2.0, "high": 1.0}}, f"tuning.space.lr.high: got 1.0, expected {RATIO}"),
        ({"tuning.space.lr": {"low": 2.0, "high": 2.001}}, f"tuning.space.lr.high: got 2.001, expected {RATIO}"),
        ({"compare.equivalence_level": 0.96}, "compare.equivalence_level: got 0.96, expected at most level = 0.95"),
        ({"dose_response.strengths": [0, 1, 1]}, "dose_response.strengths: got [0.0, 1.0, 1.0], expected strengths"),
        ({"dose_response.strengths": [1, 0.5]}, "dose_response.strengths: got [1.0, 0.5], expected strengths"),
        ({"arms": {}}, "arms: got {}, expected 1 or more entries"),
        (
            {"arms.Baseline": TREE["arms"]["baseline"]},
            "arms.Baseline: got 'Baseline', expected a name that differs from baseline in more than case, since it n",
        ),
        (
            {"arms.baseline.penalty.strength": STRENGTH},
            "arms.baseline.penalty.strength: got {low: 0.001, high: 10.0}, expected no such key with the penalty none",
        ),
        (
            {"arms.regularized.penalty": {"name": "sv_variance"}},
            "arms.regularized.penalty.strength: got nothing, expected a range {low, high} for the penalty sv_variance",
        ),
        (
            {"arms.weight_decay_regularized.penalty.strength": SMALLER},
            "arms.weight_decay_regularized.penalty.strength: got {low: 0.001, high: 1.0}, "
            "expected {low: 0.001, high: 10.0} as in arms.regularized, since both have the penalty sv_variance",
        ),
        (
            {"arms.baseline.tune": ["lr", "strength"]},
            "arms.baseline.tune: got ['lr', 'strength'], expected no strength with the penalty none",
        ),
        (
            {"arms.regularized.tune": ["lr"]},
            "arms.regularized.tune: got ['lr'], expected strength among the knobs, for the penalty sv_variance",
        ),
        ({"arms.baseline.tune": ["lr", "lr"]}, "arms.baseline.tune: got ['lr', 'lr'], expected each knob once"),
        (
            {"arms.weight_decay.tune": ["weight_decay"]},
            "arms.weight_decay.tune: got ['weight_decay'], expected lr among the knobs, which every arm tunes",
        ),
        (
            {"arms.baseline.optimizer": {"name": "adam", "momentum": 0.9}},
            "arms.baseline.optimizer.momentum: got 0.9, expected no such key with adam",
        ),
        ({"arms.baseline.optimizer": {"name": "lion"}}, "arms.baseline.optimizer.name: got 'lion', expected 'adam' or"),
        (
            {"arms.baseline.optimizer": {"name": "sgd", "momentum": 1.0}},
            "arms.baseline.optimizer.momentum: got 1.0, expected less than 1",
        ),
        ({"arms.regularized.reference": "base"}, "arms.regularized.reference: got 'base', expected one of the arms"),
        (
            {"arms.baseline.reference": "baseline"},
            "arms.baseline.reference: got 'baseline', expected a reference that does not lead back to the arm "
            "(baseline -> baseline)",
        ),
        (
            {"arms.baseline.reference": "weight_decay_regularized"},
            "arms.weight_decay.reference: got 'baseline', expected a reference that does not lead back to the arm "
            "(baseline -> weight_decay_regularized -> weight_decay -> baseline)",
        ),
        ({"compare.contrasts.0.1": "base"}, "compare.contrasts.0: got 'base', expected one of the arms base"),
        ({"compare.contrasts.0.0": "reg"}, "compare.contrasts.0: got 'reg', expected one of the arms base"),
        (
            {"compare.contrasts.0.0": "baseline"},
            "compare.contrasts.0: got ['baseline', 'baseline'], expected two different arms",
        ),
        (
            {"compare.contrasts.1": ["regularized", "baseline"]},
            "compare.contrasts.1: got ['regularized', 'baseline'], expected each contrast once",
        ),
        ({"compare.contrasts.0": ["baseline"]}, "compare.contrasts.0.1: got nothing, expected a value"),
        ({"compare.contrasts.0": ["a", "b", "c"]}, "compare.contrasts.0: got ['a', 'b', 'c'], expected 2 or fewer ent"),
    ],
)  # fmt: skip
def test_values_that_do_not_go_together(path: Path, values: dict[str, object], expected: str) -> None:
    assert complaint(path, changed(values)).startswith(expected)


@pytest.mark.parametrize(
    "values",
    [
        {"compare.equivalence_level": 0.95},
        {"diagnose.seeds": 10_000, "final.seeds": 1},
        {"training.epochs": 3, "tuning.trials": 2},  # fewer than diagnose.last_epochs, tuning.startup_trials
        {"tuning.space.lr": {"low": 2.0, "high": 2.003}},
        {f"arms.{name}.penalty.strength": SMALLER for name in ("regularized", "weight_decay_regularized")},
        {"arms.other": {"tune": ["lr", "strength"], "penalty": {"name": "l2", "strength": SMALLER}}},
        {"arms.baseline.penalty.strength": None, "arms.baseline.reference": None},
    ],
)
def test_values_that_go_together(path: Path, values: dict[str, object]) -> None:
    tree = changed(values)
    assert plain(loaded(path, tree).model_dump(mode="json", exclude_unset=True)) == plain(tree)


# Fuzz

real_numbers = st.floats(1e-12, 1e12)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(real_numbers, real_numbers, st.integers(1, 10_000), st.floats(0, 1e12).filter(lambda x: not 0 < x < 1e-12))
def test_numbers_survive_whoever_writes_them(
    tmp_path_factory: pytest.TempPathFactory, lr: float, low: float, epochs: int, strength: float
) -> None:
    path = tmp_path_factory.mktemp("round") / "params.yaml"
    span = {"low": min(low, 9e11), "high": 1e12}
    values = {"dose_response.settings.0.lr": lr, "tuning.space.lr": span, "training.epochs": epochs}
    tree = changed({**values, "replicate.regularized.strength": strength})
    params = loaded(path, tree)
    assert plain(params.model_dump(mode="json", exclude_unset=True)) == plain(tree)
    text = io.StringIO()
    ruamel.yaml.YAML().dump(tree, text)  # as DVC does: 1e-05 without a point
    path.write_text(text.getvalue())
    assert load(path) == params


@pytest.mark.no_cover  # many rounds through lines that other tests meet too
@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.sampled_from([*VALUES, *MAPPINGS]), anything)
def test_whatever_stands_at_a_key_is_used_or_refused(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    path = tmp_path_factory.mktemp("any") / "params.yaml"
    tree = changed({key: value})
    try:
        found = loaded(path, tree)
    except ParamsError as error:
        assert str(error).isprintable() and len(str(error)) < 500
        assert str(error).startswith(f"{path}: {key.split('.')[0]}")
    else:
        assert plain(found.model_dump(mode="json", exclude_unset=True)) == plain(tree)
