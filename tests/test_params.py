"""Every way to get params.yaml wrong is told in one line that begins with file and key."""

import copy
from pathlib import Path
from typing import Any

import pytest
import ruamel.yaml
import yaml

from svvr.params import Params, load
from svvr.records import ParamsError, read_yaml

FILE = Path(__file__).parents[1] / "params.yaml"
TEXT, TREE = FILE.read_text(encoding="utf-8"), yaml.safe_load(FILE.read_text(encoding="utf-8"))
SPAN = {"low": 1.0, "high": 2.0}


def changed(values: dict[str, Any]) -> str:
    """The committed params with other values at dotted keys; a key whose value is "gone" is left out."""
    tree = copy.deepcopy(TREE)
    for key, value in values.items():
        node: Any = tree
        *above, last = (int(part) if part.isdecimal() else part for part in key.split("."))
        for name in above:
            node = node[name]
        node[last] = value
        assert value != "gone" or node.pop(last)
    return yaml.safe_dump(tree, sort_keys=False)


def loaded(folder: Path, content: str) -> Params:
    (folder / "params.yaml").write_text(content, encoding="latin-1")
    return load(folder / "params.yaml")


def complaint(folder: Path, content: str) -> str:
    with pytest.raises(ParamsError) as caught:
        loaded(folder, content)
    message = str(caught.value).removeprefix(str(folder / "params.yaml"))
    assert message.startswith((": ", ", line ")) and message.isprintable() and len(message) < 400
    return message


def test_the_committed_file_loads_as_written(tmp_path: Path) -> None:
    params = load(FILE)
    written = params.model_dump(mode="json", exclude_unset=True)
    assert written["arms"]["regularized"]["penalty"] == {"name": "sv_variance", **TREE["penalties"]["sv_variance"]}
    assert {**written, "arms": 0} == {**TREE, "arms": 0} and list(written["arms"]) == list(TREE["arms"])
    assert loaded(tmp_path, "\xef\xbb\xbf" + TEXT.replace("\n", "\r\n")) == params  # as Windows' editors write it


def test_what_arms_share_and_override(tmp_path: Path) -> None:
    penalised = [name for name, arm in TREE["arms"].items() if arm["penalty"]["name"] == "sv_variance"]
    values = {f"penalties.sv_variance.{name}": value for name, value in {"power": SPAN, "steps": 3}.items()}
    values |= {f"arms.{name}.penalty.power": 2 for name in penalised[1:]}
    values |= {"arms.regularized.tune": ["power", "strength", "lr"], "arms.baseline.lr": SPAN}
    params = loaded(tmp_path, changed(values))
    lr, decay, strength = {"lr": (1e-4, 0.1)}, {"weight_decay": (0.01, 3.0)}, {"strength": (0.001, 10.0)}
    baseline, regularized, *others = (arm.ranges(params.tuning.space) for arm in params.arms.values())
    assert (baseline, regularized) == ({"lr": (1.0, 2.0)}, {**lr, **strength, "power": (1.0, 2.0)})
    assert others == [{**lr, **decay}, {**lr, **strength, **decay}, {**lr, "strength": (1e-5, 0.02)}]
    assert list(regularized) == ["lr", "strength", "power"]  # however `tune` orders them
    fixed = [params.arms[name].fixed() for name in ("baseline", "regularized", "weight_decay_regularized")]
    assert repr(fixed) == repr([{}, {"steps": 3}, {"power": 2, "steps": 3}])  # whole numbers stay whole
    # contrasts: those listed, then arms in none of them, by default with the first arm
    assert [list(pair) for pair in load(FILE).contrasts()] == TREE["compare"]["contrasts"]
    new = {"tune": ["lr", "strength"], "penalty": {"name": "l2", "strength": SPAN}}
    params = loaded(tmp_path, changed({"compare.contrasts": [["weight_decay", "regularized"]], "arms.new": new}))
    rest = {"weight_decay_regularized": "weight_decay", "log_det": "baseline", "new": "baseline"}
    assert params.contrasts() == [("weight_decay", "regularized"), *rest.items()]


BROKEN = """
training.epochs | '20' | training.epochs: got '20', expected a valid integer
training.epochs | gone | training.epochs: got nothing, expected a value
training.epoch | 3 | training.epoch: got 3, expected no such key
tuning.space.lr.low | .nan | tuning.space.lr.low: got nan, expected a finite number
tuning.space.lr | {low: 2.0, high: 1.0} | tuning.space.lr: got low = 2.0, high = 1.0; expected high to be at least
arms.a/b | {tune: [lr], penalty: {name: none}} | arms.a/b: got 'a/b', String should match pattern
arms.regularized.reference | gone_too | arms.regularized.reference: got gone_too, expected another of baseline, regular
arms.baseline.reference | baseline | arms.baseline.reference: got baseline, expected another of baseline, regularized
arms.baseline.optimizer | {name: adam, momentum: 0.9} | arms.baseline.optimizer.momentum: got 0.9, expected none
arms.regularized.penalty.name | svv | arms.regularized.penalty.name: got svv, expected one of activ
arms.regularized.penalty.name | [l2] | arms.regularized.penalty.name: got ['l2'], expected a valid string
arms.baseline.penalty.strength | {low: 1.0, high: 2.0} | arms.baseline.penalty: got none, expected no range of strengths
penalties | {} | arms.regularized.penalty: got sv_variance, expected strength: {low, high} with it
penalties.sv_variance.lr | {low: 1.0e-3, high: 2.0} | arms.regularized.penalty: got lr, expected the penalty's own
penalties.sv_variance.power | two | penalties.sv_variance.power: got 'two', expected a
penalties.sv_variance.power | {low: 2.0, high: 1.0} | penalties.sv_variance.power: got low = 2.0, high = 1.0; expected
penalties.sv_variance.power | {low: 1.0, high: 2.0} | arms.regularized.tune: got ['lr', 'strength'], expected each once
arms.regularized.tune | [lr] | arms.regularized.tune: got ['lr'], expected each once: lr, strength, and weight_decay
compare.contrasts.0.1 | base | compare.contrasts: got ['regularized', 'base'], expected two of baseline, regularized
dose_response.settings.1.strengths | [1, 1] | dose_response.settings: got strengths that do not increase
dose_response.settings.1.penalty | svv | dose_response.settings.1.penalty: got svv, expected one of activ
"""


@pytest.mark.parametrize("line", BROKEN.strip().splitlines())
def test_a_broken_setting_is_named(tmp_path: Path, line: str) -> None:
    key, value, expected = line.split(" | ")
    assert complaint(tmp_path, changed({key: yaml.safe_load(value)})).startswith(f": {expected}")


def test_values_are_read_as_dvc_reads_them_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for text in ("1e-5", "1E-5", "1e-05", "1.0e-5", "1e+3", "-2.5", "3", "null", "true", "'1e-5'", "'010'", "e5", "~"):
        path.write_text(f"a: {text}\nb: &x {{low: 1, high: 2}}\nc: {{<<: *x, low: 3}}\n")
        found, expected = read_yaml(path), ruamel.yaml.YAML(typ="safe", pure=True).load(path.read_text())
        assert found == expected and type(found["a"]) is type(expected["a"])
    for text in ("010", "1:30", "yes", "off", "0x1F", "1_000", "2026-01-31", "2026-13-45"):
        expected = f", line 2: got {text}, expected what all YAML readers read alike; quote text, write numbers plainly"
        assert complaint(tmp_path, f"a: 1\nb: {text}\n") == expected


def test_a_file_without_params_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"params\.yaml: got no readable file \(No such file.*\), expected YAML$"):
        load(tmp_path / "params.yaml")
    assert complaint(tmp_path, "a: 1\n'a': 2\n") == ", line 1: got the key a twice, expected each once"
    assert complaint(tmp_path, "a:\n\tb: 1\n") == ", line 2: found character '\\t' that cannot start any token"
    assert complaint(tmp_path, "a: \xff\n").startswith(": 'utf-8' codec can't decode byte 0xff in position 3")
    assert complaint(tmp_path, f"1: 2\n{TEXT}") == ": 1: got 1, Keys should be strings"
