"""Randomness that belongs to a place in the run, not to how the run got there.

Every random number of training is drawn from a generator seeded by the recipe's seed and the place
where it is needed (epoch, image, step). So a resumed run, another number of loader processes or an
evaluation in between change no number.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*place: int | str) -> int:
    """Seed in [0, 2**63) from a place such as ``(seed, "order", epoch)``; the same anywhere."""
    text = "/".join(str(part) for part in place)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the CPU generators of torch, numpy and Python inside, and restore them after.

    NumPy's is its legacy global one, which a user's own data set may draw from.
    """
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    torch.default_generator.manual_seed(seed)  # not CUDA's: augmentation runs on the CPU
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
