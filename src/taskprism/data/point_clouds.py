"""Point clouds from depth."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

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


_FARTHEST_STEP = 0.1  # of the depth, between neighboring points of one surface


def glb(depth: Tensor, image: Tensor, camera: Intrinsics) -> bytes:
    """A colored surface as a binary glTF file, which browsers show.

    Neighboring pixels are connected by triangles, except where the depth jumps by more than a
    tenth. As in glTF, y is up, and the camera looks along negative z.

    Args:
        depth: ``(1, H, W)`` in meters, see :func:`unproject`.
        image: ``(3, H, W)`` RGB in [0, 1].
        camera: Of the image.

    Example:
        >>> import torch
        >>> content = glb(torch.ones(1, 2, 3), torch.ones(3, 2, 3), Intrinsics(1, 1, 1, 0.5))
        >>> content[:4], len(content) % 4
        (b'glTF', 0)
    """
    meters = depth[0].detach().cpu().numpy().astype(np.float32)
    valid = np.isfinite(meters) & (meters > 0)
    points = unproject(depth, camera) * np.array([1, -1, -1], np.float32)
    linear = image.clamp(0, 1).permute(1, 2, 0).numpy()[valid] ** 2.2  # glTF has no gamma here
    opaque = np.pad(linear, ((0, 0), (0, 1)), constant_values=1)
    colors = (opaque * 65535).round().astype(np.uint16)
    triangles = _triangles(meters, valid)
    parts = [triangles.tobytes(), points.tobytes(), colors.tobytes()]
    views, offset = [], 0
    for part, target in zip(parts, (34963, 34962, 34962), strict=True):  # indices, vertices
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(part), "target": target})
        offset += len(part)
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else ([0] * 3, [0] * 3)
    position = {"bufferView": 1, "componentType": 5126, "count": len(points), "type": "VEC3"}
    position |= {"min": [float(x) for x in low], "max": [float(x) for x in high]}
    attributes = {"POSITION": 1, "COLOR_0": 2}
    content: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "taskprism"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "materials": [{"doubleSided": True, "extensions": {"KHR_materials_unlit": {}}}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 0, "material": 0}]}],
        "buffers": [{"byteLength": offset}],
        "bufferViews": views,
        "accessors": [
            {"bufferView": 0, "componentType": 5125, "count": triangles.size, "type": "SCALAR"},
            position,
            {
                "bufferView": 2,
                "componentType": 5123,
                "normalized": True,
                "count": len(colors),
                "type": "VEC4",
            },
        ],
    }
    if not triangles.size:  # glTF allows no empty accessor
        content = {key: content[key] for key in ("asset", "scene")} | {"scenes": [{}]}
        parts = []
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if parts:
        chunks += struct.pack("<I4s", offset, b"BIN\0") + b"".join(parts)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _triangles(meters: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Indices of points ``(N, 3)`` uint32, counterclockwise seen from the camera."""
    numbers = np.cumsum(valid.ravel()).reshape(valid.shape) - 1
    corners = {
        "a": (slice(None, -1), slice(None, -1)),
        "b": (slice(None, -1), slice(1, None)),
        "c": (slice(1, None), slice(None, -1)),
        "d": (slice(1, None), slice(1, None)),
    }
    found = []
    for names in ("acb", "bcd"):
        depths = np.stack([meters[corners[name]] for name in names])
        usable = np.logical_and.reduce([valid[corners[name]] for name in names])
        with np.errstate(invalid="ignore"):
            usable &= np.ptp(depths, axis=0) <= _FARTHEST_STEP * depths.min(axis=0)
        found.append(np.stack([numbers[corners[name]][usable] for name in names], axis=1))
    return np.concatenate(found).astype(np.uint32)
