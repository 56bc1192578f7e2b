"""Make the data splits: MNIST-1D's own train and validation, and a fresh test split."""

from svvr.run import lifetime

lifetime.begin("prepare")

from pathlib import Path

from svvr.core import files
from svvr.core.params import Params
from svvr.data import make
from svvr.run import stage


def main(params: Params) -> None:
    development, test = make.splits(params.data.seed, params.data.n_test, params.data.test_seed)
    files.write_npz(Path("data/dev.npz"), development)
    files.write_npz(Path("data/test.npz"), test)
    files.write_json(Path("metrics/data.json"), make.record(development, test))


if __name__ == "__main__":
    stage.run("prepare", main, [], Path("params.yaml"))
