"""What the figures show, that nothing of it is cut silently, and that their bytes depend on the records alone."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from svvr.report import replication, style, text
from tests.report import made

FAR = {"ci_low": -60.0, "ci_high": 4321.0, "equivalence_ci_low": -50.0, "equivalence_ci_high": 3210.0}


@pytest.mark.parametrize("name", made.FIGURES)
@pytest.mark.parametrize(("n", "failed"), [(1, True), pytest.param(12, True, marks=pytest.mark.slow)])
def test_every_figure_is_drawn_inside_its_page_without_overlaps(n: int, failed: bool, name: str) -> None:
    figure = made.figure(name, n, failed)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    page, drawn = figure.bbox, figure.get_tightbbox(renderer).transformed(figure.dpi_scale_trans)
    assert drawn.x0 > -1 and drawn.y0 > -1 and drawn.x1 < page.x1 + 1 and drawn.y1 < page.y1 + 1, name
    found = [t for ax in figure.axes for t in (ax.title, ax.xaxis.label, ax.yaxis.label) if t.get_text()]
    found += [t for legend in figure.legends for t in legend.get_texts()]
    for one, other in itertools.combinations(found, 2):
        boxes = [each.get_window_extent(renderer).padded(-1) for each in (one, other)]
        assert not boxes[0].overlaps(boxes[1]), f"{name}: {one.get_text()} and {other.get_text()}"


def test_a_replication_that_was_left_out_says_so() -> None:
    assert "left out: the published comparison is of MNIST-1D" in all_text(
        replication.draw(pd.DataFrame(), pd.DataFrame())
    )


@pytest.mark.slow
def test_bytes_depend_on_the_records_alone(tmp_path: Path) -> None:
    rc = tmp_path / "matplotlibrc"
    rc.write_text("font.size: 30\nfigure.facecolor: black\naxes.facecolor: black\npatch.linewidth: 5\n")
    for name in made.FIGURES:
        style.save(made.figure(name, 2), tmp_path / "plain.png")
        with matplotlib.rc_context(fname=rc):
            style.save(made.figure(name, 2), tmp_path / "hostile.png")
        content = (tmp_path / "plain.png").read_bytes()
        assert content == (tmp_path / "hostile.png").read_bytes()
        assert b"Software" not in content and b"tIME" not in content


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("name", made.CONTRASTS)
def test_intervals_are_whole_or_end_in_an_arrow_with_their_number(name: str, far: bool) -> None:
    summary = made.records(5)
    for row in [*summary["contrasts"][:2], summary["budget_verdicts"][0], summary["budget"][63]] if far else []:
        row |= FAR
    figure = made.figure(name, 5, summary=summary)
    texts = all_text(figure)
    for ax, low, high in drawn_intervals(name, figure, summary):
        limits: Any = ax.get_ylim() if name in ("paired", "budget") else ax.get_xlim()
        at = np.log1p if name == "links" else lambda share: 100 * share
        ends = [at(low / 100), at(high / 100)]
        drawn = [ends_of(artist) for artist in ax.get_children() if artist.get_gid() in ("ci", "studies")]
        assert any(np.allclose(np.clip(each, *limits), np.clip(ends, *limits)) for each in drawn)
        for end, percent in zip(ends, (low, high), strict=True):
            assert limits[0] <= end <= limits[1] or style.signed(percent) in texts
    arrows = {line.get_marker() for ax in figure.axes for line in ax.get_lines() if line.get_gid() == "cut"}
    assert bool(arrows & {">", "^"}) == far and (style.signed(FAR["ci_high"]) in texts) == far


def drawn_intervals(name: str, figure: Figure, summary: dict[str, Any]) -> Iterator[tuple[Axes, float, float]]:
    """Yield the panel and the ends of each interval in per cent."""
    first = [row for row in summary["contrasts"] if row["link"] == "generalisation"]
    if name == "links":
        order = [row["link"] for row in summary["contrasts"][:4]]
        pairs = [(figure.axes[order.index(row["link"])], row) for row in summary["contrasts"]]
    elif name == "forest":
        pairs = [(figure.axes[0], row) for row in [*first, *summary["budget_verdicts"][::2]]]
    else:
        pairs = list(zip(figure.axes, first, strict=True))
    yield from ((ax, row["ci_low"], row["ci_high"]) for ax, row in pairs)


def ends_of(interval: Any) -> npt.NDArray[np.float64]:
    if isinstance(interval, Rectangle):
        return np.array([interval.get_y(), interval.get_y() + interval.get_height()])
    return np.asarray(interval.get_xdata() if interval.get_gid() == "ci" else interval.get_ydata(), dtype=float)


def all_text(figure: Figure) -> list[str]:
    """Return every text of a figure, in lines."""
    return [line for each in figure.findobj(Text) for line in each.get_text().replace("\xa0", " ").splitlines()]


@pytest.mark.parametrize("name", made.CONTRASTS)
def test_each_row_has_its_verdict_and_a_decided_effect_may_lie_within_the_margin(name: str) -> None:
    summary = made.records(5)
    entries = [row for row in summary["contrasts"] if name == "links" or row["link"] == "generalisation"]
    found = " ".join(all_text(made.figure(name, 5)))
    assert "better, within the margin" in found
    for word in {text.verdict(row) for row in entries}:
        assert found.count(word) >= sum(text.verdict(row) == word for row in entries)


def test_sixteen_arms_look_different_and_dose_response_has_colours_of_its_own() -> None:
    looks = style.looks(made.arms(16)).values()
    assert len({(look["color"], look["linestyle"]) for look in looks}) == 16
    assert "--" not in {look["linestyle"] for look in looks}
    assert not {line.get_color() for line in made.figure("dose_response", 2).axes[0].get_lines()} & set(style.COLORS)


def y_of(line: Line2D) -> npt.NDArray[np.float64]:
    return np.asarray(line.get_ydata(), dtype=float)


def test_curves_spectra_and_trials_are_those_of_the_record() -> None:
    upper, lower = made.figure("comparison", 2).axes
    curves = made.curves(2).pivot_table("validation_loss", ["epoch", "study", "seed"], "arm")
    assert np.allclose(y_of(upper.get_lines()[0]), curves["baseline"].groupby("epoch").mean())
    ratios = (curves["regularized"] / curves["baseline"]).map(np.log).groupby("epoch").mean()
    assert np.allclose(y_of(lower.get_lines()[1]), 100 * np.expm1(ratios))
    spectrum = made.figure("spectra", 2).axes[0]
    assert spectrum.get_yscale() == "log" and spectrum.get_xlim()[0] == 1 and 1 in spectrum.get_xticks()
    assert [line.get_linestyle() for line in spectrum.get_lines()] == ["--", "-", "-"]
    trials = made.trials(2, failed=True)
    marks = {line.get_gid(): line for line in made.figure("search", 2, True).axes[0].get_lines()}
    mine = trials[trials["arm"] == "baseline"]
    np.testing.assert_array_equal(marks["|"].get_xdata(), mine.loc[mine["winner"], "lr"])
    np.testing.assert_array_equal(marks["x"].get_xdata(), mine.loc[mine["validation_loss"].isna(), "lr"])


def test_labels_say_what_is_meant() -> None:
    words = {name: " ".join(all_text(made.figure(name, 5, failed=True))) for name in made.FIGURES}
    assert "random search, 20 trials" in words["forest"] and "random search, 64 trials" in words["budget"]
    assert "logarithmic" in words["links"] and "98.3 %" in words["links"] and "caps" in words["links"]
    assert "continued (epochs 21 to 40)" in words["replication"] and "published 1.198" in words["replication"]
    assert "1 run failed" in words["comparison"] and "18 runs failed" in words["comparison"]
    assert all("used for tuning" in words[name] for name in ("comparison", "search", "replication"))
    assert "nats per example" in words["dose_response"] and "a run failed" in words["paired"]
    zero = made.figure("dose_response", 1).axes[2]
    assert zero.get_xticklabels()[0].get_text() == "0" and zero.get_xticks()[0] == 0


def test_all_pairs_are_in_sight_and_a_common_reference_gives_a_common_scale() -> None:
    axes = made.figure("paired", 5).axes
    assert axes[0].get_ylim() == axes[3].get_ylim() and axes[1].get_ylim() == axes[2].get_ylim() != axes[0].get_ylim()
    for ax in axes:
        heights = np.concatenate(
            [np.asarray(mark.get_offsets())[:, 1] for mark in ax.collections if mark.get_gid() == "pair"]
        )
        low, high = ax.get_ylim()
        assert len(heights) == made.STUDIES * made.SEEDS and low < heights.min() and heights.max() < high
