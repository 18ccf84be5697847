"""Label maps as typed tensors that know how geometric transforms change them.

A target is a :class:`DenseTarget` of shape ``(C, H, W)`` (or ``(B, C, H, W)`` in a batch). Pixels
without a label are not marked by a value in it but by a :class:`ValidMask` ``(1, H, W)`` of the
same sample. Flips, zooms, rotations and resizes move the pixels of all targets in the same way. How
they change the *values* (a flip reverses the x component of normals, a zoom divides depth) is
defined by the four ``after_*`` hooks, which the target type of a task overrides.
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
        zero_is_label: Whether 0 is a label (a class, "no edge") and not a missing value (no depth,
            no direction). Used only where a border is filled with zeros, as in some papers.
        is_direction: Whether the channels are the components of a unit vector. The directions of
            the axes of its files must then be declared.
        similar_within: The :meth:`difference` below which two pixels have similar labels.
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
        """Wrap ``data`` (anything for :func:`torch.as_tensor`), without a copy if possible."""
        return torch.as_tensor(data, dtype=dtype or cls.dtype_of_values).as_subclass(cls)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Allow targets of different types in one operation, as in ``depth[valid]``."""
        others = tuple(kind for kind in types if not issubclass(kind, tv_tensors.TVTensor))
        return super().__torch_function__(func, others, args, kwargs)

    @classmethod
    def resample(cls, values: Tensor, size: tuple[int, int]) -> Tensor:
        """Values ``(..., H, W)`` on a grid of ``size``: the nearest pixel, with centers aligned."""
        height, width = values.shape[-2:]
        rows = ((torch.arange(size[0]) + 0.5) * height / size[0]).long()
        columns = ((torch.arange(size[1]) + 0.5) * width / size[1]).long()
        return values.index_select(-2, rows.to(values.device)).index_select(
            -1, columns.to(values.device)
        )

    @classmethod
    def after_horizontal_flip(cls, values: Tensor) -> Tensor:
        """Values ``(..., C, H, W)`` after a horizontal flip."""
        return values

    @classmethod
    def after_zoom(cls, values: Tensor, factor: float) -> Tensor:
        """Values after the content of the image was enlarged by ``factor``."""
        return values

    @classmethod
    def after_rotation(cls, values: Tensor, degrees: float) -> Tensor:
        """Values after the content of the image was rotated ``degrees`` counter-clockwise."""
        return values

    @classmethod
    def after_resize(cls, values: Tensor, height_ratio: float, width_ratio: float) -> Tensor:
        """Values after sampling the same view on another grid (``new size / old size``)."""
        return values

    @classmethod
    def difference(cls, first: Tensor, second: Tensor) -> Tensor:
        """Difference between labels of pixels, in the unit of ``similar_within``.

        By default the mean absolute difference of the channels, for values in [0, 1].

        Args:
            first: Labels ``(..., C, H, W)``.
            second: Labels of other pixels, of the same shape.

        Returns:
            ``(..., 1, H, W)`` float, >= 0; symmetric in both arguments.
        """
        return (first.float() - second.float()).abs().mean(dim=-3, keepdim=True)


class ValidMask(DenseTarget):
    """Boolean ``(..., 1, H, W)``: True where the target of the same name has a label.

    Border pixels that a transform adds are False.

    Example:
        >>> from taskprism.tasks import ValidMask
        >>> ValidMask([[[1, 0]]]).dtype
        torch.bool
    """

    dtype_of_values: ClassVar[torch.dtype] = torch.bool
