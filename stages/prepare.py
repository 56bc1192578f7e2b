"""Make the data splits, and look at every arm's penalty: a mistake in one shows before anything is trained."""

from svvr.execution import stage

NAME = stage.begin("prepare")

from svvr import data, records
from svvr.execution import provenance, work
from svvr.params import Params
from svvr.training import penalty, run


def main(params: Params) -> None:
    unit = data.Asked(params.data.name, params.data.settings())
    kind = work.Work(data.compute, data.Made, data.Asked.modules)
    arrays = work.compute(NAME, [unit], kind, {}, keep=params.data.name == "mnist1d")[0].content
    sizes = run.Run(0, 0.0, hidden=params.model.hidden).sizes(arrays)
    for arm in params.arms.values():
        penalty.check(arm.penalty.name, sizes, tuple(arm.fixed().items()), tuple(arm.own(params.tuning.space)))
        provenance.refuse_unknown(arm.penalty.name)
    for file, splits in {"dev": ("train", "validation"), "test": ("test",)}.items():
        records.write_npz(f"data/{file}.npz", {name: arrays[name] for name in arrays if name[2:] in splits})
    records.write_rows("metrics/data.json", data.rows(arrays))


stage.run(NAME, main)
