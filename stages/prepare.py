"""Make the data splits, after a look at every arm's penalty: a mistake in one shows before anything is trained."""

from svvr.execution import stage

NAME = stage.begin("prepare")

from svvr import records
from svvr.data import mnist1d
from svvr.execution import provenance, work
from svvr.params import Params
from svvr.training import penalty


def main(params: Params) -> None:
    for arm in params.arms.values():
        own = tuple(arm.fixed().items()), tuple(arm.own(params.tuning.space))
        penalty.check(arm.penalty.name, (40, *params.model.hidden, 10), *own)
        provenance.refuse_unknown(arm.penalty.name)
    unit = params.data.seed, params.data.n_test, params.data.test_seed
    data = work.compute(NAME, [unit], work.Work(mnist1d.make, mnist1d.Made), {})[0].content
    for file, splits in {"dev": ("train", "validation"), "test": ("test",)}.items():
        records.write_npz(f"data/{file}.npz", {name: data[name] for name in data if name[2:] in splits})
    records.write_rows("metrics/data.json", mnist1d.rows(data))


stage.run(NAME, main)
