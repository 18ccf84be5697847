"""What losses of dense prediction are made of: means over labeled pixels and images."""

from __future__ import annotations

import torch
from torch import Tensor

SHORTEST_VECTOR = 1e-6  # shorter outputs have no direction; below it 1 / length would explode


def full_precision(values: Tensor) -> Tensor:
    """``values`` as float32; float64 is kept.

    Example:
        >>> full_precision(torch.zeros(2, dtype=torch.float16)).dtype
        torch.float32
    """
    return values if values.dtype == torch.float64 else values.float()


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of ``values`` ``(B, C, H, W)`` over the elements of valid pixels; 0 if there are none.

    ``values`` must be finite: apply :func:`hide` to the inputs of the computation first.

    Example:
        >>> values = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
        >>> masked_mean(values, values > 2).item()
        3.0
    """
    mask = valid.expand_as(values)
    return (values * mask).sum() / mask.sum().clamp(min=1)


def hide(values: Tensor, valid: Tensor) -> Tensor:
    """``values`` in full precision, with 0 at invalid pixels, which get no gradient.

    Example:
        >>> values = torch.tensor([1.0, torch.nan]).view(1, 1, 1, 2)
        >>> hide(values, ~values.isnan()).flatten().tolist()
        [1.0, 0.0]
    """
    values = full_precision(values) if values.is_floating_point() else values
    return torch.where(valid, values, torch.zeros_like(values))


def unit_vectors(vectors: Tensor) -> Tensor:
    """``vectors`` ``(B, 3, H, W)`` divided by their length; vectors shorter than 1e-6 are kept.

    Published networks divide by ``length + 1e-12``, whose gradient at an output of zero is 1e12.
    Here it is 1.

    Example:
        >>> unit_vectors(torch.tensor([0.0, 0.0, 2.0]).view(1, 3, 1, 1)).flatten().tolist()
        [0.0, 0.0, 1.0]
    """
    length = torch.linalg.vector_norm(vectors, dim=-3, keepdim=True)
    return vectors / torch.where(length > SHORTEST_VECTOR, length, torch.ones_like(length))


def image_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of one value per image, in which an image counts as often as it has valid pixels.

    It is the mean over valid pixels that all have the value of their image, so a loss made with it
    keeps the contract of :meth:`taskprism.tasks.Task.loss`.

    Args:
        values: ``(B,)``, finite also for images without a valid pixel.
        valid: Boolean ``(B, 1, H, W)``.

    Returns:
        A scalar; 0 if no pixel is valid.

    Example:
        >>> valid = torch.tensor([True, True, True, False]).view(2, 1, 1, 2)
        >>> image_mean(torch.tensor([3.0, 0.0]), valid).item()
        2.0
    """
    pixels = valid.flatten(1).sum(dim=1).to(values.dtype)
    return (values * pixels).sum() / pixels.sum().clamp(min=1)


def one_hot(target: Tensor, valid: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Class indices ``(B, 1, H, W)`` as ``(B, classes, H, W)`` of 0 and 1; invalid pixels are 0.

    Example:
        >>> labels = torch.tensor([2, 255]).view(1, 1, 1, 2)
        >>> one_hot(labels, labels < 255, 3, torch.float32)[0, :, 0].tolist()
        [[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    """
    labels = hide(target, valid).long()
    zeros = torch.zeros(
        (labels.shape[0], classes, *labels.shape[2:]), dtype=dtype, device=labels.device
    )
    return zeros.scatter(1, labels, valid.to(dtype))
