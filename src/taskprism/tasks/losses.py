r"""Losses of dense prediction as pure functions.

All take an ``output`` ``(B, C, H, W)``, a ``target`` and a boolean ``valid`` ``(B, 1, H, W)``, and
return a scalar: the mean over valid pixels. Each of them guarantees:

* values at invalid pixels of output or target, even infinite or NaN, change nothing;
* if no pixel is valid, the loss is exactly 0, still has a graph, and its gradient is 0;
* the computation is in float32 (float64 if the output is), also under autocast.

Shapes never depend on the data, so compiled graphs and several processes work.

>>> import torch
>>> target, valid = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2, dtype=torch.bool)
>>> l1(target + 0.5, target, valid).item()
0.5
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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


def cross_entropy(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    r"""Softmax cross-entropy :math:`\frac1{|V|} \sum_{p \in V} -\log \mathrm{softmax}(x_p)_{y_p}`.

    Args:
        output: Logits ``(B, classes, H, W)``.
        target: Class indices ``(B, 1, H, W)``, int64 in ``0..classes-1`` at valid pixels.
        valid: Boolean ``(B, 1, H, W)``.

    Example:
        >>> labels = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
        >>> round(cross_entropy(torch.zeros(1, 5, 4, 4), labels, labels == 0).item(), 3)  # log 5
        1.609
    """
    labels = hide(target, valid).squeeze(1).long()
    per_pixel = F.cross_entropy(hide(output, valid), labels, reduction="none")
    return masked_mean(per_pixel.unsqueeze(1), valid)


def l1(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute error over the elements of valid pixels.

    Example:
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
        >>> sobel(torch.ones(1, 1, 4, 4)).shape
        torch.Size([1, 2, 4, 4])
    """
    p = F.pad(values, (1, 1, 1, 1))
    rows = p[..., :-2, :] + 2 * p[..., 1:-1, :] + p[..., 2:, :]  # smoothed along y
    columns = p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]  # smoothed along x
    along_x = rows[..., :-2] - rows[..., 2:]
    along_y = columns[..., :-2, :] - columns[..., 2:, :]
    return torch.cat([along_x, along_y], dim=1)


def normals_l1(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    r"""L1 between unit vectors, mean over the three elements of each valid pixel (MTI-Net).

    .. math:: \frac1{3|V|} \sum_{p \in V} \| n_p / \|n_p\|_2 - \hat n_p \|_1

    Example:
        >>> target = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
        >>> normals_l1(5 * target, target, torch.ones(1, 1, 1, 1, dtype=torch.bool)).item()
        0.0
    """
    return l1(unit_vectors(hide(output, valid)), target, valid)


def normals_cosine(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """One minus the cosine of the angle, mean over valid pixels (MTAN, Liu et al., CVPR 2019).

    Example:
        >>> target = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
        >>> normals_cosine(-5 * target, target, torch.ones(1, 1, 1, 1, dtype=torch.bool)).item()
        2.0
    """
    directions = unit_vectors(hide(output, valid))
    cosine = (directions * hide(target, valid)).sum(dim=1, keepdim=True)
    return masked_mean(1 - cosine, valid)


def balanced_binary_cross_entropy(
    output: Tensor, target: Tensor, valid: Tensor, positive_weight: float | None
) -> Tensor:
    r"""Binary cross-entropy with weights for the two classes (HED, Xie and Tu, ICCV 2015).

    .. math:: \frac1{|V|} \sum_{p \in V} w\, y_p \log(1 + e^{-x_p})
              + (1 - w)(1 - y_p) \log(1 + e^{x_p})

    Args:
        output: Logits ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)`` in [0, 1].
        valid: Boolean ``(B, 1, H, W)``.
        positive_weight: :math:`w` in [0, 1]; None uses the share of negatives among the valid
            pixels of the batch, as HED does.

    Example:
        >>> target = torch.ones(1, 1, 2, 2)
        >>> loss = balanced_binary_cross_entropy(0 * target, target, target > 0, 0.95)
        >>> round(loss.item(), 4)  # 0.95 log 2
        0.6585
    """
    logits = hide(output, valid)
    labels = hide(target, valid).to(logits.dtype)
    if positive_weight is None:
        weight = masked_mean(1 - labels, valid)
    else:
        weight = torch.as_tensor(positive_weight, dtype=logits.dtype, device=logits.device)
    positive = weight * labels * F.softplus(-logits)
    negative = (1 - weight) * (1 - labels) * F.softplus(logits)
    return masked_mean(positive + negative, valid)
