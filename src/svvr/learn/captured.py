"""Epochs on an accelerator as one graph: captured once, then replayed without starting each operation anew."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

FEW = 128  # examples of a rehearsal
Curves: TypeAlias = dict[str, Tensor]
# From examples x (K, N, inputs) and y (K, N) in their order to the epoch's curves.
Epoch: TypeAlias = Callable[[Tensor, Tensor], Curves]


class Captured:
    """Trains epoch after epoch by replays of a graph, where there can be one.

    An epoch is some thousand small operations, which an accelerator does faster than a processor starts them. A
    penalty that reads values back cannot be captured; then epochs are trained as they stand.

    Args:
        epoch: what it reads and writes beside its arguments must stay at its place.
        rehearsal: one that trains other models of the same shape. A few examples go through it first: libraries make
            their workspaces, a penalty is looked at, and its error is told.
    """

    def __init__(self, epoch: Epoch, rehearsal: Epoch) -> None:
        self._epoch, self._rehearsal = epoch, rehearsal
        self._graph: torch.cuda.CUDAGraph | None = None
        self._begun = False

    def __call__(self, x: Tensor, y: Tensor) -> Curves:
        """Train an epoch; see `svvr.learn.train.epoch`."""
        if not self._begun:
            self._begun = True
            self._rehearsal(x[:, :FEW], y[:, :FEW])
            self._capture(x, y)
        if self._graph is None:
            return self._epoch(x, y)
        self._x.copy_(x)
        self._y.copy_(y)
        self._graph.replay()
        return {name: curve.clone() for name, curve in self._curves.items()}  # the next replay overwrites them

    @property
    def captured(self) -> bool:
        """Whether epochs are replays of a graph."""
        return self._graph is not None

    def _capture(self, x: Tensor, y: Tensor) -> None:
        self._x, self._y, graph = x.clone(), y.clone(), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                self._curves = self._epoch(self._x, self._y)
        except (RuntimeError, ValueError):
            return  # a capture trains nothing, so nothing is lost
        self._graph = graph
