"""Weigh the arms against each other: effects, intervals and verdicts."""

from svvr.run import lifetime

lifetime.begin("compare")

import shutil
import sys
from pathlib import Path

from svvr.core import files
from svvr.core.params import Params
from svvr.data import read
from svvr.judge import contrasts, results, schemas
from svvr.run import stage
from svvr.show import words

METRICS, DEVELOPMENT = Path("metrics"), Path("data/dev.npz")
SUMMARY, VERDICTS = METRICS / "summary.json", METRICS / "verdicts"
FINAL = ("study", "seed", "weights", "test_losses")  # what is kept of final runs


def main(params: Params) -> None:
    from svvr.learn import value  # loads torch, which --show can do without

    records = schemas.read_arms(METRICS, params.arms)
    for arm in schemas.left_over(METRICS, params.arms):
        text = "compare: %s is no arm in params.yaml, so its records are left out; to remove them: rm metrics/*/%s.json"
        stage.log.info(text, arm, arm)
    finals = {arm: files.read_npz(Path(f"data/weights/{arm}.npz"), *FINAL) for arm in params.arms}
    losses = {arm: arrays["test_losses"] for arm, arrays in finals.items()}
    data = read.splits(DEVELOPMENT, "train", "validation")
    own = value.changes(params, contrasts.pairs_to_compare(params), finals, data)
    found = contrasts.summarise(params, records, losses, own)
    summary = words.with_sentences(found, params.compare.contrasts, params.tuning.trials)
    files.write_json(SUMMARY, summary)
    shutil.rmtree(VERDICTS, ignore_errors=True)  # those of contrasts that are gone
    for name, answer in contrasts.answers(found["contrasts"]).items():
        files.write_json(VERDICTS / f"{name}.json", answer)
    stage.log.info("%s", words.verdict_table(summary))


if __name__ == "__main__":
    if sys.argv[1:] == ["--show"]:
        try:
            stage.answer("compare", words.verdict_table(schemas.read(SUMMARY, results.Summary)))
        except files.RecordError as error:
            sys.exit(f"compare: {error}")
    else:
        inputs = [DEVELOPMENT, *schemas.paths(METRICS), *Path("data/weights").glob("*.npz")]
        stage.run("compare", main, inputs, Path("params.yaml"))
