"""What a change runs again, and that going back restores what was."""

import re
import textwrap

import pytest
import yaml

from tests.copies import ALL, ARMS, GATHER, OF_ARM, Copy

pytestmark = [pytest.mark.usefixtures("restored"), pytest.mark.slow]


def test_nothing_changed_nothing_runs(copy: Copy) -> None:
    assert copy.repro() == set()


@pytest.mark.parametrize("name,value", [("margin", 0.02), ("boundary", 0.3), ("level", 0.99)])
def test_a_comparison_param_compares_and_plots_again(copy: Copy, name: str, value: float) -> None:
    params = copy.params()
    params["compare"][name] = value
    copy.write_params(params)
    ran = copy.repro(*([] if name == "margin" else ["--dry"]))
    assert "compare" in ran and ran <= {"compare", "plot"}


def test_a_figure_plots_again(copy: Copy) -> None:
    path = copy.folder / "src/svvr/show/figures/search.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert copy.repro("--dry") == {"plot"}


def test_an_arm_s_setting_runs_that_arm_alone_and_going_back_restores_it(copy: Copy) -> None:
    params, before = copy.params(), copy.results()
    of_arm = {f"{stage}@regularized" for stage in OF_ARM}
    params["arms"]["regularized"]["tune"] = ["lr", "weight_decay", "strength"]
    copy.write_params(params)
    assert {"tune@regularized", "budget@regularized"} <= copy.repro("--dry") <= {*of_arm, *GATHER}
    assert copy.repro("train@regularized") == {"tune@regularized", "train@regularized"}
    assert copy.results() != before
    copy.run("git", "checkout", "-q", "--", "params.yaml")
    output = copy.run("dvc", "repro")
    assert "runs (9 from the cache)" in output and " on 2 workers" not in output
    assert copy.results() == before


def test_the_guide_to_one_s_own_regularizer(copy: Copy) -> None:
    """Follow the README literally: the new arm runs alone; removed again, it is left out."""
    readme = (copy.folder / "README.md").read_text()
    guide = readme[readme.index("## Your own regularizer") :]
    (name,) = re.findall(r"`(src/svvr/penalties/[a-z_]+\.py)`:", guide)
    code, arm = (textwrap.dedent(block) for block in re.findall(r"(?s)```(?:python|yaml)\n(.*?)```", guide)[:2])
    (copy.folder / name).write_text(code)
    params = copy.params()
    params["arms"] |= yaml.safe_load(arm)
    copy.write_params(params)
    assert copy.repro() == {*(f"{stage}@nuclear" for stage in OF_ARM), *GATHER}
    contrasts = [(c["arm"], c["reference"]) for c in copy.json("summary.json")["contrasts"]]
    assert ("nuclear", "baseline") in contrasts
    del params["arms"]["nuclear"]
    copy.write_params(params)
    output = copy.run("dvc", "repro")
    assert set(re.findall(r"Running stage '([^']+)'", output)) <= GATHER
    (command,) = re.findall(r"nuclear is no arm in params\.yaml, .*; to remove them: (rm .*)\n", output)
    copy.run("sh", "-c", command)
    assert not list((copy.folder / "metrics").rglob("nuclear.json")) and copy.repro("--dry") <= GATHER
    assert "nuclear" not in (copy.folder / "metrics/summary.json").read_text()


def test_another_penalty_s_file_touches_no_arm_that_does_not_use_it(copy: Copy) -> None:
    path = copy.folder / "src/svvr/penalties/none.py"
    path.write_text(path.read_text() + "\n# edited\n")
    ran = copy.repro("--dry")
    assert "tune@baseline" in ran
    assert not any("regularized" in stage for stage in ran)


def test_epochs_run_all_but_prepare_and_replicate(copy: Copy) -> None:
    params = copy.params()
    params["training"]["epochs"] = 3
    copy.write_params(params)
    ran = copy.repro("--dry")
    assert ran <= ALL - {"prepare", "replicate"}
    assert {f"{stage}@{arm}" for stage in ("tune", "train", "budget") for arm in ARMS} | {"dose_response"} <= ran
