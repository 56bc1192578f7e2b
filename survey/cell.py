"""Train one penalty in one regime at the points of the random design."""

from svvr.execution import stage

NAME = stage.begin("cell")

from svvr import data, records, survey, tuning
from svvr.execution import work
from svvr.training.run import Run, score_row


def main(settings: survey.Survey) -> None:
    regime, penalty = NAME.partition("@")[2].split("-")
    params = settings.params(regime, penalty)
    unit = data.Asked(params.data.name, params.data.settings())
    kind = work.Work(data.compute, data.Made, data.Asked.modules)
    splits = work.compute(f"{NAME}, data", [unit], kind, {}, keep=params.data.name == "mnist1d")[0].content
    draws = [(arm, draw) for arm in params.arms for draw in tuning.design(params, arm)]
    runs = [Run.of_arm(params, arm, draw.hyperparameters, draw.seed) for arm, draw in draws]
    rows = [
        {"arm": arm, "replicate": draw.replicate, "point": draw.point, **score_row(run, score)}
        for (arm, draw), run, score in zip(draws, runs, work.compute(NAME, runs, work.SCORE, splits), strict=True)
    ]
    stage.report(NAME, rows)
    records.write_rows(survey.record(regime, penalty), rows)


stage.run(NAME, main, survey.load)
