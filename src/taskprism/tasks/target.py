"""Label maps as typed tensors that know how geometry changes them.

A target is a :class:`DenseTarget` of shape ``(C, H, W)`` (or ``(B, C, H, W)`` in a batch). Pixels
without a label are not marked by a number inside it but by a :class:`ValidMask` ``(1, H, W)`` of
the same sample. Flipping, zooming, rotating and resizing move the pixels of every target alike;
what these do to the *values* (a flipped normal looks the other way, a zoomed depth comes nearer) is
said by the four ``after_*`` hooks, which the target type of a task overrides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torchvision import tv_tensors


class DenseTarget(tv_tensors.TVTensor):
    """Base of all label maps, shape ``(..., C, H, W)``; resampled by nearest neighbor.

    Attributes:
        zero_is_label: Whether 0 means something (a class, "no edge") rather than nothing (no
            depth, no direction). Asked only where a border is filled with zeros, as some papers do.
        is_direction: Whether the channels are the components of a unit vector, so that files must
            say which way their axes point.
        similar_within: The :meth:`difference` below which two pixels are labeled alike.
        dtype_of_values: Type that data is converted to, unless ``dtype`` is given.

    Example:
        >>> from taskprism.tasks import DenseTarget
        >>> class Temperature(DenseTarget):
        ...     zero_is_label = False
        >>> Temperature([[[20, 21]]]).dtype
        torch.float32
    """

    zero_is_label: ClassVar[bool] = True
    is_direction: ClassVar[bool] = False
    similar_within: ClassVar[float] = 0.1
    dtype_of_values: ClassVar[torch.dtype] = torch.float32

    def __new__(cls, data: Any, *, dtype: torch.dtype | None = None) -> Self:
        """Wrap ``data`` (anything :func:`torch.as_tensor` takes) without a copy where possible."""
        return torch.as_tensor(data, dtype=dtype or cls.dtype_of_values).as_subclass(cls)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Let different targets meet in one operation, as in ``depth[valid]``; see TVTensor."""
        others = tuple(kind for kind in types if not issubclass(kind, tv_tensors.TVTensor))
        return super().__torch_function__(func, others, args, kwargs)

    @classmethod
    def resample(cls, values: Tensor, size: tuple[int, int]) -> Tensor:
        """Values ``(..., H, W)`` on a grid of ``size``: the nearest pixel, centers aligned."""
        height, width = values.shape[-2:]
        rows = ((torch.arange(size[0]) + 0.5) * height / size[0]).long()
        columns = ((torch.arange(size[1]) + 0.5) * width / size[1]).long()
        return values.index_select(-2, rows.to(values.device)).index_select(
            -1, columns.to(values.device)
        )

    @classmethod
    def after_horizontal_flip(cls, values: Tensor) -> Tensor:
        """Values ``(..., C, H, W)`` after left and right have been exchanged."""
        return values

    @classmethod
    def after_zoom(cls, values: Tensor, factor: float) -> Tensor:
        """Values after everything in the image has become ``factor`` times larger."""
        return values

    @classmethod
    def after_rotation(cls, values: Tensor, degrees: float) -> Tensor:
        """Values after the image content has been turned ``degrees`` counter-clockwise."""
        return values

    @classmethod
    def after_resize(cls, values: Tensor, height_ratio: float, width_ratio: float) -> Tensor:
        """Values after sampling the same view on another grid (``new size / old size``)."""
        return values

    @classmethod
    def difference(cls, first: Tensor, second: Tensor) -> Tensor:
        """How far the labels of pixels are apart, in the unit of ``similar_within``.

        By default the mean absolute difference of the channels, which suits values in [0, 1].

        Args:
            first: Labels ``(..., C, H, W)``.
            second: Those of other pixels, of the same shape.

        Returns:
            ``(..., 1, H, W)`` float, >= 0, the same if both are exchanged.
        """
        return (first.float() - second.float()).abs().mean(dim=-3, keepdim=True)


class ValidMask(DenseTarget):
    """Boolean ``(..., 1, H, W)``: True where the target of the same name holds a label.

    Border pixels that a transform invents are False.
    """

    dtype_of_values: ClassVar[torch.dtype] = torch.bool
