"""Figures of synthetic records: what is drawn, what is written on it, and that no text hides another."""

import itertools
import math

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from svvr.show import figures

ARMS = ("baseline", "regularized", "weight_decay", "weight_decay_regularized")
SIX = (*ARMS, "spectral_norm_bounded", "dropout")
LINKS = ("generalisation", "conditioning", "smoothness", "gradient_stability")
SIMULTANEOUS = {"level": 1 - 0.05 / 3, "equivalence_level": 1 - 0.1 / 3}
VERDICTS = ("supported", "not supported", "opposite", "inconclusive")


def train(arms=ARMS, studies=4, seeds=3, epochs=20, failed=()):
    def run(arm, study, seed):
        curve = [1 + math.exp(-e / 5) + 0.02 * study + 0.01 * seed + 0.1 * len(arm) / 20 for e in range(epochs)]
        bad = (arm, study, seed) in failed
        state = "failed" if bad else "complete"
        return {"study": study, "seed": seed, "state": state, "validation_loss": [None] * epochs if bad else curve}

    pairs = list(itertools.product(range(studies), range(seeds)))
    return {arm: {"arm": arm, "runs": [run(arm, *pair) for pair in pairs]} for arm in arms}


def tune(arms=ARMS, studies=3, trials=8, failed=0):
    knobs = {"lr": 0.01} | ({"strength": 0.1, "weight_decay": 1e-4} if len(arms) > 1 else {})

    def study_of(arm, study):
        rng = np.random.default_rng([study, len(arm)])
        rows = []
        for number in range(trials):
            params = {k: float(v * 10 ** rng.uniform(-1, 1)) for k, v in knobs.items()}
            dead = number < failed
            objective = None if dead else 1 + float(rng.random()) + (50 if number == 1 and trials > 2 else 0)
            rows.append({"number": number, "params": params, "state": "failed" if dead else "complete"})
            rows[-1]["objective"] = objective
        alive = [row for row in rows if row["objective"] is not None]
        best = min(alive, key=lambda row: row["objective"]) if alive else {"params": {}, "objective": None}
        return {"study": study, "best": best["params"], "objective": best["objective"], "trials": rows}

    return {arm: {"arm": arm, "studies": [study_of(arm, study) for study in range(studies)]} for arm in arms}


def contrast(arm, reference, link, verdict, studies=4, seeds=3, known=True):
    study_effects = [-3.0 + study for study in range(studies)]
    interval = {"equivalence_ci_low": -3.0, "equivalence_ci_high": 1.0, "ci_low": -4.0, "ci_high": 2.0}
    entry = {"arm": arm, "reference": reference, "link": link, "margin_percent": 2.0, "verdict": verdict}
    entry |= {"effect_percent": -1.0, "study_effects": study_effects, **interval}
    entry |= {"n_studies": studies, "n_pairs": studies * seeds}
    entry |= {"level": 0.95, "equivalence_level": 0.9} if link == LINKS[0] else SIMULTANEOUS
    entry |= {"pair_effects": [[e + 0.5 * s for s in range(seeds)] for e in study_effects]}
    if not known:
        entry |= dict.fromkeys((*interval, "effect_percent", "n_pairs")) | {"study_effects": [], "pair_effects": []}
        entry["verdict"] = "no verdict"
    return entry


def summary(arms=ARMS, expected=(1.5, 1.2, 1.1), known=True, **sizes):
    pairs = [(arms[1], arms[0]), (arms[3], arms[2])] if len(arms) == 4 else [(arm, arms[0]) for arm in arms[1:]]
    wheel = itertools.cycle(VERDICTS)
    contrasts = [contrast(*pair, link, next(wheel), known=known, **sizes) for link in LINKS for pair in pairs]
    return {"arms": [{"arm": arm, "expected_best": expected} for arm in arms], "contrasts": contrasts}


def diagnose(arms=ARMS, runs=5, ks=(4, 10, 12)):
    def layers(run):
        first = [list(np.linspace(2, 0.1, k)) for k in ks]
        rows = [{"layer": i, "initial_singular_values": first[i - 1]} for i in range(1, len(ks) + 1)]
        return [row | {"singular_values": [v * (1 + 0.1 * run) for v in first[row["layer"] - 1]]} for row in rows]

    return {
        arm: {"arm": arm, "runs": [{"study": 0, "seed": r, "layers": layers(r)} for r in range(runs)]} for arm in arms
    }


def dose(strengths=(0.0, 0.001, 0.01, 0.1, 1.0), known=True):
    values = [1.0 + 0.1 * i for i in range(len(strengths))]
    curve = {"mean": values, "ci_low": [v - 0.05 for v in values], "ci_high": [v + 0.05 for v in values]}
    if not known:
        curve = {key: [None, *column[1:]] for key, column in curve.items()}
        curve["ci_low"] = [None] * len(strengths)
    names = ("validation_loss", "test_loss", "conditioning", "smoothness", "gradient_stability")
    return {"lr": 0.05, "strengths": list(strengths), "n_seeds": 5, **dict.fromkeys(names, curve)}


def replication(epochs=10, runs=3):
    rows = []
    for name, published in (("baseline", 1.198), ("regularized_fresh", 1.396), ("regularized_continued", 1.396)):
        curves = [[2 - 0.05 * e + 0.03 * r + 0.1 * len(rows) for e in range(epochs)] for r in range(runs)]
        rows.append({"row": name, "published": published, "runs": [{"validation_loss": c} for c in curves]})
    return {"n_seeds": runs, "rows": rows}


def texts(figure):
    return [t.get_text() for t in figure.findobj(Text) if t.get_text() and t.get_visible()]


def points(ax, gid):
    return [np.asarray(c.get_offsets()) for c in ax.collections if c.get_gid() == gid]


def lines(ax, gid):
    return [line for line in ax.lines if line.get_gid() == gid]


NORMAL = {
    "comparison": lambda: figures.comparison(train(failed=[("baseline", 0, 0)])),
    "search": lambda: figures.search(tune(failed=1), summary()),
    "paired": lambda: figures.paired(summary()),
    "links": lambda: figures.links(summary()),
    "spectra": lambda: figures.spectra(diagnose()),
    "dose_response": lambda: figures.dose_response(dose()),
    "replication": lambda: figures.replication(replication()),
}
UNUSUAL = {
    "comparison_smoke": lambda: figures.comparison(train(studies=1, seeds=1, epochs=2)),
    "comparison_one_epoch": lambda: figures.comparison(train(studies=2, epochs=1)),
    "comparison_two_studies": lambda: figures.comparison(train(studies=2)),
    "comparison_six": lambda: figures.comparison(train(SIX)),
    "comparison_all_failed": lambda: figures.comparison(train(("baseline",), 1, 1, failed=[("baseline", 0, 0)])),
    "search_smoke": lambda: figures.search(tune(studies=1, trials=1), summary(expected=[1.2])),
    "search_one_arm": lambda: figures.search(tune(("baseline",)), summary(("baseline",), expected=None)),
    "search_all_failed": lambda: figures.search(tune(trials=2, failed=2), summary(expected=None)),
    "search_alone": lambda: figures.search(tune(), None),
    "search_six": lambda: figures.search(tune(SIX), summary(SIX)),
    "paired_smoke": lambda: figures.paired(summary(studies=1, seeds=1)),
    "paired_unknown": lambda: figures.paired(summary(known=False)),
    "paired_six": lambda: figures.paired(summary(SIX)),
    "paired_none": lambda: figures.paired(summary(("baseline",))),
    "links_smoke": lambda: figures.links(summary(studies=1, seeds=1)),
    "links_unknown": lambda: figures.links(summary(known=False)),
    "links_six": lambda: figures.links(summary(SIX)),
    "links_none": lambda: figures.links(summary(("baseline",))),
    "spectra_smoke": lambda: figures.spectra(diagnose(runs=1, ks=(2,))),
    "spectra_six": lambda: figures.spectra(diagnose(SIX, ks=(4, 10, 10, 12))),
    "spectra_missing": lambda: figures.spectra({}),
    "spectra_none": lambda: figures.spectra(diagnose(runs=0)),
    "dose_one": lambda: figures.dose_response(dose((0.3,))),
    "dose_zero": lambda: figures.dose_response(dose((0.0,))),
    "dose_close": lambda: figures.dose_response(dose((0.0, 0.2, 0.3, 0.4, 0.6))),
    "dose_unknown": lambda: figures.dose_response(dose(known=False)),
    "replication_smoke": lambda: figures.replication(replication(epochs=2, runs=1)),
}


@pytest.mark.parametrize("name", [*NORMAL, *UNUSUAL])
def test_no_text_overlaps_another_or_leaves_the_figure(name):
    figure = (NORMAL | UNUSUAL)[name]()
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()
    boxes = []
    for ax in figure.axes:
        if ax.axison:
            low, high = ax.get_xlim(), ax.get_ylim()
            ticks = [(t, low) for t in ax.xaxis.get_major_ticks()] + [(t, high) for t in ax.yaxis.get_major_ticks()]
            boxes += [t.label1 for t, ends in ticks if min(ends) <= t.get_loc() <= max(ends)]
            boxes += [ax.title, ax.xaxis.label, ax.yaxis.label]
        boxes += ax.texts
    boxes += figure.texts + [t for legend in figure.legends for t in legend.get_texts()]
    boxes = [t for t in boxes if t.get_text() and t.get_visible()]
    extents = [(t.get_text(), t.get_window_extent(renderer)) for t in boxes]
    assert min(t.get_fontsize() for t in boxes) >= 9
    for text, box in extents:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text
    for (one, a), (two, b) in itertools.combinations(extents, 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 1 or down <= 1, (one, two)


@pytest.mark.parametrize("name", NORMAL)
def test_every_axis_is_labelled_with_a_unit(name):
    for ax in NORMAL[name]().axes:
        if name == "links":
            assert "(%)" in ax.get_xlabel()
        else:
            for label in (ax.get_xlabel(), ax.get_ylabel()):
                assert label and ("(" in label or label in ("number of trials", "index of the singular value"))


@pytest.mark.parametrize("name", NORMAL)
def test_the_same_record_gives_the_same_bytes(name, tmp_path):
    figure = NORMAL[name]()
    for path, drawn in (("a", figure), ("b/c", NORMAL[name]()), ("again", figure)):
        figures.save(drawn, tmp_path / path)
    content = (tmp_path / "a").read_bytes()
    assert content.startswith(b"\x89PNG") and b"Software" not in content and b"Matplotlib" not in content
    assert content == (tmp_path / "b/c").read_bytes() == (tmp_path / "again").read_bytes()


def test_comparison_draws_the_mean_of_study_means_without_failed_runs():
    figure = figures.comparison(train(failed=[("baseline", 0, 0), ("baseline", 0, 1)]))
    (ax,) = figure.axes
    assert ax.get_ylabel() == "validation loss (nats per example, used for tuning)"
    assert "4 studies \u00d7 3 seeds" in ax.get_title()
    assert "baseline (2 of 12 runs failed)" in texts(figure) and "weight decay" in texts(figure)
    base = 2 + 0.1 * len("baseline") / 20
    study_means = [0.02, *(0.02 * s + 0.01 for s in (1, 2, 3))]  # study 0 keeps its last seed alone
    assert ax.lines[0].get_ydata()[0] == pytest.approx(base + np.mean(study_means))
    assert [len(line.get_xdata()) for line in ax.lines] == [20] * 4
    low, high = ax.get_ylim()
    assert low < min(line.get_ydata().min() for line in ax.lines)
    assert high > max(line.get_ydata().max() for line in ax.lines)


def test_colors_stay_with_the_arm_and_further_arms_get_others():
    one, two = (figures.comparison(train(arms)).axes[0].lines for arms in (SIX, ("weight_decay", "dropout")))
    assert len({line.get_color() for line in one}) == 6
    assert to_hex(two[0].get_color()) == to_hex(one[2].get_color())


def test_search_shows_every_trial_and_stars_the_winners():
    records = tune(trials=14, failed=1)
    figure = figures.search(records, summary())
    for ax, knob in zip(figure.axes[:3], ("lr", "strength", "weight_decay"), strict=True):
        assert ax.get_xscale() == "log"
        inside = sum(map(len, points(ax, "trials")))
        triangles = np.concatenate([line.get_xdata() for line in lines(ax, "above")])
        above = len(triangles)
        assert ax.get_xlim()[0] < triangles.min() and triangles.max() < ax.get_xlim()[1]
        assert inside + above == 4 * 3 * 14
        assert above >= 4 * 3 * 2  # of each study one trial failed and one lies far above
        assert ax.get_ylim()[1] < 10
        stars = np.concatenate(points(ax, "winners"))
        expected = [[s["best"][knob], s["objective"]] for record in records.values() for s in record["studies"]]
        assert stars == pytest.approx(np.array(expected))
    assert [len(line.get_xdata()) for line in figure.axes[3].lines] == [3] * 4


def test_search_is_not_flattened_by_many_diverging_trials():
    ax = figures.search(tune(trials=4), summary()).axes[0]  # a quarter of the trials lie 50 nats above
    assert ax.get_ylim()[1] < 10
    assert sum(len(line.get_xdata()) for line in lines(ax, "above")) >= 4 * 3


def test_figures_say_how_much_they_show():
    shown = {name: NORMAL[name]().get_suptitle() for name in ("search", "paired", "links", "spectra")}
    assert shown["search"].endswith("3 studies \u00d7 8 trials per arm")
    assert shown["paired"].endswith("4 studies, 12 pairs per contrast")
    assert shown["links"].endswith("4 studies per contrast")
    assert "10 % to 90 % quantiles of 5 runs" in shown["spectra"]
    assert "1 study, 1 pair per" in figures.paired(summary(studies=1, seeds=1)).get_suptitle()
    uneven = tune() | {"baseline": tune(("baseline",), studies=1)["baseline"]}
    assert "1 to 3 studies" in figures.search(uneven, None).get_suptitle()


def test_intervals_carry_the_levels_of_the_record():
    record = summary()
    for entry in record["contrasts"]:
        entry |= {"level": 0.99, "equivalence_level": 0.8} if entry["link"] == LINKS[0] else SIMULTANEOUS
    assert "mean with 99 % interval (band)" in texts(figures.paired(record))
    found = texts(figures.links(record))
    assert "99 % interval (first panel), 98.3 % (others)" in found
    assert "80 % interval (first panel), 96.7 % (others)" in found
    for entry in record["contrasts"]:
        entry["level"] = 0.95
    assert "95 % interval" in texts(figures.links(record))


def test_paired_marks_a_single_study_by_a_whole_number():
    ax = UNUSUAL["paired_smoke"]().axes[0]
    low, high = ax.get_xlim()
    assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [0]


def test_search_says_why_a_panel_is_empty():
    assert "not compared yet" in texts(figures.search(tune(), None))
    found = texts(UNUSUAL["search_one_arm"]())
    assert found.count("tuned by no arm") == 2 and "unknown (failed trials)" in found


def test_paired_draws_every_pair_and_the_verdict():
    figure = figures.paired(summary())
    assert [ax.get_title().splitlines()[-1] for ax in figure.axes] == ["supported", "not supported"]
    for ax in figure.axes:
        assert sum(map(len, points(ax, "pairs"))) == 12
        assert np.concatenate(points(ax, "studies"))[:, 1].tolist() == [-3, -2, -1, 0]
        spans = [(p.get_y(), p.get_y() + p.get_height()) for p in ax.patches]
        assert spans == [pytest.approx((100 / 1.02 - 100, 2.0)), pytest.approx((-4.0, 2.0))]
    assert "runs failed" in texts(UNUSUAL["paired_unknown"]())


def test_links_draws_every_verdict_and_interval():
    figure = figures.links(summary())
    shown = [t.get_text() for ax in figure.axes for t in ax.texts]
    assert shown == [c["verdict"] for c in summary()["contrasts"]]
    for ax in figure.axes:
        ends = sorted(
            tuple(line.get_xdata())
            for line in ax.lines
            if line.get_linewidth() in (1.2, 4.0) and len(line.get_xdata()) == 2 and line.get_xdata()[0] < 0
        )
        assert ends == [(-4.0, 2.0)] * 2 + [(-3.0, 1.0)] * 2
    unknown = figures.links(summary(known=False))
    assert [t.get_text() for ax in unknown.axes for t in ax.texts] == ["no verdict"] * 8


def test_an_effect_without_interval_is_drawn():
    record = summary()
    for entry in record["contrasts"]:
        entry |= dict.fromkeys(("equivalence_ci_low", "equivalence_ci_high", "ci_low", "ci_high"))
    assert all(len(ax.lines) == 3 for ax in figures.links(record).axes)  # two dots and the line at 0
    assert all(len(ax.patches) == 1 for ax in figures.paired(record).axes)


def test_spectra_draws_means_over_runs_for_each_layer():
    figure = figures.spectra(diagnose())
    assert [ax.get_title() for ax in figure.axes] == ["layer 1", "layer 2", "layer 3"]
    for ax, k in zip(figure.axes, (4, 10, 12), strict=True):
        (initial,), final = lines(ax, "initial"), lines(ax, "final")
        assert len(final) == 4 and len(initial.get_xdata()) == k
        assert final[0].get_ydata() == pytest.approx(1.2 * np.linspace(2, 0.1, k))


def test_spectra_leave_out_runs_without_values():
    record = diagnose(("baseline",))
    record["baseline"]["runs"][0]["layers"] = None
    record["baseline"]["runs"][1]["layers"][0]["singular_values"] = None
    drawn = figures.spectra(record)
    assert "baseline (1 of 5 runs failed)" in texts(drawn)
    (first, *_) = drawn.axes
    assert lines(first, "final")[0].get_ydata()[0] == pytest.approx(2 * 1.3)
    record = {arm: {"runs": entry["runs"] if arm == "baseline" else []} for arm, entry in diagnose().items()}
    assert all(len(lines(ax, "final")) == 1 for ax in figures.spectra(record).axes)


def test_dose_response_draws_strength_zero_left_of_a_break():
    figure = figures.dose_response(dose())
    figure.canvas.draw()
    for ax, n in zip(figure.axes, (10, 5, 5, 5), strict=True):
        drawn = lines(ax, "dose")
        assert len(drawn) == n
        assert drawn[0].get_xdata()[0] < 0.001 / 2
        labels = [t.get_text() for t in ax.get_xticklabels()]
        assert labels == ["0", *(f"$10^{{{k}}}$" for k in (-3, -2, -1, 0))]
    assert any("5 seeds" in text for text in texts(figure))
    assert len(lines(UNUSUAL["dose_unknown"]().axes[1], "dose")) == 4


def test_replication_marks_the_published_ends():
    figure = figures.replication(replication())
    (ax,) = figure.axes
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines(ax, "published")]
    assert marks == [(10, 1.198), (10, 1.396)]
    assert [len(line.get_xdata()) for line in ax.lines[:3]] == [10] * 3
    assert ax.lines[0].get_ydata()[0] == pytest.approx(2.03)
    assert "regularized continued (3 runs)" in texts(figure)
    assert len(figures.replication({"rows": [{"row": "a", "published": 1.0, "runs": []}]}).axes[0].lines) == 1
