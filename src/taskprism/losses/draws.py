"""Random draws of balancings, equal on all processes and in a resumed run."""

from __future__ import annotations

import hashlib

import torch

MOST_SEED = 2**32 - 1


def draw_generator(seed: int, step: int) -> torch.Generator:
    """CPU generator for the draws of one step.

    Args:
        seed: Option of the balancing.
        step: Number of the step.

    Example:
        >>> first, again = draw_generator(0, 3), draw_generator(0, 3)
        >>> torch.equal(torch.randn(2, generator=first), torch.randn(2, generator=again))
        True
    """
    digest = hashlib.blake2b(f"{seed} {step}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)
