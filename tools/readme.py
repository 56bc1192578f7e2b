"""Write the results into README.md, between its result comments, and docs/results.md, from tools/results.md.j2."""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined

from svvr import params as settings
from svvr.analysis import dose_response, replication, tables
from svvr.params import Params
from svvr.records import Row, read_json, rows_of, write_bytes
from svvr.report import text
from svvr.report.text import Record


def documents(root: Path) -> dict[Path, str]:
    """Return README.md and docs/results.md with the results below root; ValueError where a comment is missing."""
    params, summary = settings.load(root / "params.yaml"), read_json(root / "metrics/summary.json")
    repeated = replication.summarise(tables.replicate(root / "metrics"), params)
    curves = dose_response.curves(tables.dose_response(root / "metrics"))
    league, level = read_league(root / "survey/league.csv"), params.compare.level
    own = {"run": f"root seed {params.seed}, {params.tuning.studies} studies"}
    runs = [*rows_of(pd.read_csv(root / "docs/full_runs.csv")), *({**row, **own} for row in text.test_loss(summary))]
    readme = fill((root / "README.md").read_text(), "answer", answer(summary, params, repeated))
    readme = fill(readme, "speed", markdown(speed((root / "benchmarks/result.txt").read_text())))
    readme = fill(readme, "league", "\n".join(f"- {each}" for each in text.league(league, level)))
    made = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    results = made.from_string((root / "tools/results.md.j2").read_text()).render(globals() | locals())
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
    basis = f"{params.tuning.studies} studies of {params.tuning.trials} trials, {params.final.seeds} final runs a study"
    head = f"**{text.CONCLUSIONS[summary['hypothesis']].capitalize()}.** Each arm: {basis}."
    said = [text.published(repeated), head, text.works(summary), *text.by_budget(summary, params)]
    return "\n".join([*(f"- {each}" for each in said if each), "", markdown(text.contrast_table(summary))])


def grid(entries: Iterable[Record], column: str) -> dict[str, dict[str, Record]]:
    """Return contrast, or penalty of the league -> value of `column` -> entry, in the order of the entries."""
    rows: dict[str, dict[str, Record]] = {}
    for each in entries:
        contrast = each.get("contrast") or ("arm" in each and f"{each['arm']} vs {each['reference']}")
        rows.setdefault(contrast or text.competitor(each), {})[each[column]] = each
    return rows


def speed(benchmark: str) -> pd.DataFrame:
    """Return how long a run takes in plain PyTorch and here."""
    rows = re.findall(r"^(.+ run of .+?) {2,}([\d.]+) +([\d.]+) +([\d.]+)  [\d.]+ to", benchmark, re.MULTILINE)
    return pd.DataFrame(rows, columns=["training", "plain PyTorch (ms)", "here (ms)", "ratio"])


def read_league(path: Path) -> list[Row]:
    """Return the rows of the league, None where nothing is known; none before the first `make survey`."""
    frame = pd.read_csv(path) if path.exists() else pd.DataFrame()
    return rows_of(frame.astype(object).where(frame.notna(), None))


if __name__ == "__main__":
    for path, content in documents(Path()).items():
        write_bytes(path, content.encode())
