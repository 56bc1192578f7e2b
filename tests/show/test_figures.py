"""What is drawn, what is written on it, and that no text hides another."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from svvr.show import bands, figures, style
from tests.show import made

METRICS = Path(__file__).parents[2] / "metrics"
NO_VERDICT = ["no verdict"]
UNUSUAL: dict[str, Callable[[], Figure]] = {
    "budget_as_shipped": lambda: figures.budget(made.summary(trials=20, most=64)),
    "budget_smoke": lambda: figures.budget(one_study()),
    "budget_unknown": lambda: figures.budget(made.summary(known=False)),
    "budget_one": lambda: figures.budget(made.summary(made.ARMS[:2], trials=20, most=64)),
    "budget_six": lambda: figures.budget(made.summary(made.SIX, trials=20, most=48)),
    "budget_none": lambda: figures.budget(made.summary(("baseline",))),
    "budget_steep": lambda: figures.budget(steep()),
    "comparison_one_epoch": lambda: figures.comparison(made.source(studies=1, seeds=1, epochs=1)),
    "comparison_six": lambda: figures.comparison(made.source(made.SIX, studies=2, failed=[(made.SIX[-1], 0, 0)])),
    "comparison_all_failed": lambda: figures.comparison(made.source(("baseline",), 1, 1, failed=[("baseline", 0, 0)])),
    "search_one_trial": lambda: figures.search(made.source(studies=1, trials=1), made.summary(trials=1, most=2)),
    "search_all_failed": lambda: figures.search(made.source(trials=2, dead=2), made.summary(known=False)),
    "search_many": lambda: figures.search(made.source(studies=24), made.summary(trials=20, most=64)),
    "search_six": lambda: figures.search(made.source(made.SIX), None),
    "paired_one_study": lambda: figures.paired(made.summary(studies=1, seeds=1)),
    "paired_failed": lambda: figures.paired(made.summary(verdicts=NO_VERDICT)),
    "paired_six": lambda: figures.paired(made.summary(made.SIX, studies=24)),
    "paired_none": lambda: figures.paired(made.summary(("baseline",))),
    "links_failed": lambda: figures.links(made.summary(verdicts=NO_VERDICT)),
    "links_six": lambda: figures.links(made.summary(made.SIX)),
    "links_none": lambda: figures.links(made.summary(("baseline",))),
    "links_far": lambda: figures.links(far()),
    "spectra_one_layer": lambda: figures.spectra(made.source(seeds=1, ks=(2,))),
    "spectra_six": lambda: figures.spectra(made.source(made.SIX, ks=(4, 10, 10, 12))),
    "dose_one": lambda: figures.dose_response(made.dose((0.3,))),
    "dose_zero": lambda: figures.dose_response(made.dose((0.0,))),
    "dose_close": lambda: figures.dose_response(made.dose((0.0, 0.2, 0.3, 0.4, 0.6))),
    "dose_unknown": lambda: figures.dose_response(made.dose(known=False)),
    "dose_alone": lambda: figures.dose_response(made.dose(settings=1)),
    "dose_four": lambda: figures.dose_response(made.dose(settings=4)),
    "replication_short": lambda: figures.replication(made.replication(epochs=2, runs=1, marked=False)),
}
REAL: dict[str, Callable[[], Figure]] = {
    "budget": lambda: figures.budget(json.loads((METRICS / "summary.json").read_text())),
    "comparison": lambda: figures.comparison(METRICS),
    "search": lambda: figures.search(str(METRICS), json.loads((METRICS / "summary.json").read_text())),
    "links": lambda: figures.links(json.loads((METRICS / "summary.json").read_text())),
    "dose_response": lambda: figures.dose_response(json.loads((METRICS / "dose_response.json").read_text())),
}


def far() -> made.Record:
    record = made.summary()
    for entry in record["contrasts"]:
        entry |= {"ci_low": -100.0, "ci_high": 1e37, "equivalence_ci_low": -99.9999, "equivalence_ci_high": 1e9}
    return record


def one_study() -> made.Record:
    record = made.summary(trials=1, most=2, studies=1, seeds=1)
    for entry in record["contrasts"]:
        entry |= dict.fromkeys(("ci_low", "ci_high", "equivalence_ci_low", "equivalence_ci_high"))
    return record


def steep() -> made.Record:
    """Return a summary in which one trial is far worse, and few replicates leave a wide interval at the end."""
    record = made.summary(trials=20, most=64)
    for point in record["budget"]:
        if point["n_trials"] < 4:
            point.update({key: point[key] + 40.0 for key in made.FLAT if key != "n_pairs"})
    for entry in (*record["budget"], *record["budget_verdicts"]):
        if entry["n_trials"] == 64:
            entry |= {"equivalence_ci_low": -60.0, "equivalence_ci_high": 70.0, "ci_low": -80.0, "ci_high": 90.0}
    return record


def texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if isinstance(t, Text) and t.get_text() and t.get_visible()]


def points(ax: Axes, gid: str) -> list[list[float]]:
    return [list(xy) for c in ax.collections if c.get_gid() == gid for xy in np.asarray(c.get_offsets())]


def lines(ax: Axes, gid: str) -> list[np.ndarray]:
    """Return the (x, y) of each line with a gid, (2, points)."""
    return [np.array(line.get_data(), dtype=float) for line in ax.lines if line.get_gid() == gid]


@pytest.mark.no_cover  # many rounds through lines that other tests meet too
@pytest.mark.parametrize("name", [*made.EVERY, *UNUSUAL, *(f"real_{name}" for name in REAL)])
def test_no_text_overlaps_another_or_leaves_the_figure(name: str) -> None:
    drawn = made.EVERY | UNUSUAL | {f"real_{key}": draw for key, draw in REAL.items()}
    figure = drawn[name]()
    with style.fixed():
        figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    assert width == 8.5 * 150
    boxes: list[Text] = [*figure.texts, *(t for legend in figure.legends for t in legend.get_texts())]
    for ax in figure.axes:
        boxes += ax.texts
        if ax.axison:
            low, high = ax.get_xlim(), ax.get_ylim()
            ticks = [(t, low) for t in ax.xaxis.get_major_ticks()] + [(t, high) for t in ax.yaxis.get_major_ticks()]
            boxes += [t.label1 for t, ends in ticks if min(ends) <= t.get_loc() <= max(ends)]
            boxes += [ax.title, ax.xaxis.label, ax.yaxis.label]
    boxes = [t for t in boxes if t.get_text() and t.get_visible()]
    extents = [(t.get_text(), t.get_window_extent()) for t in boxes]
    assert min(float(t.get_fontsize()) for t in boxes) >= 9
    for text, box in extents:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text
    for (one, a), (two, b) in itertools.combinations(extents, 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 1 or down <= 1, (one, two)


@pytest.mark.parametrize("name", made.EVERY)
def test_every_axis_is_labelled_with_a_unit(name: str) -> None:
    without = ("number of trials", "index of the singular value", "ln of the gradient norm's coefficient of variation")
    for ax in (ax for ax in made.EVERY[name]().axes if ax.axison):
        for label in [ax.get_xlabel(), *([] if name == "links" else [ax.get_ylabel()])]:
            assert "(" in label or label.replace("\n", " ") in without


def test_figures_say_how_much_they_show() -> None:
    assert "4 studies \u00d7 3 seeds per arm" in made.EVERY["comparison"]().axes[0].get_title()
    assert made.EVERY["search"]().get_suptitle().endswith("4 studies \u00d7 8 trials per arm")
    assert made.EVERY["paired"]().get_suptitle().endswith("4 studies, 12 pairs per contrast")
    assert made.EVERY["links"]().get_suptitle().endswith("4 studies per contrast")
    assert made.EVERY["spectra"]().get_suptitle() == "Median and 10 % to 90 % quantiles of 12 runs per arm"
    assert made.EVERY["dose_response"]().get_suptitle().endswith("95 % interval over 5 seeds")
    assert "tuning: 4 studies of 4 trials, 95 % interval" in texts(made.EVERY["budget"]())
    uneven = made.source()
    uneven["tune"]["baseline"]["studies"] = uneven["tune"]["baseline"]["studies"][:1]
    assert "1 to 4 studies" in figures.search(uneven).get_suptitle()


def test_comparison_draws_the_bands_and_counts_failed_runs() -> None:
    figure = made.EVERY["comparison"]()
    (ax,) = figure.axes
    frame = bands.validation(made.source(failed=[("baseline", 0, 0)]))
    for line, (arm, band) in zip(ax.lines, frame.groupby("arm", sort=False), strict=True):
        assert line.get_color() == style.ARMS[str(arm)]
        assert np.asarray(line.get_ydata()) == pytest.approx(band["mean"].to_numpy())
    assert {"baseline (1 of 12 runs failed)", "weight decay"} <= set(texts(figure))


def test_budget_draws_effects_margin_and_what_is_judged() -> None:
    figure = UNUSUAL["budget_as_shipped"]()
    titles = ["regularized vs baseline", "weight decay regularized vs weight decay", "all arms"]
    assert [ax.get_title() for ax in figure.axes if ax.axison] == titles
    for ax in figure.axes[:2]:
        (effect,) = lines(ax, "effect")
        assert effect[0].tolist() == list(range(1, 65)) and effect[1][[0, 7, 63]] == pytest.approx([2, 0, -2])
        assert [line[0].tolist() for line in lines(ax, bands.JUDGED)] == [[20], [64]]
        ((x, y),) = lines(ax, bands.TUNED)
        assert x[0] == pytest.approx(20, rel=0.1) and y == [-1]
        assert [t.get_text() for t in ax.texts] == ["64 trials: supported", "20 trials: supported"]
        assert ax.get_xscale() == "log" and len(ax.patches) == 1
    assert [line[1][-1] for line in lines(figure.axes[2], "loss")] == pytest.approx(
        [1 + 1 / 64 - 0.01 * i for i in range(4)]
    )


def test_budget_keeps_in_sight_what_counts() -> None:
    for ax in UNUSUAL["budget_steep"]().axes[:2]:
        low, high = ax.get_ylim()
        assert -15 < low < -4 and 2 < high < 15
    unknown = UNUSUAL["budget_unknown"]()
    assert texts(unknown).count("runs failed") == 2 and texts(unknown).count("unknown") == 1
    assert not any(lines(ax, bands.JUDGED) for ax in unknown.axes) and len(lines(unknown.axes[0], bands.TUNED)) == 1


def test_search_shows_every_trial_and_stars_the_winners() -> None:
    source = made.source(trials=14, dead=1)
    figure = figures.search(source, made.summary())
    for ax, knob in zip(figure.axes[:3], style.KNOBS, strict=True):
        above = np.concatenate([line[0] for line in lines(ax, bands.ABOVE)])
        assert ax.get_xlim()[0] < above.min() and above.max() < ax.get_xlim()[1]
        stars = points(ax, bands.WINNER)
        assert len(points(ax, bands.TRIAL)) + len(stars) + len(above) == 4 * 4 * 14
        expected = [[s["best"][knob], s["objective"]] for record in source["tune"].values() for s in record["studies"]]
        assert sorted(stars) == pytest.approx(np.array(sorted(expected)))
        assert ax.get_xscale() == "log" and ax.get_ylim()[1] < 10


def test_search_tells_the_best_so_far_from_what_random_search_is_expected_to_find() -> None:
    ax = made.EVERY["search"]().axes[3]
    for kind, n, dash in ((bands.TUNED, 4, "-"), (bands.AT_RANDOM, 16, "--")):
        drawn = [line for line in ax.lines if line.get_gid() == kind]
        assert [line.get_color() for line in drawn] == list(style.ARMS.values())
        assert {line.get_linestyle() for line in drawn} == {dash}
        assert [np.asarray(line.get_xdata()).tolist() for line in drawn] == [list(range(1, n + 1))] * 4
    assert ax.get_xscale() == "log" and ax.get_ylim()[1] < 2  # one trial leads out of sight


def test_search_says_why_a_panel_is_empty() -> None:
    source = made.source(("baseline",))
    for study in source["tune"]["baseline"]["studies"]:
        for trial in study["trials"]:
            trial["params"] = {"lr": trial["params"]["lr"]}
    found = texts(figures.search(source, made.summary(("baseline",), known=False)))
    assert found.count("tuned by no arm") == 2 and "unknown" in found
    assert "not compared yet" in texts(figures.search(source))


def test_paired_draws_every_pair_and_the_verdict() -> None:
    figure = made.EVERY["paired"]()
    assert [ax.get_title().splitlines()[-1] for ax in figure.axes] == ["supported", "supported"]
    for ax in figure.axes:
        assert len(points(ax, bands.PAIR)) == 12
        assert points(ax, bands.STUDY) == [[0, -3], [1, -2], [2, -1], [3, 0]]
        assert len(ax.patches) == 2  # margin and interval
    assert "mean with 95 % interval (band)" in texts(figure)
    failed = UNUSUAL["paired_failed"]()
    assert texts(failed).count("runs failed") == 2 and all(len(ax.patches) == 1 for ax in failed.axes)


def test_links_draws_every_verdict_and_both_intervals() -> None:
    figure = made.EVERY["links"]()
    assert [t.get_text() for ax in figure.axes for t in ax.texts] == [v for v in made.VERDICTS for _ in range(2)]
    for ax in figure.axes:
        assert [line[0].tolist() for line in lines(ax, "level")] == 2 * [pytest.approx([0.96, 1.02])]
        assert [line[0].tolist() for line in lines(ax, "inner")] == 2 * [pytest.approx([0.97, 1.01])]
        assert [t.get_text() for t in ax.get_xticklabels()].count("0") == 1
    found = texts(figure)
    assert "95 % interval (first panel), 98.3 % (others)" in found
    assert "90 % interval (first panel), 96.7 % (others)" in found
    failed = UNUSUAL["links_failed"]()
    assert [t.get_text() for ax in failed.axes for t in ax.texts] == ["no verdict"] * 8
    assert not any(lines(ax, "effect") for ax in failed.axes)


def test_links_mark_what_lies_out_of_sight() -> None:
    for ax in UNUSUAL["links_far"]().axes:
        assert len(lines(ax, "beyond")) == 4 and len(lines(ax, "effect")) == 2


def test_intervals_have_one_name_where_levels_agree() -> None:
    record = made.summary()
    for entry in record["contrasts"]:
        entry |= {"level": 0.99, "equivalence_level": 0.8}
    assert {"99 % interval", "80 % interval"} <= set(texts(figures.links(record)))


def test_spectra_draw_the_bands_and_before_training_in_grey() -> None:
    figure = figures.spectra(made.source(failed=[("baseline", 0, 0)]))
    assert [ax.get_title() for ax in figure.axes] == ["layer 1", "layer 2", "layer 3"]
    for ax, k in zip(figure.axes, (4, 10, 12), strict=True):
        (initial,), (trained,) = lines(ax, bands.BEFORE), lines(ax, "regularized")
        assert initial[1] == pytest.approx(np.linspace(2, 0.1, k)) and trained[1] == pytest.approx(1.1 * initial[1])
        assert next(line for line in ax.lines if line.get_gid() == bands.BEFORE).get_color() == style.GREY
    assert {"baseline (1 of 12 runs failed)", bands.BEFORE} <= set(texts(figure))
    failed = [(arm, *key) for arm in made.ARMS for key in np.ndindex(4, 3)]
    assert "no run" in texts(figures.spectra(made.source(failed=failed)))


def test_dose_response_draws_strength_zero_left_of_a_break() -> None:
    figure = made.EVERY["dose_response"]()
    assert [ax.axison for ax in figure.axes] == [True] * 5 + [False]
    for ax in figure.axes[:5]:
        drawn = lines(ax, "dose")
        assert len(drawn) == 2 and all(len(line[0]) == 5 and line[0][0] < 0.001 / 2 for line in drawn)
        colors = [line.get_color() for line in ax.lines if line.get_gid() == "dose"]
        assert colors == list(style.SETTINGS[:2])
        labels = [t.get_text() for t in ax.get_xticklabels()]
        assert labels == ["0", *(f"$10^{{{k}}}$" for k in (-3, -2, -1, 0))]
    assert {"lr 0.05, no weight decay", "lr 0.05, weight decay 0.3"} <= set(texts(figure))
    assert all(len(line[0]) == 4 for line in lines(UNUSUAL["dose_unknown"]().axes[1], "dose"))


def test_replication_marks_published_losses_where_there_are_any() -> None:
    figure = made.EVERY["replication"]()
    (ax,) = figure.axes
    assert [line[:, 0].tolist() for line in lines(ax, "published")] == [[10, 1.198], [10, 1.396]]
    assert np.asarray(ax.lines[0].get_ydata())[0] == pytest.approx(2.03)
    assert {"regularized continued (3 runs)", "published: 1.396, regularized"} <= set(texts(figure))
    assert not lines(UNUSUAL["replication_short"]().axes[0], "published")
