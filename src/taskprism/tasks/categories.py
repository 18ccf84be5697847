"""Classes for tasks that have none: what a regression is where only regions will do.

ATRC (Bruggemann et al., ICCV 2021) attends to regions of the image that are predicted as classes,
and for that sorts depth into 40 bins and normals into 40 clusters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

COUNT = 40


def mean_on_log_scale(logits: Tensor, smallest: float, largest: float) -> Tensor:
    """Class logits of ``COUNT`` logarithmic bins -> the value that they amount to.

    The geometric mean of the bins' centers, weighted by the classes' probabilities.

    Args:
        logits: ``(B, COUNT, H, W)``.
        smallest: Lower end of the first bin, above 0.
        largest: Upper end of the last bin.

    Returns:
        ``(B, 1, H, W)`` in [smallest, largest].
    """
    step = math.log(largest / smallest) / COUNT
    places = torch.arange(COUNT, device=logits.device, dtype=logits.dtype) + 0.5
    centers = math.log(smallest) + step * places
    weighted = logits.softmax(dim=1) * centers.view(-1, 1, 1)
    return weighted.sum(dim=1, keepdim=True).exp()


def mean_direction(logits: Tensor) -> Tensor:
    """Class logits of ``COUNT`` directions -> their mean, weighted by the classes' probabilities.

    The directions are spread evenly over the half sphere z > 0, which is where surfaces that are
    seen can face (a spiral of golden angles, at equal steps in z).

    Args:
        logits: ``(B, COUNT, H, W)``.

    Returns:
        ``(B, 3, H, W)``, not of unit length.
    """
    places = torch.arange(COUNT, device=logits.device, dtype=logits.dtype) + 0.5
    z = places / COUNT
    angle = places * math.pi * (3 - math.sqrt(5))
    radius = (1 - z * z).sqrt()
    directions = torch.stack([radius * angle.cos(), radius * angle.sin(), z])
    return torch.einsum("dn,bnhw->bdhw", directions, logits.softmax(dim=1))
