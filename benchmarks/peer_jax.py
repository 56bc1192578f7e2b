"""JAX's way to train many models: a run is one function, `scan` loops over its epochs and steps, and `jit` compiles it.

As its documentation recommends it: loops are `lax.scan` within one `jit`
(https://docs.jax.dev/en/latest/jax.lax.html, https://docs.jax.dev/en/latest/jit-compilation.html), the optimizer is
optax's (https://optax.readthedocs.io/en/latest/getting_started.html), and the runs of a stack are either vectorised by
`vmap` (https://docs.jax.dev/en/latest/automatic-vectorization.html), or taken one after the other by `lax.map`, or
that on each core as a device of its own, by `shard_map` (https://docs.jax.dev/en/latest/notebooks/shard_map.html).

Shapes are static: an epoch is a scan over its full batches, and then a step on the short last one. Under `vmap`
regularized runs did not end twice with jaxlib 0.10.2 on two cores, all threads idle, so that form is for the baseline
alone.
"""

import math
import os
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from torch import Tensor, from_numpy

from svvr.records import Arrays
from svvr.training import model

FORMS = {"jax.vmap": (0.0,), "jax.lax.map": (0.0, 0.3), "jax.shard_map": (0.0, 0.3)}  # strengths that each is for
jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)


def cross_entropy(parameters: Any, x: Any, y: Any) -> Any:
    for W, b in parameters[:-1]:
        x = jax.nn.relu(x @ W + b)
    return optax.softmax_cross_entropy_with_integer_labels(x @ parameters[-1][0] + parameters[-1][1], y).mean()


def objective(strength: float, parameters: Any, x: Any, y: Any) -> Any:
    loss = cross_entropy(parameters, x, y)
    if strength:
        loss += strength * sum(jnp.linalg.svd(W, compute_uv=False).var(ddof=1) for W, _ in parameters)
    return loss


def run(lr: float, strength: float, batch_size: int, data: Any, initial: Any, orders: Any) -> Any:
    """Train one network from its initial parameters in the orders (epochs, N); return its validation losses."""
    optimizer = optax.adam(lr)
    x, y = data["x_train"], data["y_train"]

    def step(state: Any, rows: Any) -> tuple[Any, None]:
        parameters, moments = state
        gradient = jax.grad(partial(objective, strength))(parameters, x[rows], y[rows])
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(parameters, updates), moments), None

    def epoch(state: Any, order: Any) -> tuple[Any, Any]:
        full = len(order) - len(order) % batch_size
        state, _ = lax.scan(step, state, order[:full].reshape(-1, batch_size))
        if full < len(order):
            state, _ = step(state, order[full:])
        return state, cross_entropy(state[0], data["x_validation"], data["y_validation"])

    return lax.scan(epoch, (initial, optimizer.init(initial)), orders)[1]


@cache
def program(form: str, n_devices: int, lr: float, strength: float, batch_size: int) -> tuple[Any, Any, Any]:
    """Return the compiled function, and where to put its data and its runs' arrays."""
    one = partial(run, lr, strength, batch_size)

    def in_turn(data: Any, initial: Any, orders: Any) -> Any:
        return lax.map(lambda each: one(data, *each), (initial, orders))

    if form != "jax.shard_map":
        return jax.jit(jax.vmap(one, (None, 0, 0)) if form == "jax.vmap" else in_turn), None, None
    mesh = jax.make_mesh((n_devices,), ("runs",), devices=jax.devices()[:n_devices])
    whole, runs = PartitionSpec(), PartitionSpec("runs")
    sharded = jax.shard_map(in_turn, mesh=mesh, in_specs=(whole, runs, runs), out_specs=runs)
    return jax.jit(sharded), NamedSharding(mesh, whole), NamedSharding(mesh, runs)


def train(
    form: str, data: Arrays, initial: Tensor, orders: Tensor, lr: float, strength: float, batch_size: int = 128
) -> Tensor:
    """Train networks from `initial` (K, P) in `orders` (K, epochs, N), in one of FORMS; return their validation losses.

    (K, epochs); `data` holds the train and validation splits.
    """
    layers = [(W.mT.numpy(), b.numpy()) for W, b in model.layers(initial, (40, 128, 128, 10))]
    n_devices = math.gcd(len(initial), jax.device_count())  # each takes as many runs
    function, whole, runs = program(form, n_devices, lr, strength, batch_size)
    arguments = jax.device_put((data, layers, orders.numpy().astype(np.int32)), (whole, runs, runs))
    return from_numpy(np.array(function(*arguments)))
