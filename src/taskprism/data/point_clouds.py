"""Point clouds from depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from taskprism.errors import InputError


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera: focal lengths and center, in pixels of the image.

    Attributes:
        fx: Focal length along the width.
        fy: Focal length along the height.
        cx: Column of the optical axis; the first pixel has its center at 0.
        cy: Row of the optical axis.

    Raises:
        InputError: A number is not finite, or a focal length is not positive.

    Example:
        >>> Intrinsics(525, 525, 319.5, 239.5).fx
        525
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        if (
            not np.isfinite([self.fx, self.fy, self.cx, self.cy]).all()
            or min(self.fx, self.fy) <= 0
        ):
            raise InputError(
                "Intrinsics are the focal lengths fx, fy > 0 and the center cx, cy in pixels, got "
                f"{self.fx}, {self.fy}, {self.cx}, {self.cy}."
            )


def unproject(depth: Tensor, camera: Intrinsics) -> np.ndarray:
    """Points ``(N, 3)`` float32 in meters: x to the right, y down, z forward.

    Args:
        depth: ``(1, H, W)``: distance along the optical axis in meters; pixels that are not finite
            and positive have no point.
        camera: Of the image.

    Example:
        >>> import torch
        >>> unproject(torch.full((1, 1, 2), 2.0), Intrinsics(1, 1, 0, 0)).tolist()
        [[0.0, 0.0, 2.0], [2.0, 0.0, 2.0]]
    """
    meters = depth[0].detach().cpu().numpy().astype(np.float32)
    rows, columns = np.nonzero(np.isfinite(meters) & (meters > 0))
    z = meters[rows, columns]
    x = (columns - camera.cx) / camera.fx * z
    y = (rows - camera.cy) / camera.fy * z
    return np.stack([x, y, z], axis=1).astype(np.float32)


def ply(depth: Tensor, image: Tensor, camera: Intrinsics) -> bytes:
    r"""Colored points as a binary PLY file, which MeshLab, Blender and Open3D open.

    Args:
        depth: ``(1, H, W)`` in meters, see :func:`unproject`.
        image: ``(3, H, W)`` RGB in [0, 1].
        camera: Of the image.

    Example:
        >>> import torch
        >>> content = ply(torch.ones(1, 2, 3), torch.ones(3, 2, 3), Intrinsics(1, 1, 0, 0))
        >>> content.split(b"\n")[2]
        b'element vertex 6'
    """
    points = unproject(depth, camera)
    valid = np.isfinite(depth[0].numpy()) & (depth[0].numpy() > 0)
    colors = (image.clamp(0, 1) * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)[valid]
    fields = [(axis, "<f4") for axis in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")]
    vertices = np.empty(len(points), dtype=fields)
    for column, axis in enumerate("xyz"):
        vertices[axis] = points[:, column]
    for column, color in enumerate(("red", "green", "blue")):
        vertices[color] = colors[:, column]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"property uchar {color}" for color in ("red", "green", "blue")]
    return "\n".join([*lines, "end_header", ""]).encode() + vertices.tobytes()
