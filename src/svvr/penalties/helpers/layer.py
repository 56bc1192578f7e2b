"""Which layer a weight matrix belongs to, for penalties that want to know."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A layer of a network.

    Attributes:
        index: from 0, at the inputs.
        n_layers: of the network; the last one is the head, whose outputs are the logits.
    """

    index: int
    n_layers: int

    @property
    def is_head(self) -> bool:
        """Whether this is the last layer."""
        return self.index == self.n_layers - 1
