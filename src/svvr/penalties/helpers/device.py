"""Where a tensor lies."""

from torch import Tensor


def at_hand(tensor: Tensor) -> bool:
    """Return whether reading a tensor's values is free: on an accelerator it waits for all work so far."""
    return tensor.device.type == "cpu"
