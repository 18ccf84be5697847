"""A slanted plane seen by a pinhole camera, with known depth, disparity and normals.

Axes: x right, y up, z toward the camera. The principal point is the image center.
"""

import torch
from torchvision import tv_tensors

from taskprism.tasks.binary import EdgeMap
from taskprism.tasks.depth import DepthMap, DisparityMap
from taskprism.tasks.normals import NormalMap
from taskprism.tasks.semseg import ClassMap
from taskprism.tasks.target import DenseTarget, ValidMask

FOCAL = 60.0  # pixels
OFFSET = 2.0  # meters from the camera to the plane, along its normal
BASELINE = 0.2  # meters


def pixel_grid(height, width):
    """Column and row of every pixel."""
    rows, columns = torch.meshgrid(
        torch.arange(height).double(), torch.arange(width).double(), indexing="ij"
    )
    return columns, rows


def plane_depth(normal, columns, rows, height, width):
    """Depth in meters at image positions (which may lie between pixels)."""
    ray_x = (columns - (width - 1) / 2) / FOCAL
    ray_y = -(rows - (height - 1) / 2) / FOCAL
    facing = normal[0] * ray_x + normal[1] * ray_y - normal[2]
    assert (facing < 0).all()
    return -OFFSET / facing


def unit(x, y, z):
    vector = torch.tensor([x, y, z], dtype=torch.float64)
    return vector / vector.norm()


def plane_sample(normal, height=64, width=96, hole=None):
    """A sample whose image and ``where`` target contain the position of each pixel.

    ``hole`` is a slice pair of pixels without depth and normals.
    """
    columns, rows = pixel_grid(height, width)
    depth = plane_depth(normal, columns, rows, height, width)[None].float()
    valid = torch.ones(1, height, width, dtype=torch.bool)
    image = torch.stack([columns / width, rows / height, torch.zeros_like(rows)]).float()
    normals = normal.float()[:, None, None].expand(3, height, width).clone()
    sparse = valid.clone()
    if hole is not None:
        sparse[:, hole[0], hole[1]] = False
        depth = depth * sparse
        normals = normals * sparse
    edge = ((columns.long() % 16 == 5) | (rows.long() % 16 == 5))[None].float()
    targets = {
        "where": DenseTarget(torch.stack([columns, rows]).float()),
        "depth": DepthMap(depth),
        "disparity": DisparityMap(BASELINE * FOCAL / depth.clamp(min=1e-3) * sparse),
        "normals": NormalMap(normals),
        "semseg": ClassMap((columns > width / 2)[None].long() + 1),
        "edge": EdgeMap(edge),
    }
    masks = {name: ValidMask(valid.clone()) for name in targets}
    for name in ("depth", "disparity", "normals"):
        masks[name] = ValidMask(sparse.clone())
    return {"name": "plane", "image": tv_tensors.Image(image), "targets": targets, "valid": masks}
