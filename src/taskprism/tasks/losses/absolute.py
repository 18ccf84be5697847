"""L1 loss, and L1 with the gradients of the map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from taskprism.tasks.losses.base import LabelKind, Loss, LossTask, register_loss
from taskprism.tasks.losses.pixels import hide, masked_mean


@register_loss
@dataclass(frozen=True, kw_only=True)
class L1(Loss):
    """Mean absolute error. Of normals, the prediction is made a unit vector first (MTI-Net).

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> target = torch.ones(1, 1, 2, 2)
        >>> create_task("depth", losses="l1").loss(target + 0.5, target, target > 0).item()
        0.5
    """

    name: ClassVar[str] = "l1"
    label_kinds: ClassVar[tuple[LabelKind, ...]] = ("values", "distance", "direction")

    def __call__(self, output: Tensor, target: Tensor, valid: Tensor, task: LossTask) -> Tensor:
        """Mean over the elements of valid pixels; see :func:`l1`."""
        return l1(output, target, valid)


@register_loss
@dataclass(frozen=True, kw_only=True)
class L1Gradient(Loss):
    r"""L1 plus L1 of the image gradients (ASTMT, Maninis et al., CVPR 2019).

    .. math:: \frac1{|V|} \sum_{p \in V} |r_p| + \frac1{|V|} \sum_p |S_x * r|_p + |S_y * r|_p

    with the residual r; see :func:`l1_gradient`.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> target = torch.ones(1, 1, 8, 8)
        >>> create_task("depth", losses="l1_gradient").loss(target, target, target > 0).item()
        0.0
    """

    name: ClassVar[str] = "l1_gradient"
    label_kinds: ClassVar[tuple[LabelKind, ...]] = ("distance",)

    def __call__(self, output: Tensor, target: Tensor, valid: Tensor, task: LossTask) -> Tensor:
        """Mean over valid pixels of both terms."""
        return l1_gradient(output, target, valid)


def l1(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute error over the elements of valid pixels.

    Example:
        >>> import torch
        >>> target = torch.zeros(2, 3, 4, 4)
        >>> l1(target + 0.5, target, torch.ones(2, 1, 4, 4, dtype=torch.bool)).item()
        0.5
    """
    return masked_mean((hide(output, valid) - hide(target, valid)).abs(), valid)


def l1_gradient(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    r"""L1 plus L1 of the image gradients (ASTMT, Maninis et al., CVPR 2019).

    .. math:: \frac1{|V|} \sum_{p \in V} |r_p| + \frac1{|V|} \sum_p |S_x * r|_p + |S_y * r|_p

    with the residual :math:`r = d - \hat d` and the unnormalized 3x3 Sobel filters
    :math:`S_x, S_y` on a zero-padded map. The residual is 0 at invalid pixels. (The released code
    of ASTMT sets only the label to 0 there. On depth maps without holes both are the same.)

    Example:
        >>> import torch
        >>> target = torch.zeros(1, 1, 8, 8)
        >>> valid = torch.ones_like(target, dtype=torch.bool)
        >>> l1_gradient(target + 0.5, target, valid) > l1(target + 0.5, target, valid)
        tensor(True)
    """
    residual = hide(output, valid) - hide(target, valid)
    gradients = sobel(residual).abs().sum(dim=1, keepdim=True)
    pixels = valid.sum().clamp(min=1)
    return masked_mean(residual.abs(), valid) + gradients.sum() / pixels


def sobel(values: Tensor) -> Tensor:
    """Zero-padded Sobel responses along x and y, ``(B, 1, H, W) -> (B, 2, H, W)``.

    Implemented with shifts, because autocast would run a convolution in half precision.

    Example:
        >>> import torch
        >>> sobel(torch.ones(1, 1, 4, 4)).shape
        torch.Size([1, 2, 4, 4])
    """
    p = F.pad(values, (1, 1, 1, 1))
    rows = p[..., :-2, :] + 2 * p[..., 1:-1, :] + p[..., 2:, :]  # smoothed along y
    columns = p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]  # smoothed along x
    along_x = rows[..., :-2] - rows[..., 2:]
    along_y = columns[..., :-2, :] - columns[..., 2:, :]
    return torch.cat([along_x, along_y], dim=1)
