"""Figures depend on their data alone: neither a user's settings nor the order of arms shows in them."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from matplotlib.lines import Line2D

from svvr.core.files import RecordError
from svvr.show import figures, style
from tests.show import made

ROOT = Path(__file__).parents[2]
SETTINGS = """\
font.size: 30
axes.facecolor: black
axes.spines.left: False
lines.linewidth: 9
savefig.dpi: 20
text.usetex: True
"""
SCRIPT = """\
import sys
from pathlib import Path
from tests.show import made
made.write_figures(Path(sys.argv[1]))
"""


@pytest.mark.no_cover  # many rounds through lines that other tests meet too
def test_no_setting_of_the_user_changes_a_byte(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(SETTINGS)
    user = {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "MPLBACKEND": "nonsense"}
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "theirs")]
    subprocess.run(command, env=os.environ | user | path, check=True, cwd=tmp_path)
    made.write_figures(tmp_path / "ours")
    names = sorted(path.name for path in (tmp_path / "ours").iterdir())
    assert len(names) == len(made.EVERY)
    for name in names:
        content = (tmp_path / "ours" / name).read_bytes()
        assert content.startswith(b"\x89PNG") and b"Software" not in content and b"Matplotlib" not in content
        assert (tmp_path / "theirs" / name).read_bytes() == content, name


def test_drawing_leaves_the_settings_as_they_were(tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        figure = figures.paired(made.summary())
        figures.save(figure, tmp_path / "a.png")
        assert dict(matplotlib.rcParams) == before
    figures.save(figure, tmp_path / "b/again.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b/again.png").read_bytes()


def test_a_figure_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "plots").write_text("a file where a folder should be")
    with pytest.raises(RecordError, match=r"a\.png: cannot be written"):
        figures.save(figures.paired(made.summary(("baseline",))), tmp_path / "plots/a.png")


def test_an_arm_keeps_its_colour() -> None:
    colors = style.colors(made.SIX)
    assert len(set(colors.values())) == 6
    assert style.colors(reversed(made.ARMS)) == {arm: colors[arm] for arm in made.ARMS}
    assert style.colors(["spectral_norm", "baseline"]) == {arm: colors[arm] for arm in ("spectral_norm", "baseline")}
    many = style.colors(f"arm{i}" for i in range(20))
    assert set(many.values()) == set(style.FURTHER)


@pytest.mark.parametrize(
    "values,ticks",
    [
        ([], {}),
        ([0.002, 3.0], {0.01: "$10^{-2}$", 0.1: "$10^{-1}$", 1.0: "$10^{0}$"}),
        ([0.2, 0.6], {0.2: "0.2", 0.6: "0.6"}),
        ([0.2, 0.21], {0.2: "0.2"}),
    ],
)
def test_ticks_of_a_logarithmic_axis(values: list[float], ticks: dict[float, str]) -> None:
    assert style.decades(values) == pytest.approx(ticks)


@pytest.mark.parametrize(
    "n,labels",
    [(1, ["1"]), (2, ["1", "2"]), (24, ["1", "2", "5", "10", "24"]), (64, ["1", "2", "5", "10", "20", "64"])],
)
def test_an_axis_of_trials_ends_with_their_number(n: int, labels: list[str]) -> None:
    _, (ax,) = style.panels(1, 1, 4.0)
    style.trials_axis(ax, n)
    assert [text.get_text() for text in ax.get_xticklabels()] == labels
    assert ax.get_xscale() == "log" and ax.get_xlim()[0] < 1 and n < ax.get_xlim()[1]


@pytest.mark.parametrize(
    "values,head,limits",
    [
        ([1.0, 3.0, float("nan")], 0.0, (0.9, 3.1)),
        ([1.0, 3.0], 0.5, (0.9, 5.2)),
        ([2.0], 0.0, (1.9, 4.1)),
        ([], 0.0, (0, 1)),
    ],
)
def test_an_axis_reaches_around_what_is_to_be_seen(
    values: list[float], head: float, limits: tuple[float, float]
) -> None:
    _, (ax,) = style.panels(1, 1, 4.0)
    style.limits(ax, values, head)
    assert ax.get_ylim() == pytest.approx(limits)


@pytest.mark.parametrize(
    "low,high,labels",
    [
        (0.984, 1.107, ["0", "+5", "+10"]),
        (0.8, 1.11, ["\u221220", "\u221210", "0", "+10"]),
        (0.007, 1.3, ["\u221299", "\u221290", "\u221250", "0"]),
        (0.0009, 11.5, ["\u221299.9", "\u221299", "\u221290", "0", "+900"]),
    ],
)
def test_ratios_are_labelled_in_per_cent(low: float, high: float, labels: list[str]) -> None:
    ticks = style.percents(low, high)
    assert list(ticks.values()) == labels
    assert [f"{100 * (ratio - 1):+.4g}".replace("-", "\u2212") for ratio in ticks if ratio != 1] == [
        label for label in labels if label != "0"
    ]


def test_a_long_legend_makes_the_figure_higher() -> None:
    heights = []
    for n in (2, 12):
        figure, _ = style.panels(1, 1, 4.0)
        style.legend(figure, [Line2D([], [], label=made.SIX[-1].replace("_", " "))] * n)
        heights.append(figure.get_figheight())
        (legend,) = figure.legends
        assert all("\n" in text.get_text() for text in legend.get_texts())
    assert heights[0] == 4.0 < heights[1]
