"""Rows of the interactive charts, and what their templates make of them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from svvr.links import LINKS
from svvr.show import bands, charts, style, words
from tests.show import made

TEMPLATES = Path(__file__).parents[2] / ".dvc/plots"
VEGA_LITE = "5.21"  # the release nearest to the one in .dvc/plots.html
ROWS: dict[str, charts.Rows] = {
    "budget": charts.budget(made.summary(made.SIX)),
    "comparison": charts.comparison(made.source(made.SIX)),
    "search": charts.search(made.source(dead=1)),
    "paired": charts.paired(made.summary(made.SIX)),
    "links": charts.links(made.summary(made.SIX)),
    "spectra": charts.spectra(made.source(made.SIX, seeds=2)),
    "dose_response": charts.dose_response(made.dose()),
    "replication": charts.replication(made.replication()),
}


def template(name: str) -> str:
    return (TEMPLATES / f"{name}.json").read_text()


def drawn(name: str, *revisions: str) -> str:
    """Return a chart as SVG text, filled as DVC fills it."""
    rows = [row | {"rev": revision} for revision in revisions for row in ROWS[name]]
    filled = template(name).replace('"<DVC_METRIC_DATA>"', json.dumps(rows)).replace("<DVC_METRIC_TITLE>", "A title")
    return str(vl_convert.vegalite_to_svg(filled, vl_version=VEGA_LITE))


def values(node: Any, key: str) -> Iterator[Any]:
    """Yield the value of a key wherever it stands below a node."""
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from values(child, key)
    if isinstance(node, dict) and key in node:
        yield node[key]


def n_marks(svg: str, role: str) -> int:
    """Return how many shapes there are of a mark, such as `symbol` or `area`, legends left out."""
    groups = re.findall(rf'<g class="mark-{role} role-mark[^>]*[^/]>(.*?)</g>', svg)
    return sum(group.count("<path") for group in groups)


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_plain_and_alike(name: str) -> None:
    rows = ROWS[name]
    assert rows and json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert {tuple(row) for row in rows} == {tuple(rows[0])}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("revisions", [("workspace",), ("HEAD", "workspace")])
def test_a_chart_has_a_legend_of_its_revisions(name: str, revisions: tuple[str, ...]) -> None:
    svg = drawn(name, *revisions)
    assert "A title" in svg and ">revision" in svg and "undefined" not in svg and "NaN" not in svg
    legends = [label for label in ("HEAD", "workspace") if f">{label}</text>" in svg]
    assert legends == list(revisions)
    if name in ("budget", "comparison", "spectra", "dose_response", "replication"):
        dashes = set(re.findall(r'stroke-dasharray="([\d,]+)"', svg)) - {"1,3"}
        assert dashes >= ({"6,4"} if len(revisions) > 1 else set())


@pytest.mark.parametrize("name", ROWS)
def test_a_template_asks_for_fields_that_its_rows_have(name: str) -> None:
    chart = json.loads(template(name))
    made_here = {name for names in values(chart, "as") for name in ([names] if isinstance(names, str) else names)}
    fields = {field for field in values(chart, "field") if isinstance(field, str)}
    asked = fields | set(re.findall(r"datum\.(\w+)", template(name))) - {"label"}
    assert asked - made_here - {"rev", "value"} <= set(ROWS[name][0]) and "rev" in asked


@pytest.mark.parametrize("name", ["budget", "comparison", "search", "spectra"])
def test_templates_have_the_palette_of_the_figures(name: str) -> None:
    grey = {bands.BEFORE: style.GREY} if name == "spectra" else {}
    known = grey | {words.name(arm): color for arm, color in style.ARMS.items()}
    scales = [s for s in values(json.loads(template(name)), "scale") if s and "unionWith" in str(s)]
    assert scales and all(
        scale["domain"] == {"unionWith": list(known)} and scale["range"] == [*known.values(), *style.FURTHER]
        for scale in scales
    )


def test_templates_have_the_names_of_the_figures() -> None:
    scales = [s for s in values(json.loads(template("replication")), "scale") if s and "domain" in s]
    assert scales[0] == {"domain": [words.name(row) for row in style.ROWS], "range": list(style.ROWS.values())}
    assert {"range": list(style.SETTINGS)} in list(values(json.loads(template("dose_response")), "scale"))
    for name, labels in {
        "comparison": [style.VALIDATION],
        "replication": [style.VALIDATION],
        "search": [style.OBJECTIVE, *style.KNOBS.values(), bands.ABOVE],
        "paired": [style.DIFFERENCE, bands.EQUAL],
        "dose_response": [style.STRENGTH, *bands.DOSE.values(), "lr 0.05, weight decay 0.3"],
        "budget": [style.DIFFERENCE, style.EXPECTED, "number of trials", "4 trials: supported"],
    }.items():
        svg = drawn(name, "workspace")
        assert all(f">{label}</text>" in svg or label in svg for label in labels), name


def test_charts_draw_the_bands_of_the_figures() -> None:
    frame = bands.validation(made.source(made.SIX))
    for row, band in zip(ROWS["comparison"], bands.plain(frame), strict=True):
        assert row.keys() == band.keys() and row["arm"] == words.name(band["arm"])
        assert [row[key] for key in row if key != "arm"] == pytest.approx(
            [band[key] for key in row if key != "arm"], rel=1e-5
        )
    assert n_marks(drawn("spectra", "workspace"), "area") == 3 * 7  # layers, arms and before training
    assert len(ROWS["spectra"]) == 7 * (4 + 10 + 12)


def test_budget_has_a_panel_a_contrast_and_one_of_all_arms() -> None:
    rows = ROWS["budget"]
    panels = [row["panel"] for row in rows]
    names = [words.versus(c) for c in made.summary(made.SIX)["contrasts"] if c["link"] == "generalisation"]
    assert [panel.rsplit("\n", 1)[0].replace("\n", " ") for panel in dict.fromkeys(panels)] == [*names, "all arms"]
    counts = {kind: sum(row["kind"] == kind for row in rows) for kind in (bands.JUDGED, bands.TUNED, bands.AT_RANDOM)}
    assert list(counts.values()) == [2 * 4, 4, 16 * (4 + 6)]
    of_arms = [row["panel"].startswith("all arms") for row in rows]
    assert {row["effect"] for row, of_arm in zip(rows, of_arms, strict=True) if of_arm} == {None}
    assert {row["loss"] for row, of_arm in zip(rows, of_arms, strict=True) if not of_arm} == {None}
    svg = drawn("budget", "HEAD", "workspace")
    assert n_marks(svg, "area") == 2 * 4 and n_marks(svg, "symbol") == 2 * 4 * 3
    assert svg.count(">16 trials: supported</text>") == svg.count(">4 trials: supported</text>") == 2 * 4


def test_budget_draws_nothing_of_what_is_unknown() -> None:
    rows = charts.budget(made.summary(known=False))
    assert {row["drawn"] for row in rows if row["kind"] != bands.TUNED} == {None}
    assert {row["flag"] for row in rows if row["kind"] == bands.JUDGED} == {
        "4 trials: no verdict", "16 trials: no verdict"
    }  # fmt: skip


def test_search_has_a_panel_a_knob_with_every_trial() -> None:
    assert len(ROWS["search"]) == 4 * 4 * 8
    svg = drawn("search", "workspace")
    positions = [svg.index(f">{label}</text>") for label in style.KNOBS.values()]
    assert positions == sorted(positions)
    above = sum(row["kind"] == bands.ABOVE for row in ROWS["search"])
    assert svg.count("\u25b2</text>") == 3 * above and n_marks(svg, "symbol") == 3 * (4 * 4 * 8 - above)


def test_paired_has_a_panel_a_contrast_in_the_order_of_the_figure() -> None:
    panels = [words.versus(c) for c in made.summary(made.SIX)["contrasts"] if c["link"] == "generalisation"]
    named = {row["contrast"].replace("\n", " "): row["place"] for row in ROWS["paired"]}
    assert named == {panel: place for place, panel in enumerate(panels)}
    colors = style.colors(made.SIX)
    assert {row["color"] for row in ROWS["paired"]} == {colors[arm] for arm in made.SIX} - {
        colors["baseline"],
        colors["weight_decay"],
    }
    svg = drawn("paired", "HEAD", "workspace")
    assert n_marks(svg, "symbol") == 2 * 4 * (12 + 4) and n_marks(svg, "rect") == 2 * 4 * 2
    assert [svg.index(panel) for panel in panels[:2]] == sorted(svg.index(panel) for panel in panels[:2])


def test_links_have_a_scale_and_verdicts_a_link_and_a_row_a_revision() -> None:
    panels = list(dict.fromkeys(row["panel"] for row in ROWS["links"]))
    assert panels == [f"{link.words}\ndifference in {link.figure} (%)" for link in LINKS]
    svg = drawn("links", "HEAD", "workspace")
    assert [svg.index(f">{link.words}<") for link in LINKS] == sorted(svg.index(f">{link.words}<") for link in LINKS)
    for verdict in made.VERDICTS:
        assert svg.count(f">{verdict}</text>") == 2 * 4
    heights = re.findall(r'aria-roledescription="point" transform="translate\([\d.]+,([\d.]+)\)"', svg)
    assert n_marks(svg, "symbol") == len(heights) == 2 * 16 and len(set(heights)) == 2 * 4
    assert svg.count(">\u22122</text>") == svg.count(">0</text>") == 4  # ticks in per cent, a scale a panel


def test_links_say_in_words_what_is_unknown_or_far() -> None:
    record = made.summary(verdicts=["no verdict", "supported"])
    record["contrasts"][1] |= {"ci_high": 1e37}
    first, second = charts.links(record)[0], charts.links(record)[2]
    assert (first["change"], first["interval"], first["effect"], first["verdict"]) == (None, "-", None, "no verdict")
    assert (second["change"], second["interval"], second["high"]) == ("-1.00 %", "-4.00 to > +999", 10.99)
    assert (second["level"], first["level"]) == ("98.3 %", "95 %")


def test_replication_marks_published_losses_where_there_are_any() -> None:
    svg = drawn("replication", "workspace")
    assert "published: 1.198" in svg and "published: 1.396" in svg
    unmarked = charts.replication(made.replication(marked=False))
    assert len(unmarked) == 3 * 10 and all(row["published"] is None for row in unmarked)
