"""Stereo disparity of Cityscapes as depth, disparity or inverse depth.

The official PNGs hold 16-bit numbers p: 0 means that nothing was measured, otherwise the disparity
is (p - 1) / 256 pixels at the full width of 2048. A disparity of 0 (p = 1) is a point at infinity.
Depth is baseline times focal length over disparity, both of the image's own camera file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np

from taskprism.data.benchmarks.cityscapes_classes import SKY_ID
from taskprism.data.benchmarks.decoding import plane
from taskprism.data.benchmarks.variant import Decoded
from taskprism.errors import DataError

Target = Literal["inverse_depth", "depth", "disparity"]
Sky = Literal["measured", "drop", "zero"]


def read_camera(path: Path) -> float:
    """Baseline times horizontal focal length, in meters times pixels.

    Raises:
        DataError: If the file is missing, broken, or has no positive numbers there.
    """
    try:
        camera = json.loads(path.read_text(encoding="utf-8"))
        product = float(camera["extrinsic"]["baseline"]) * float(camera["intrinsic"]["fx"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: a camera file with extrinsic.baseline and intrinsic.fx is needed "
            f"({type(error).__name__}: {error})."
        ) from None
    if product <= 0:
        raise DataError(f"{path}: baseline times focal length is {product:g}; it must be positive.")
    return product


def stereo(
    disparity: Path,
    *others: Path,
    target: Target,
    sky: Sky,
    zero_disparity: Literal["drop", "keep"],
    limit: float | None,
) -> Decoded:
    """One image's distances.

    Args:
        disparity: 16-bit PNG.
        others: The camera file if ``target`` is depth, then the label ids unless ``sky`` is
            ``"measured"``.
        target: ``"depth"`` in meters, ``"disparity"`` in pixels of the stored width, or
            ``"inverse_depth"``: p / 65535, which is what MTAN's files hold.
        sky: As ``"measured"``, without label (``"drop"``), or infinitely far (``"zero"``).
        zero_disparity: Whether a measured disparity of 0 is a label.
        limit: Only values below it are labels.

    Raises:
        DataError: If a file is missing or broken, or the disparity is not 16-bit.
    """
    raw = plane(disparity)
    if raw.dtype == np.uint8:
        raise DataError(f"{disparity}: an 8-bit picture; official disparities have 16 bits.")
    stored = raw.astype(np.float64)
    pixels = np.maximum(stored - 1, 0) / 256
    valid = stored > 0
    if zero_disparity == "drop" or target == "depth":
        valid &= pixels > 0
    if target == "depth":
        values = read_camera(others[0]) / np.where(pixels > 0, pixels, np.inf)
    else:
        values = pixels if target == "disparity" else stored / 65535
    if limit is not None:
        valid &= values < limit
    if sky != "measured":
        is_sky = plane(others[-1]) == SKY_ID
        if is_sky.shape != raw.shape:
            raise DataError(f"{others[-1]} and {disparity} differ in size.")
        values = np.where(is_sky, 0.0, values)
        valid = valid & ~is_sky if sky == "drop" else valid | is_sky
    return values.astype(np.float32), valid
