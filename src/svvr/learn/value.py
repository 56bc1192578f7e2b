"""What a penalty is worth at finished runs: did it fall where it was a part of the loss?"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from svvr.core.files import Arrays
from svvr.learn import model, penalty
from svvr.learn.network import network
from svvr.penalties.helpers.layer import Layer
from svvr.run.evaluate import CHUNK

if TYPE_CHECKING:
    from svvr.core.params import Params

# Penalties of how even singular values are: their figure is the coefficient of variation, which `diagnose` measures.
EVENNESS = frozenset(
    {"sv_variance", "sv_variance_hidden", "sv_variance_scaled", "sv_variation", "condition_number", "orthogonality"}
)
EXAMPLES = 1000  # of the validation split, for penalties of a batch
RUN = ["study", "seed"]  # what names a run of an arm
Floats: TypeAlias = npt.NDArray[np.float32]


def values(
    name: str, sizes: Sequence[int], weights: Floats, x: Floats, y: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return a penalty's value at K networks, (K,), summed over the weight matrices where it is of one matrix.

    Args:
        name: of the penalty, of whichever kind.
        sizes: of the layers, inputs first.
        weights: (K, P), all parameters; a network whose parameters are not finite has the value NaN.
        x: (B, inputs), the batch that a penalty of the network sees.
        y: (B,), its labels.

    Raises:
        ValueError: where there is no such penalty.
    """
    module = penalty.load(name)
    n_arguments = penalty.arguments(name, module)

    def of(flat: torch.Tensor) -> torch.Tensor:
        if n_arguments == 3:
            inputs, labels = torch.from_numpy(x).expand(len(flat), -1, -1), torch.from_numpy(y).expand(len(flat), -1)
            return module.penalty(network(flat, sizes, inputs), inputs, labels)  # type: ignore[no-any-return]
        total, matrices = torch.zeros(len(flat)), model.stack(flat, sizes).weights
        for index, weight in enumerate(matrices):
            layer = [Layer(index, len(matrices))] if n_arguments == 2 else []
            total = total + module.penalty(weight, *layer)
        return total

    found = np.full(len(weights), np.nan)
    finite = np.flatnonzero(np.isfinite(weights).all(axis=1))
    for start in range(0, len(finite), CHUNK):
        part = finite[start : start + CHUNK]
        found[part] = of(torch.from_numpy(weights[part]).requires_grad_()).detach().double().numpy()
    return found


def changes(
    params: "Params", contrasts: Sequence[tuple[str, str]], finals: Mapping[str, Arrays], data: Arrays
) -> pd.DataFrame:
    """Compare an arm's penalty at its own runs with the same penalty at the runs of its reference.

    Args:
        params: `arms` and `model` are read.
        contrasts: (arm, reference).
        finals: arm -> `study`, `seed` (runs,) and `weights` (runs, P) of its final runs.
        data: the train and validation splits.

    Returns:
        A row a pair of runs, for contrasts of which the arm has a penalty other than of EVENNESS: arm, reference,
        study, seed, and d, the logarithm of 1 plus the change relative to the reference's absolute value; missing where
        either run has none.
    """
    sizes = data["x_train"].shape[1], *params.model.hidden, int(data["y_train"].max()) + 1
    batch = data["x_validation"][:EXAMPLES], data["y_validation"][:EXAMPLES]
    columns, frames = ["arm", "reference", *RUN, "d"], []
    for arm, reference in contrasts:
        name = params.arms[arm].penalty.name
        if name in EVENNESS | {"none"}:
            continue
        own, other = (
            pd.DataFrame({key: runs[key] for key in RUN} | {"v": values(name, sizes, runs["weights"], *batch)})
            for runs in (finals[arm], finals[reference])
        )
        pairs = own.merge(other, on=RUN, suffixes=("", "_reference"), validate="one_to_one")
        fall = (pairs["v"] - pairs["v_reference"]) / pairs["v_reference"].abs().where(pairs["v_reference"] != 0)
        frames.append(pairs.assign(arm=arm, reference=reference, d=np.log1p(fall.clip(lower=1e-9 - 1))))
    return pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns)
