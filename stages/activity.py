"""Evaluate each arm's penalty at its own runs and at those of its references: did it fall?"""

from svvr.execution import stage

NAME = stage.begin("activity")

from svvr import records
from svvr.params import Params
from svvr.training import penalty, run


def main(params: Params) -> None:
    data, rows = records.read_npz("data/dev.npz"), list[records.Row]()
    sizes = run.Run(0, 0.0, hidden=params.model.hidden).sizes(data)
    batch = data["x_validation"], data["y_validation"]
    for arm, reference in params.contrasts():
        settings, trained = params.arms[arm], records.read_rows(f"metrics/train/{arm}.json", "study", "seed")
        kept = trained.groupby("study", sort=False).head(params.diagnose.seeds)
        own = {name: kept[name].to_numpy() for name in settings.own(params.tuning.space)}
        found = kept[["study", "seed"]].assign(arm=arm, reference=reference)
        for column, name in (("value", arm), ("value_reference", reference)):
            weights = records.read_npz(f"data/weights/{name}.npz", "weights")["weights"][kept.index]
            found[column] = penalty.values(settings.penalty.name, sizes, weights, *batch, settings.fixed(), own)
        if settings.penalty.name != "none":
            rows += records.rows_of(found.astype(object).where(found.notna(), None))
    records.write_rows("metrics/activity.json", rows)


stage.run(NAME, main)
