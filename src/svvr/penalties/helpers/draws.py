"""Random numbers for penalties that want some: the same at every call and for every matrix of a stack."""

import torch
from torch import Tensor


def normal(*shape: int, like: Tensor, seed: int = 0) -> Tensor:
    """Draw standard normal numbers from a generator of their own.

    Args:
        *shape: of the result, without the stack's dimensions, over which it broadcasts.
        like: whose dtype and device the result has.
        seed: another one draws other numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(like)
