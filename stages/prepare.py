"""Make the data splits: MNIST-1D's own train and validation, and a fresh test split."""

from pathlib import Path

from svvr.core import files as records
from svvr.core.params import Params
from svvr.data.make import make as data
from svvr.run import stage


def main(params: Params) -> None:
    development, test = data.splits(params.data.seed, params.data.n_test, params.data.test_seed)
    records.write_npz(Path("data/dev.npz"), development)
    records.write_npz(Path("data/test.npz"), test)
    arrays = {**development, **test}
    record = {
        "n_train": len(development["y_train"]),
        "n_validation": len(development["y_validation"]),
        "n_test": len(test["y_test"]),
        "arrays": [
            {"name": name, "shape": list(array.shape), "dtype": str(array.dtype), "sha256": records.array_hash(array)}
            for name, array in arrays.items()
        ],
    }
    records.write_json(Path("metrics/data.json"), record)


if __name__ == "__main__":
    stage.run("prepare", main, [], Path("params.yaml"))
