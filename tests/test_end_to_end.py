"""The whole pipeline on tiny params in a temporary copy of the repository, through dvc itself."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Dask

ROOT = Path(__file__).parents[1]
ARMS = ("baseline", "regularized", "weight_decay", "weight_decay_regularized")
OF_ARM = ("tune", "train", "diagnose")
ALL = {
    "prepare",
    "dose_response",
    "replicate",
    "compare",
    "plot",
    *(f"{stage}@{arm}" for stage in OF_ARM for arm in ARMS),
}
CHROMIUM = shutil.which("chromium")
PNGS = ("comparison", "search", "paired", "links", "spectra", "dose_response", "replication")


def tiny(params: dict[str, Any]) -> dict[str, Any]:
    params["data"]["n_test"] = 100
    params["model"]["hidden"] = [8, 8]
    params["training"] |= {"epochs": 2, "batch_size": 1000}
    params["tuning"] |= {"studies": 3, "trials": 3, "startup_trials": 2}
    params["final"]["seeds"] = 2
    params["diagnose"] |= {"seeds": 1, "probes": 2, "last_epochs": 2}
    params["replicate"] |= {"seeds": 2, "epochs": 2}
    params["dose_response"] |= {"strengths": [0, 0.1], "seeds": 2}
    return params


class Copy:
    """A copy of the repository with tiny params."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split("\0")
        for name in filter(None, names):
            if (ROOT / name).is_file() and not name.startswith(("metrics/", "plots/", "dvc.lock")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        self.write_params(tiny(self.params()))
        self.commit("tiny params")

    def params(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self.folder / "params.yaml").read_text())
        return loaded

    def write_params(self, params: dict[str, Any]) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def commit(self, message: str) -> None:
        if not (self.folder / ".git").exists():
            self.run("git", "init", "-q")
        self.run("git", "add", "-A")
        self.run(
            "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "--allow-empty", "-m", message
        )

    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1"}

    def run(self, *command: str, status: int = 0, **environment: str) -> str:
        result = subprocess.run(
            command, cwd=self.folder, env=self.environment() | environment, capture_output=True, text=True, timeout=300
        )
        output = result.stdout + result.stderr
        assert result.returncode == status, output
        return output

    def make(self, target: str, status: int = 0) -> str:
        """Run a target of make with the environment that runs the tests, instead of a new one."""
        return self.run("make", "--no-print-directory", "-o", ".venv/.installed", target, status=status)

    def repro(self, *arguments: str, **environment: str) -> set[str]:
        """Run `dvc repro` and return the stages that ran."""
        return set(re.findall(r"Running stage '([^']+)'", self.run("dvc", "repro", *arguments, **environment)))

    def results(self) -> dict[str, bytes]:
        files = [
            path for folder in ("metrics", "plots") for path in (self.folder / folder).rglob("*") if path.is_file()
        ]
        names = {str(path.relative_to(self.folder)): path for path in files}
        return {name: path.read_bytes() for name, path in names.items() if "provenance" not in name}

    def json(self, name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / "metrics" / name).read_text())
        return loaded


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    made = Copy(tmp_path_factory.mktemp("copy"))
    assert made.repro() == ALL
    made.commit("results")
    yield made


@pytest.fixture(autouse=True)
def restored(copy: Copy) -> Iterator[None]:
    yield
    copy.run("git", "checkout", "-q", "--", ".")
    copy.run("git", "clean", "-qfd", "--", "metrics", "src")


def test_the_first_run_writes_every_record_and_figure(copy: Copy) -> None:
    for arm in ARMS:
        tune, train = copy.json(f"tune/{arm}.json"), copy.json(f"train/{arm}.json")
        assert [study["study"] for study in tune["studies"]] == [0, 1, 2]
        assert len(train["runs"]) == 6 and all(len(run["validation_loss"]) == 2 for run in train["runs"])
        assert len(copy.json(f"diagnose/{arm}.json")["runs"]) == 3
    hashes = [{(r["seed"], r["initial_weights"]) for r in copy.json(f"train/{arm}.json")["runs"]} for arm in ARMS]
    assert all(each == hashes[0] for each in hashes)
    trained = {r["initial_weights"] for r in copy.json("train/baseline.json")["runs"]}
    rows = {row["row"]: row["runs"] for row in copy.json("replicate.json")["rows"]}
    starts = {name: [run["initial_weights"] for run in runs] for name, runs in rows.items()}
    assert len({run["seed"] for run in rows["baseline"]}) == 2
    assert starts["regularized_fresh"] == starts["baseline"] and not set(starts["baseline"]) & trained
    assert not set(starts["regularized_continued"]) & set(starts["baseline"])  # it starts from trained weights
    firsts = {name: [run["validation_loss"][0] for run in runs] for name, runs in rows.items()}
    assert all(c < f for c, f in zip(firsts["regularized_continued"], firsts["regularized_fresh"], strict=True))
    dose = copy.json("dose_response.json")
    assert dose["strengths"] == [0, 0.1] and all(len(dose["smoothness"][key]) == 2 for key in ("mean", "ci_low"))
    seeds = [{run["seed"] for run in dose["runs"] if run["strength"] == strength} for strength in (0, 0.1)]
    assert seeds[0] == seeds[1] and len(seeds[0]) == 2
    assert {path.stem for path in (copy.folder / "plots").glob("*.png")} == set(PNGS)
    assert copy.json("summary.json")["contrasts"][0]["link"] == "generalisation"


def test_nothing_changed_nothing_runs(copy: Copy) -> None:
    assert copy.repro() == set()


def test_make_repro_ends_with_the_verdicts_and_refuses_a_damaged_lock(copy: Copy) -> None:
    output = copy.make("repro")
    assert "Running stage" not in output
    table = output[output.index("contrast  ") :].splitlines()
    assert len(table) <= 25 and "generalisation" in table[1] and "no verdict" not in table[0]
    lock = copy.folder / "dvc.lock"
    whole = lock.read_text()
    for damaged in ("", "- a list", whole[:40] + "{", whole[: len(whole) // 2].rsplit("md5:", 1)[0]):
        lock.write_text(damaged)
        refused = copy.make("repro", status=2).splitlines()[0]
        expected = "expected what dvc writes; bring it back with: git checkout dvc.lock"
        assert refused == f"dvc.lock: got a damaged file, {expected}"
    lock.write_text(whole)
    before = copy.results()
    params = copy.params()
    params["final"]["seeds"] = 10**9
    copy.write_params(params)
    assert copy.make("repro", status=2).startswith("params.yaml: final.seeds: got 1000000000, expected a whole number")
    assert copy.results() == before


@pytest.mark.parametrize("name", ["a;touch PWNED", "$(touch PWNED)", "../a", "a b"])
def test_a_name_in_params_never_reaches_a_shell(copy: Copy, name: str) -> None:
    params = copy.params()
    params["arms"][name] = params["arms"].pop("weight_decay_regularized")
    copy.write_params(params)
    copy.run("dvc", "repro", "-s", f"tune@{name}", status=255)
    assert not list(copy.folder.rglob("PWNED*"))


def test_make_clean_cache_forgets_finished_runs(copy: Copy) -> None:
    assert list((copy.folder / ".cache/svvr").glob("*/*.npz"))
    copy.make("clean-cache")
    assert not (copy.folder / ".cache/svvr").exists()


def test_make_help_lists_every_target(copy: Copy) -> None:
    targets = re.findall(r"^([a-z-]+):", (copy.folder / "Makefile").read_text(), re.MULTILINE)
    listed = [line.split()[0] for line in copy.make("help").splitlines()]
    assert sorted(targets) == sorted(listed) and len(listed) > 8


def test_recomputing_everything_in_a_clone_gives_the_same_bytes(copy: Copy) -> None:
    output = copy.make("verify")
    assert set(re.findall(r"Running stage '([^']+)'", output)) == ALL
    assert re.search(r"verify: \d+ metrics files agree byte for byte", output)


@pytest.mark.parametrize("name,value", [("margin", 0.02), ("boundary", 0.3), ("level", 0.99)])
def test_a_comparison_param_compares_and_plots_again(copy: Copy, name: str, value: float) -> None:
    params = copy.params()
    params["compare"][name] = value
    copy.write_params(params)
    ran = copy.repro()
    assert "compare" in ran and ran <= {"compare", "plot"}


def test_a_figure_plots_again(copy: Copy) -> None:
    path = copy.folder / "src/svvr/figures.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert copy.repro() == {"plot"}


def test_an_arm_s_setting_runs_that_arm_alone_and_going_back_restores_it(copy: Copy) -> None:
    params, before = copy.params(), copy.results()
    params["arms"]["weight_decay"]["tune"] = ["lr"]
    copy.write_params(params)
    assert copy.repro() == {*(f"{stage}@weight_decay" for stage in OF_ARM), "compare", "plot"}
    copy.run("git", "checkout", "-q", "--", "params.yaml")
    output = copy.run("dvc", "repro")
    assert "is cached - skipping run" in output and "Running stage" not in output
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
    assert copy.repro() == {*(f"{stage}@nuclear" for stage in OF_ARM), "compare", "plot"}
    contrasts = [(c["arm"], c["reference"]) for c in copy.json("summary.json")["contrasts"]]
    assert ("nuclear", "baseline") in contrasts
    del params["arms"]["nuclear"]
    copy.write_params(params)
    output = copy.run("dvc", "repro")
    assert set(re.findall(r"Running stage '([^']+)'", output)) <= {"compare", "plot"}
    assert "nuclear" not in (copy.folder / "metrics/summary.json").read_text()


def test_an_arm_removed_leaves_the_others_alone(copy: Copy) -> None:
    params = copy.params()
    del params["arms"]["weight_decay_regularized"]
    copy.write_params(params)
    refused = copy.run("python", "stages/compare.py", status=1, PYTHONPATH="src")
    assert "compare.contrasts.1: got 'weight_decay_regularized', expected one of the arms" in refused
    params["compare"]["contrasts"] = [["regularized", "baseline"], ["regularized", "weight_decay"]]
    copy.write_params(params)
    output = copy.run("dvc", "repro")
    assert set(re.findall(r"Running stage '([^']+)'", output)) == {"compare", "plot"}
    assert output.count("weight_decay_regularized.json") == 1 and "belongs to no arm" in output
    assert "weight_decay_regularized" not in (copy.folder / "metrics/summary.json").read_text()


def test_the_best_epoch_counts_in_tuning_and_reporting_where_it_is_selected(copy: Copy) -> None:
    params = copy.params()
    params["selection"] = "best_epoch"
    params["training"]["epochs"] = 12
    params["tuning"]["space"]["lr"] = {"low": 0.3, "high": 1.0}  # so high that the loss soon rises
    copy.write_params(params)
    for script in ("tune", "train"):
        copy.run("python", f"stages/{script}.py", "baseline", PYTHONPATH="src")
    trials = [trial for study in copy.json("tune/baseline.json")["studies"] for trial in study["trials"]]
    complete = [trial for trial in trials if trial["state"] == "complete"]
    assert all(trial["losses"] == trial["losses_by_rule"]["best_epoch"] for trial in complete)
    assert any(trial["losses"][0] < trial["losses_by_rule"]["last_epoch"][0] for trial in complete)
    train = copy.json("train/baseline.json")
    assert train["selection"] == "best_epoch"
    runs = [run for run in train["runs"] if run["state"] == "complete"]
    assert all(min(run["validation_loss"]) == run["validation_loss"][run["selected_epoch"] - 1] for run in runs)
    assert any(run["selected_epoch"] < 12 for run in runs)


def test_another_penalty_s_file_touches_no_arm_that_does_not_use_it(copy: Copy) -> None:
    path = copy.folder / "src/svvr/penalties/none.py"
    path.write_text(path.read_text() + "\n# edited\n")
    ran = copy.repro("--dry")
    assert {"tune@baseline", "tune@weight_decay"} <= ran
    assert not any("regularized" in stage for stage in ran)


def test_epochs_run_all_but_prepare(copy: Copy) -> None:
    params = copy.params()
    params["training"]["epochs"] = 3
    copy.write_params(params)
    ran = copy.repro()
    assert ran <= ALL - {"prepare"}
    assert {f"{stage}@{arm}" for stage in OF_ARM for arm in ARMS} | {"compare", "plot", "dose_response"} <= ran


def test_a_clone_shows_that_code_params_and_results_belong_together(copy: Copy, tmp_path: Path) -> None:
    copy.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = object.__new__(Copy)
    clone.folder = tmp_path / "clone"
    assert clone.repro("--allow-missing") == set()
    assert clone.results() == copy.results()
    shown = clone.run("dvc", "metrics", "show")
    assert "regularized_vs_baseline_verdict" in shown and "contrasts" not in shown and "runs" not in shown.split()
    ran = clone.repro()
    assert ran <= {"prepare", *(f"train@{arm}" for arm in ARMS)}
    assert clone.results() == copy.results()


def test_dvc_s_own_commands(copy: Copy) -> None:
    params, before = copy.params(), copy.json("train/baseline.json")["test_loss"]
    params["training"]["epochs"] = 3
    copy.write_params(params)
    assert re.search(r"params\.yaml\s+training\.epochs\s+2\s+3", copy.run("dvc", "params", "diff"))
    copy.repro("train@baseline")
    (row,) = (
        row.split() for row in copy.run("dvc", "metrics", "diff").splitlines()
        if row.startswith("metrics/train/baseline.json") and "test_loss" in row
    )  # fmt: skip
    after = copy.json("train/baseline.json")["test_loss"]
    assert [float(value) for value in row[2:]] == pytest.approx([before, after, after - before], abs=2e-5)
    page = copy.run("dvc", "plots", "show")
    html = (copy.folder / "dvc_plots/index.html").read_text()
    assert "index.html" in page and all(html.count(f"{name}.png</p>") == 1 for name in PNGS)
    assert html.count("vegaEmbed(") == 6 and "http" not in re.sub(r"https://vega\.github\.io/schema", "", html)
    shutil.rmtree(copy.folder / "dvc_plots")
    copy.repro("plot")
    copy.run("dvc", "plots", "diff")
    both = (copy.folder / "dvc_plots/index.html").read_text()
    assert both.count("vegaEmbed(") == 6 and '"rev": "HEAD"' in both and '"rev": "workspace"' in both
    shutil.rmtree(copy.folder / "dvc_plots")
    described = copy.run("dvc", "stage", "list")
    assert all(re.search(rf"^{re.escape(name)}\s+\w.*\.$", described, re.MULTILINE) for name in ALL)


@pytest.mark.skipif(
    not (CHROMIUM or "REQUIRE_CHROMIUM" in os.environ), reason="needs Chromium, as in: apt-get install chromium"
)
def test_every_chart_of_the_page_draws_without_a_network(copy: Copy) -> None:
    copy.run("dvc", "plots", "show")
    page = copy.folder / "dvc_plots/index.html"
    drawn = copy.run(
        CHROMIUM or "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom", page.as_uri(),
    )  # fmt: skip
    shutil.rmtree(copy.folder / "dvc_plots")
    charts = re.findall(r'(?s)<svg [^>]*class="marks".*?</svg>', drawn)
    assert len(charts) == 6
    for chart in charts:
        assert re.search(r'class="mark-(symbol|line|area|rule) role-mark[^"]*"[^>]*>\s*<(path|line) ', chart)
    assert not re.findall(r"CONSOLE.*", drawn)


def test_experiments_set_params_from_the_command_line(copy: Copy) -> None:
    for number, (setting, ran) in enumerate(
        {
            "training.epochs=5": {"tune@baseline"},
            "tuning.space.lr.low=1e-5": {"tune@baseline"},  # dvc writes it as 1e-05, a string to YAML 1.1
            "arms.regularized.penalty.name=orthogonality": {"tune@regularized"},
        }.items()
    ):
        output = copy.run("dvc", "exp", "run", "-S", setting, "--name", f"number{number}", *ran)
        assert set(re.findall(r"Running stage '([^']+)'", output)) == ran
        (key, value), (arm,) = setting.split("="), (each.split("@")[1] for each in ran)
        assert f"{key.split('.')[-1]}: {value.replace('1e-5', '1e-05')}\n" in (copy.folder / "params.yaml").read_text()
        record = copy.json(f"tune/{arm}.json")
        assert record["penalty"] == ("orthogonality" if arm == "regularized" else "none")
        copy.run("git", "checkout", "-q", "--", ".")
    shown = copy.run("dvc", "exp", "show", "--only-changed", "--csv")
    assert all(f"number{number}" in shown for number in range(3)) and "training.epochs" in shown


def test_experiments_in_a_copy_and_in_the_queue_leave_the_workspace_alone(copy: Copy) -> None:
    before = copy.results()
    output = copy.run("dvc", "exp", "run", "--temp", "-S", "training.epochs=4", "--name", "beside", "tune@baseline")
    assert "Running stage 'tune@baseline'" in output
    copy.run("dvc", "exp", "run", "--queue", "-S", "training.epochs=6", "--name", "queued", "tune@baseline")
    copy.run("dvc", "queue", "start")
    try:
        deadline = time.monotonic() + 120
        while "Success" not in (status := copy.run("dvc", "queue", "status")) and time.monotonic() < deadline:
            assert "Failed" not in status
            time.sleep(1)
        assert "Success" in status
    finally:
        copy.run("dvc", "queue", "stop")
    assert copy.results() == before and copy.params()["training"]["epochs"] == 2
    shown = copy.run("dvc", "exp", "show", "--only-changed", "--csv")
    assert "beside" in shown and "queued" in shown


@pytest.mark.parametrize(
    "edit,message",
    [
        (lambda p: p["training"].update(epoch=3), "training.epoch"),
        (lambda p: p["training"].update(epochs="many"), "training.epochs"),
        (lambda p: p["tuning"]["space"]["lr"].update(low=1.0), "tuning.space.lr"),
        (lambda p: p["arms"]["regularized"].update(reference="gone"), "arms.regularized.reference"),
        (lambda p: p["arms"]["regularized"]["penalty"].update(name="gone"), "arms.regularized.penalty.name"),
    ],
)
def test_bad_params_are_one_line_and_touch_no_result(copy: Copy, edit: Any, message: str) -> None:
    before, params = copy.results(), copy.params()
    edit(params)
    copy.write_params(params)
    for script in (("stages/tune.py", "baseline"), ("stages/compare.py",)):
        output = copy.run("python", *script, status=1, PYTHONPATH="src")
        assert message in output and "Traceback" not in output and len(output.splitlines()) == 1
    assert copy.results() == before


@pytest.mark.parametrize(
    "stage,name",
    [
        ("train", "data/dev.npz"),
        ("train", "data/test.npz"),
        ("train", "metrics/tune/baseline.json"),
        ("diagnose", "data/weights/baseline.npz"),
        ("diagnose", "metrics/train/baseline.json"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"foreign", None])
def test_a_damaged_input_is_one_line(copy: Copy, stage: str, name: str, content: bytes | None) -> None:
    path, output_of = copy.folder / name, copy.folder / f"metrics/{stage}/baseline.json"
    whole, before = path.read_bytes(), output_of.read_bytes()
    path.unlink()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    try:
        output = copy.run("python", f"stages/{stage}.py", "baseline", status=1, PYTHONPATH="src")
        assert name in output and "Traceback" not in output and len(output.splitlines()) == 1
        assert output_of.read_bytes() == before
    finally:
        path.write_bytes(whole)


def descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return children + [one for child in children for one in descendants(child)]


def until_training(process: subprocess.Popen[str]) -> None:
    """Wait until a stage below a process, or the process itself, has started its workers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        family = [process.pid, *descendants(process.pid)]
        if any(len([1 for pid in descendants(each) if b"stages/" in command_of(pid)]) > 1 for each in family):
            time.sleep(0.5)
            assert process.poll() is None
            return
        assert process.poll() is None
        time.sleep(0.1)
    raise AssertionError("no worker started within 60 s")


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_weights_of_another_arm_are_refused(copy: Copy) -> None:
    path = copy.folder / "data/weights/baseline.npz"
    whole, before = path.read_bytes(), copy.results()
    path.unlink()
    path.write_bytes((copy.folder / "data/weights/weight_decay.npz").read_bytes())
    try:
        for script, message in (
            (("diagnose.py", "baseline"), "weights of study 0, seed "),
            (("compare.py",), "test losses of arm baseline: got others than"),
        ):
            output = copy.run("python", f"stages/{script[0]}", *script[1:], status=1, PYTHONPATH="src")
            assert message in output and len(output.splitlines()) == 1
        assert copy.results() == before
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("lr", [1e6, 1e30])
def test_a_training_that_leads_nowhere_is_recorded(copy: Copy, lr: float) -> None:
    """A dead network's Hessian is zero, and a diverged one's is not a number: neither ends the stage."""
    params = copy.params()
    params["dose_response"]["lr"] = lr
    copy.write_params(params)
    copy.run("python", "stages/dose_response.py", PYTHONPATH="src")
    dose = copy.json("dose_response.json")
    assert len(dose["runs"]) == 4
    for run in dose["runs"]:
        assert run["state"] in ("complete", "failed") and (run["smoothness"] is None) == (run["state"] == "failed")
    assert any("reason" in run for run in dose["runs"]) and None in dose["smoothness"]["mean"]
    copy.run("python", "stages/plot.py", PYTHONPATH="src")


def test_a_params_file_edited_while_a_stage_runs_is_not_recorded(copy: Copy) -> None:
    params = copy.params()
    params["training"]["epochs"] = 1500
    copy.write_params(params)
    process = subprocess.Popen(
        ["dvc", "repro", "-s", "tune@baseline"], cwd=copy.folder, env=copy.environment() | {"SVVR_CACHE": "off"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    until_training(process)
    params["training"]["epochs"] = 3
    copy.write_params(params)
    output = process.communicate(timeout=120)[0]
    assert process.returncode != 0 and "params.yaml changed while the stage ran" in output
    assert "epochs: 1500" not in (copy.folder / "dvc.lock").read_text()


@pytest.mark.parametrize("name", ["src/svvr/penalties/sv_variance.py", "stages/tune.py", "src/svvr/optimizer.py"])
def test_code_edited_while_a_stage_runs_is_neither_recorded_nor_kept(copy: Copy, name: str) -> None:
    params = copy.params()
    params["training"]["epochs"] = 800
    copy.write_params(params)
    process = subprocess.Popen(
        ["dvc", "repro", "-s", "tune@regularized"], cwd=copy.folder, env=copy.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    until_training(process)
    path = copy.folder / name
    code = path.read_text()
    path.write_text(code.replace("BETA1, BETA2 = 0.9", "BETA1, BETA2 = 0.5") + "\n")
    output = process.communicate(timeout=120)[0]
    assert process.returncode != 0 and f"{Path(name).name} changed while the stage ran; run it again" in output
    assert output.splitlines()[-1].startswith("ERROR") and "git checkout -- metrics plots" in output
    if "optimizer" in name:  # the code that ran is not that of the file now: the cache must not say so
        copy.run("dvc", "repro", "-s", "tune@regularized")
        kept = copy.json("tune/regularized.json")
        copy.run("dvc", "repro", "-f", "-s", "tune@regularized", SVVR_CACHE="off")
        assert copy.json("tune/regularized.json") == kept


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_stage_ends_with_dvc_whatever_the_shell(copy: Copy, shell: str) -> None:
    params = copy.params()
    params["training"]["epochs"] = 3000
    copy.write_params(params)
    parent = subprocess.Popen(
        ["dvc", "repro", "-s", "tune@baseline"], cwd=copy.folder, env=copy.environment() | {"SHELL": shell}, text=True
    )
    until_training(parent)
    family = descendants(parent.pid)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 3
    while any(b"stages/" in command_of(pid) for pid in family) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(family) >= 3 and not any(b"stages/" in command_of(pid) for pid in family)


def stage_in_flight(copy: Copy, **environment: str) -> subprocess.Popen[str]:
    params = copy.params()
    params["training"]["epochs"] = 3000
    copy.write_params(params)
    process = subprocess.Popen(
        ["python", "stages/tune.py", "baseline"], cwd=copy.folder, text=True,
        env=copy.environment() | {"PYTHONPATH": "src"} | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    until_training(process)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_stage_at_once_with_a_line(copy: Copy, number: signal.Signals) -> None:
    process = stage_in_flight(copy)
    process.send_signal(number)
    output = process.communicate(timeout=2)[0]
    assert process.returncode == 128 + number
    assert output.splitlines()[-1] == (
        f"tune@baseline: stopped by {number.name}; finished runs are kept; go on with `dvc repro`"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_stage_still_imports_is_a_line_too(copy: Copy, number: signal.Signals) -> None:
    process = subprocess.Popen(
        ["python", "stages/tune.py"], cwd=copy.folder, text=True, stderr=subprocess.PIPE,
        env=copy.environment() | {"PYTHONPATH": "src", "DVC_STAGE": "tune@baseline"},
    )  # fmt: skip
    while b"tune.py" not in command_of(process.pid) or not imported(process.pid, "numpy"):
        time.sleep(0.01)
    process.send_signal(number)
    assert process.communicate(timeout=2)[1] == (
        f"tune@baseline: stopped by {number.name}; finished runs are kept; go on with `dvc repro`\n"
    )
    assert process.returncode == 128 + number


def imported(pid: int, package: str) -> bool:
    return f"/{package}/" in Path(f"/proc/{pid}/maps").read_text()


def test_stages_killed_at_random_moments_resume_with_the_same_bytes(copy: Copy) -> None:
    """20 kills over tune, train and diagnose, from an empty cache; then each is run to its end."""
    before = copy.results()
    shutil.rmtree(copy.folder / ".cache/svvr")
    rng = random.Random(0)
    for number in range(20):
        script = f"stages/{('tune', 'train', 'diagnose')[number % 3]}.py"
        process = subprocess.Popen(
            ["python", script, "regularized"], cwd=copy.folder, env=copy.environment() | {"PYTHONPATH": "src"},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(rng.uniform(0.2, 2.5))
        process.kill()
        process.wait()
    for stage in OF_ARM:
        copy.run("python", f"stages/{stage}.py", "regularized", PYTHONPATH="src")
    assert copy.results() == before
    ignored = copy.run("git", "status", "--porcelain", "--", "metrics")
    assert "tmp" not in ignored


def test_dvc_killed_with_its_stage_resumes_with_the_same_lock(copy: Copy) -> None:
    command = ["dvc", "repro", "-f", "-s", "tune@regularized"]
    params = copy.params()
    params["training"]["epochs"] = 300
    copy.write_params(params)
    copy.run(*command)
    lock, results = (copy.folder / "dvc.lock").read_bytes(), copy.results()
    copy.run("git", "checkout", "-q", "--", "dvc.lock", "metrics")
    shutil.rmtree(copy.folder / ".cache/svvr")
    process = subprocess.Popen(
        command, cwd=copy.folder, env=copy.environment(), start_new_session=True, stdout=subprocess.DEVNULL, text=True
    )
    until_training(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (copy.folder / "dvc.lock").read_bytes() != lock
    copy.run(*command)
    assert (copy.folder / "dvc.lock").read_bytes() == lock and copy.results() == results


def test_a_cluster_writes_the_bytes_of_the_local_run(copy: Copy, dask: Dask) -> None:
    before = copy.results()
    for script in ("tune", "train", "diagnose"):
        copy.run(
            "python", f"stages/{script}.py", "regularized",
            PYTHONPATH="src", SVVR_CACHE="off", SVVR_SCHEDULER=dask.address,
        )  # fmt: skip
    assert copy.results() == before


def test_a_scheduler_that_is_not_there_is_one_line(copy: Copy) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    copy.run("rm", "-rf", ".cache/svvr")
    output = copy.run(
        "python", "stages/tune.py", "baseline", status=1,
        PYTHONPATH="src", SVVR_SCHEDULER=address, DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="1s",
    )  # fmt: skip
    assert output == f"tune@baseline: SVVR_SCHEDULER: got '{address}', expected a scheduler that answers\n"


def test_a_diverging_arm_is_recorded_as_failed_and_gets_no_verdict(copy: Copy) -> None:
    tune = copy.folder / "metrics/tune/regularized.json"
    record = json.loads(tune.read_text())
    study = record["studies"][1]
    for trial in study["trials"]:
        if trial["params"] == study["best"]:
            trial["params"]["lr"] = study["best"]["lr"] = 1e30
            break
    tune.write_text(json.dumps(record))
    for script in (("train.py", "regularized"), ("diagnose.py", "regularized"), ("compare.py",)):
        copy.run("python", f"stages/{script[0]}", *script[1:], PYTHONPATH="src")
    train = copy.json("train/regularized.json")
    failed = [run for run in train["runs"] if run["state"] == "failed"]
    assert train["n_failed"] == len(failed) == 2 and all(run["test_loss"] is None for run in failed)
    first = copy.json("summary.json")["contrasts"][0]
    assert first["verdict"] == "no verdict" and "study 1" in first["sentence"]


def test_a_study_without_a_complete_trial_is_one_line(copy: Copy) -> None:
    params = copy.params()
    params["tuning"]["space"]["lr"] = {"low": 1.0e29, "high": 1.0e30}
    copy.write_params(params)
    output = copy.run("python", "stages/tune.py", "baseline", status=1, PYTHONPATH="src")
    assert output.splitlines()[-1] == (
        "tune@baseline: arm baseline, study 0: all 3 trials failed, expected at least one to converge"
    )
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "body,message",
    [
        ("return W.sum()", r"penalty 'mine': got a value of shape \(\), expected \(\d+,\)"),
        ("return (W.sum((-2, -1)) * 0 - 1).sqrt()", "penalty 'mine': got a gradient that is not finite at finite"),
    ],
)
def test_a_penalty_that_does_not_work_is_one_line(copy: Copy, body: str, message: str) -> None:
    (copy.folder / "src/svvr/penalties/mine.py").write_text(f"def penalty(W):\n    {body}\n")
    params = copy.params()
    strength = {"low": 0.1, "high": 1.0}
    params["arms"]["mine"] = {"tune": ["lr", "strength"], "penalty": {"name": "mine", "strength": strength}}
    copy.write_params(params)
    output = copy.run("python", "stages/tune.py", "mine", status=1, PYTHONPATH="src")
    assert re.fullmatch(f"tune@mine: {message}.*\n", output), output


def test_an_output_that_cannot_be_written_is_one_line(copy: Copy) -> None:
    shutil.rmtree(copy.folder / "metrics/tune")
    (copy.folder / "metrics/tune").write_text("a file in the folder's place")
    try:
        output = copy.run("python", "stages/tune.py", "baseline", status=1, PYTHONPATH="src")
        assert "metrics/tune/baseline.json: cannot be written" in output and "Traceback" not in output
    finally:
        (copy.folder / "metrics/tune").unlink()


@pytest.mark.parametrize(
    "name,edit,message",
    [
        ("train/regularized.json", lambda r: r["runs"].pop(), "regularized"),
        ("train/regularized.json", lambda r: r.update(arm="baseline"), "arm: got 'baseline', expected 'regularized'"),
        ("train/baseline.json", lambda r: r["runs"][0].update(seed=1), "seed"),
        ("train/baseline.json", lambda r: r["runs"][0].update(initial_weights="trained"), "initial weights"),
        ("diagnose/baseline.json", lambda r: r["runs"][0].update(smoothness="flat"), "smoothness"),
        ("tune/baseline.json", lambda r: r["studies"][0]["trials"].pop(), "trials"),
    ],
)
def test_a_tampered_record_is_one_line(copy: Copy, name: str, edit: Any, message: str) -> None:
    path, before = copy.folder / "metrics" / name, (copy.folder / "metrics/summary.json").read_bytes()
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))
    output = copy.run("python", "stages/compare.py", status=1, PYTHONPATH="src")
    assert message in output and "Traceback" not in output and len(output.splitlines()) == 1
    assert (copy.folder / "metrics/summary.json").read_bytes() == before
