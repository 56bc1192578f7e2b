"""Write the results into README.md, between its result comments, and docs/results.md, from tools/results.md.j2."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

from svvr import params as settings
from svvr.analysis import dose_response, replication, tables
from svvr.links import BY_NAME
from svvr.params import Params
from svvr.records import Row, read_json, rows_of, write_bytes
from svvr.report import text

Record = Mapping[str, Any]
TIMED = re.compile(r"(.+?) {2,}([\d.]+) +([\d.]+) +([\d.]+)  [\d.]+ to")  # name, their ms, our ms, ratio


def documents(root: Path) -> dict[Path, str]:
    """Return README.md and docs/results.md with the results below root; ValueError where a comment is missing."""
    params, summary = settings.load(root / "params.yaml"), read_json(root / "metrics/summary.json")
    repeated = replication.summarise(tables.replicate(root / "metrics"), params)
    readme = fill((root / "README.md").read_text(), "answer", answer(summary, params, repeated))
    readme = fill(readme, "speed", markdown(speed((root / "benchmarks/result.txt").read_text())))
    curves = dose_response.curves(tables.dose_response(root / "metrics"))
    league, level = read_league(root / "survey/league.csv"), params.compare.level
    readme = fill(readme, "league", "\n".join(f"- {each}" for each in text.league(league, level)))
    options = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    template = Environment(undefined=StrictUndefined, **options).from_string((root / "tools/results.md.j2").read_text())
    results = template.render(
        params=params,
        summary=summary,
        links=markdown(wide(summary["contrasts"], lambda row: BY_NAME[row["link"]].words)),
        budget=markdown(wide(summary["budget_verdicts"], lambda row: str(row["label"]))),
        found=text.test_loss(summary),
        arms=markdown(arms(summary)),
        doses=markdown(doses(curves)),
        at_equal_conditioning=text.at_equal_conditioning(dose_response.at_equal_conditioning(curves)),
        replication=repeated.set_index("row").T.to_dict(),
        published=text.published(repeated),
        league={name: markdown(standings(league, key, level)) for key, name in text.REFERENCES.items() if league},
        full_runs=markdown(full_runs(pd.read_csv(root / "docs/full_runs.csv"), summary, params)),
    )
    return {root / "README.md": readme, root / "docs/results.md": results}


def fill(document: str, name: str, content: str) -> str:
    """Return a document with other content between the comments of a block."""
    block = re.compile(rf"(<!-- result:{name} -->\n).*?(<!-- /result -->)", re.DOTALL)
    filled, n = block.subn(lambda found: f"{found[1]}{content}\n{found[2]}", document)
    if n != 1:
        raise ValueError(f"README.md: got {n} blocks result:{name}, expected one")
    return filled


def markdown(frame: pd.DataFrame) -> str:
    """Return a frame as a Markdown table, cells as they are."""
    return frame.to_markdown(index=False, disable_numparse=True) if len(frame) else "None."


def answer(summary: Record, params: Params, repeated: pd.DataFrame) -> str:
    """Return the published claim, the hypothesis and what it rests on, what works, the budget, and the contrasts."""
    conclusion = text.CONCLUSIONS[summary["hypothesis"]]
    basis = f"{params.tuning.studies} studies of {params.tuning.trials} trials, {params.final.seeds} final runs a study"
    head = f"**{conclusion[0].upper()}{conclusion[1:]}.** Each arm: {basis}."
    said = [text.published(repeated), head, text.works(summary), *text.by_budget(summary, params)]
    return "\n".join([*(f"- {each}" for each in said if each), "", markdown(text.contrast_table(summary))])


def grid(corner: str, cells: Iterable[tuple[str, str, str]]) -> pd.DataFrame:
    """Arrange (row, column, cell) as a table, rows and columns as they appear."""
    rows: dict[str, dict[str, str]] = {}
    for row, column, cell in cells:
        rows.setdefault(row, {})[column] = cell
    return pd.DataFrame.from_dict(rows, orient="index").fillna("").rename_axis(corner).reset_index()


def full_runs(earlier: pd.DataFrame, summary: Record, params: Params) -> pd.DataFrame:
    """Return a row a contrast and a column a full run: earlier ones, then that of the records."""
    label = f"root seed {params.seed}, {params.tuning.studies} studies"
    own = [{**row, "run": label, "contrast": f"{row['arm']} vs {row['reference']}"} for row in text.test_loss(summary)]
    rows = [*rows_of(earlier), *own]
    return grid("contrast", ((row["contrast"], row["run"], f"{text.effect(row)}, {row['verdict']}") for row in rows))


def speed(benchmark: str) -> pd.DataFrame:
    """Return how long a run takes in plain PyTorch and here."""
    rows = [row.groups() for row in map(TIMED.match, benchmark.splitlines()) if row and " run of " in row[1]]
    return pd.DataFrame(rows, columns=["training", "plain PyTorch (ms)", "here (ms)", "ratio"])


def wide(entries: Iterable[Record], column: Callable[[Record], str]) -> pd.DataFrame:
    """Return a row a contrast, with effect, interval and verdict of each of its entries."""
    said = ((f"{each['arm']} vs {each['reference']}", column(each), each) for each in entries)
    return grid("contrast", ((row, name, f"{text.effect(each)}, {text.verdict(each)}") for row, name, each in said))


def arms(summary: Record) -> pd.DataFrame:
    """Return the medians of the winners' hyperparameters, and losses and accuracy of the final runs."""
    winners = [pd.DataFrame(arm["winners"]).drop(columns="study").median() for arm in summary["arms"]]
    figures = [[arm["arm"], arm["validation_loss"], arm["test_loss"], arm["test_accuracy"]] for arm in summary["arms"]]
    frame = pd.DataFrame(figures, columns=["arm", "validation loss", "test loss", "test accuracy"])
    frame = pd.concat([frame, pd.DataFrame(winners).add_prefix("median ")], axis=1)
    return frame.map(lambda cell: cell if isinstance(cell, str) else "" if pd.isna(cell) else f"{cell:.4g}")


def doses(curves: pd.DataFrame) -> pd.DataFrame:
    """Return a row a strength of every path: the test loss with half its interval, and the log condition number."""
    rows = []
    for label, of_path in dose_response.settings(curves).items():
        for strength, (mean, _, high, condition) in dose_response.path(of_path).iterrows():
            rows.append((label, f"{strength:g}", f"{mean:.3f} ± {high - mean:.3f}", f"{condition:.2f}"))
    return pd.DataFrame(rows, columns=["path", "strength", "test loss", "ln κ"])


def read_league(path: Path) -> list[Row]:
    """Return the rows of the league, None where nothing is known; none before the first `make survey`."""
    frame = pd.read_csv(path) if path.exists() else pd.DataFrame()
    return rows_of(frame.astype(object).where(frame.notna(), None))


def standings(rows: Iterable[Record], key: str, level: float) -> pd.DataFrame:
    """Return a row a penalty and a column a regime: the effect against a reference, marked as in the picture."""
    cells = []
    for row in rows:
        if row[f"{key}_verdict"]:
            star = r"\*" if row[f"{key}_p_holm"] < 1 - level else ""
            bold = "**" if row[f"{key}_ci_low"] * row[f"{key}_ci_high"] > 0 else ""
            cells.append(
                (text.competitor(row), row["regime"], f"{bold}{row[f'{key}_effect_percent']:+.1f}{star}{bold}")
            )
    return grid("penalty", cells)


if __name__ == "__main__":
    for path, content in documents(Path()).items():
        write_bytes(path, content.encode())
