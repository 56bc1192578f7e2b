"""Print the committed results: the question and its answer, or with `table` all effects, verdicts and flags."""

import sys
from pathlib import Path

from svvr import params, records
from svvr.report import text

if __name__ == "__main__":
    try:
        summary = records.read_json(Path("metrics/summary.json"))
        print(text.table(summary) if sys.argv[1:] == ["table"] else text.answer(summary, params.load()))
    except ValueError as error:
        sys.exit(f"answer: {error}")
