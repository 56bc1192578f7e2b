"""The commands of make and of dvc itself: verdicts, diffs, figures, experiments, the queue."""

import contextlib
import json
import os
import re
import shlex
import signal
import time

import pytest

from tests.copies import ALL, ROOT, Copy

pytestmark = [pytest.mark.usefixtures("restored"), pytest.mark.slow]


def test_make_repro_ends_with_the_verdicts_and_refuses_a_damaged_lock(copy: Copy) -> None:
    output = copy.make("repro")
    assert "Running stage" not in output and "dvc push" not in output
    table = output[output.index("contrast  ") :].splitlines()
    named = [line for line in table if "  generalisation  " in line]
    assert len(named) == len(copy.params()["compare"]["contrasts"]) and output.count("contrast  ") == 1
    lock = copy.folder / "dvc.lock"
    whole = lock.read_text()
    for damaged in ("", "- a list", whole[:40] + "{", whole[: whole.index("cmd:") + 2]):
        lock.write_text(damaged)
        refused = copy.make("repro", status=2).splitlines()[0]
        expected = "expected what dvc writes; bring it back with: git checkout -- dvc.lock"
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
    params["arms"][name] = params["arms"].pop("regularized")
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


def test_dvc_shows_what_changed_in_params_metrics_and_figures(copy: Copy) -> None:
    name = "metrics/verdicts/regularized_vs_baseline.json"
    page = copy.run("dvc", "plots", "show")
    html = (copy.folder / "dvc_plots/index.html").read_text()
    pngs = [path.name for path in (copy.folder / "plots").glob("*.png")]
    assert "index.html" in page and len(pngs) == 8 and all(html.count(f"{png}</p>") == 1 for png in pngs)
    assert html.count("vegaEmbed(") == 8 and "<script src" not in html
    params, before = copy.params(), json.loads((copy.folder / name).read_text())
    params["compare"]["level"] = 0.99
    copy.write_params(params)
    assert re.search(r"params\.yaml\s+compare\.level\s+0\.95\s+0\.99", copy.run("dvc", "params", "diff"))
    copy.repro("plot")
    after = json.loads((copy.folder / name).read_text())
    assert after["ci_low"] < before["ci_low"] and after["effect_percent"] == before["effect_percent"]
    shown, changed = (copy.run("dvc", "metrics", command).splitlines() for command in ("show", "diff"))
    assert shown[0].split() == ["Path", "ci_high", "ci_low", "effect_percent", "verdict"] and len(shown) == 2
    (row,) = (line.split() for line in changed if line.startswith(name) and "ci_low" in line)
    found = [before["ci_low"], after["ci_low"], after["ci_low"] - before["ci_low"]]
    assert [float(value) for value in row[2:]] == pytest.approx(found, abs=2e-5)
    assert all(len(line) <= 160 for line in [*shown, *changed])
    copy.run("dvc", "plots", "diff")
    both = (copy.folder / "dvc_plots/index.html").read_text()
    assert both.count("vegaEmbed(") == 8 and '"rev": "HEAD"' in both and '"rev": "workspace"' in both


def test_every_stage_is_described(copy: Copy) -> None:
    described = copy.run("dvc", "stage", "list")
    assert all(re.search(rf"^{re.escape(name)}\s+\w.*\.$", described, re.MULTILINE) for name in ALL)


def test_experiments_set_params_from_the_command_line(copy: Copy) -> None:
    for number, (setting, ran) in enumerate(
        {
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
    assert all(f"number{number}" in shown for number in range(2)) and "tuning.space.lr.low" in shown


def of_readme(start: str) -> list[str]:
    """Return the command of README.md that begins so, in words."""
    (line,) = (line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(start))
    return shlex.split(line)


def test_experiments_in_a_copy_and_in_the_queue_leave_the_workspace_alone(copy: Copy) -> None:
    before = copy.results()
    output = copy.run("dvc", "exp", "run", "--temp", "-S", "training.epochs=4", "--name", "beside", "tune@baseline")
    assert "Running stage 'tune@baseline'" in output
    for epochs in (6, 7):
        setting, name = f"training.epochs={epochs}", f"queued-{epochs}"
        copy.run("dvc", "exp", "run", "--queue", "-S", setting, "--name", name, "tune@baseline")
    try:
        copy.run("dvc", "queue", "start", "-j", "2")
        deadline = time.monotonic() + 120
        while (status := copy.run("dvc", "queue", "status")).count("Success") < 2 and time.monotonic() < deadline:
            assert "Failed" not in status
            time.sleep(1)
        assert status.count("Success") == 2
    finally:
        copy.run("dvc", "queue", "stop")
        for worker in (copy.folder / ".dvc/tmp/exps/celery").glob("*.pid"):
            with contextlib.suppress(ProcessLookupError):  # of two that end at once, one may miss the message to end
                os.kill(int(worker.read_text()), signal.SIGKILL)
    assert copy.results() == before and copy.params()["training"]["epochs"] == 2
    shown = copy.run(*of_readme("dvc exp show"))
    assert all(name in shown for name in ("beside", "queued-6", "queued-7"))
    assert max(map(len, shown.splitlines())) <= 160
