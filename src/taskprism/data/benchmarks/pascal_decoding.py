"""What the label files of PASCAL-Context hold: parts, context labels, distilled maps."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.morphology import thin

from taskprism.data.benchmarks import decoding, names
from taskprism.data.benchmarks.decoding import Axes
from taskprism.data.benchmarks.pascal_labels import INDOORS, PERSON, SIX_PARTS
from taskprism.data.benchmarks.variant import Decoded
from taskprism.data.files import read_array
from taskprism.errors import DataError

PARTS = "human_parts/{name}.mat"


def context_edges(path: Path) -> Decoded:
    """Boundaries between any two of the 459 context labels, one pixel wide.

    Where the 3x3 Laplacian of the label indices is not 0, thinned; the border mirrors, so that the
    picture's rim is no boundary. What benchmark scripts score against is made differently, see
    ``taskprism edges --gt seism``.
    """
    labels = decoding.plane(path, "LabelMap").astype(np.float64)
    boundary = ndimage.laplace(labels, mode="mirror") != 0
    return thin(boundary).astype(np.float32), np.ones(labels.shape, dtype=bool)


def indoor_normals(path: Path, context: Path, *, axes: Axes) -> Decoded:
    """Distilled 8-bit normals where the context label is one that rooms have too.

    Raises:
        DataError: If a file is missing or broken, or the two differ in size.
    """
    values, valid = decoding.directions(path, axes=axes, scale=2 / 255, offset=-1.0)
    labels = decoding.plane(context, "LabelMap")
    if labels.shape != valid.shape:
        raise DataError(f"{path} and {context} differ in size.")
    return values, valid & np.isin(labels, list(INDOORS))


def brighter(path: Path, *, than: float) -> Decoded:
    """1 where an 8-bit picture, divided by 255, is above ``than``; every pixel is a label."""
    raw = decoding.plane(path)
    return (raw.astype(np.float32) / 255 > than).astype(np.float32), np.ones(raw.shape, dtype=bool)


def human_parts(path: Path) -> Decoded | None:
    """Six parts of people and background, or None where nobody with parts is in the image.

    Of two overlapping people (and parts) the later in the file is in front.

    Raises:
        DataError: If the file is broken or has a part that PASCAL-Part does not.
    """
    classes: np.ndarray | None = None
    for _, mask, parts in _people(path):
        for name, where in parts:
            if name not in SIX_PARTS:
                raise DataError(f"{path}: {name!r} is no part of a person in PASCAL-Part.")
            if classes is None:
                classes = np.zeros(mask.shape, dtype=np.int64)
            classes[where != 0] = SIX_PARTS[name]
    if classes is None or not classes.any():
        return None
    return classes, np.ones(classes.shape, dtype=bool)


def _people(path: Path) -> list[tuple[int, np.ndarray, list[tuple[str, np.ndarray]]]]:
    """Category, mask and (name, mask) of the parts, of each person in a file."""
    annotation = read_array(path, "anno")
    try:
        # MATLAB structures by position: anno = (file, objects), an object = (name, category, mask,
        # parts), a part = (name, mask). An object without parts has an empty array there.
        found = []
        for one in annotation[0][0][1][0]:
            category = int(one[1].item())
            if category == PERSON:
                rows = one[3][0] if one[3].size else []
                found.append((category, one[2], [(str(p[0].item()), p[1]) for p in rows]))
        return found
    except (IndexError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: this is no annotation of PASCAL-Part ({type(error).__name__}: {error})."
        ) from None


def with_people(root: Path, *, file: str, parts: str) -> list[str]:
    """Names of a list whose images show a person.

    The list ``parts`` that other loaders write (JSON: name -> categories of the objects) answers
    it at once; without it every annotation is opened.
    """
    return list(_with_people(root, file, parts))


@lru_cache(maxsize=8)
def _with_people(root: Path, file: str, parts: str) -> tuple[str, ...]:
    listed = names.listed(root, file=file)
    try:
        categories: Any = json.loads((root / parts).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        categories = None
    if isinstance(categories, dict) and set(listed) <= set(categories):
        return tuple(name for name in listed if PERSON in categories[name])
    paths = ((name, root / PARTS.replace("{name}", name)) for name in listed)
    # A missing file stays in, so that it is reported as missing.
    return tuple(name for name, path in paths if not path.is_file() or human_parts(path))
