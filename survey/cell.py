"""Train one penalty in one regime at the points of the random design."""

from svvr.execution import stage

NAME = stage.begin("cell")

from svvr import data, records, survey, tuning
from svvr.execution import provenance, work
from svvr.training.run import score_row


def main(settings: survey.Survey) -> None:
    regime, penalty = NAME.partition("@")[2].split("-")
    params = settings.params(regime, penalty)
    provenance.refuse_unknown(penalty)
    unit = data.Asked(params.data.name, params.data.settings())
    kind = work.Work(data.compute, data.Made, data.Asked.modules)
    splits = work.compute(f"{NAME}, data", [unit], kind, {}, keep=params.data.name == "mnist1d")[0].content
    design = [({"arm": arm} | head, run) for arm in params.arms for head, run in tuning.design(params, arm)]
    heads, runs = zip(*design, strict=True)
    found = zip(heads, runs, work.compute(NAME, runs, work.SCORE, splits), strict=True)
    common = {"settings": survey.digest(params)}
    rows = [common | head | score_row(run, score) for head, run, score in found]
    records.write_rows(survey.record(regime, penalty), stage.report(NAME, rows))


stage.run(NAME, main, survey.load)
