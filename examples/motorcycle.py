"""A real photograph with measured labels: depth, normals, edges and disparity of one stereo pair.

scikit-image contains the left image of "Motorcycle" from the Middlebury Stereo data set of 2014 and
its disparity, measured with structured light. Everything else is computed from the disparity: depth
from the camera's calibration, normals from planes fitted to the depth, and edges where the depth
jumps. The picture is cut into six tiles, four for training and two for testing. A data YAML
describes them, so they are read like your own data.

    python examples/motorcycle.py motorcycle
    taskprism data check motorcycle/motorcycle.yaml
    taskprism train rooms/multi_task --data.protocol motorcycle/motorcycle.yaml \
        --tasks depth normals edge --out runs/motorcycle
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from skimage import data, io

from taskprism.data.derived import edges_from_depth, normals_from_depth

# Calibration, from the documentation of skimage.data.stereo_motorcycle().
FOCAL = 994.978  # pixels
BASELINE = 0.193001  # meters
OFFSET = 31.086  # pixels between the image centers of the two cameras
CENTER = (311.193, 254.877)  # of the left camera, x and y in pixels

ROWS, COLUMNS = 2, 3
TEST = ("0_2", "1_0")  # row and column of a tile

YAML = """\
name: motorcycle
root: .
license: Middlebury Stereo 2014 (Scharstein et al., GCPR 2014), shipped by scikit-image
image: image/{name}.png
input_size: [240, 240]
splits:
  train: train.txt
  test: test.txt
tasks:
  depth: # meters, from 2.1 to 5.0
    path: depth/{name}.npy
    ignore: [0]
  normals: # x right, y up, z toward the camera
    path: normals/{name}.npy
    encoding: {axes: [right, up, toward]}
    ignore: [[0, 0, 0]]
  edge: # 255 on boundaries, 127 where unknown
    path: edge/{name}.png
    positive: [255]
    ignore: [127]
    options: {odsf: true, odsf_thresholds: 19, primary_metric: odsf}
  disparity: # pixels
    path: disparity/{name}.npy
    ignore: [0]
"""


def labels() -> dict[str, np.ndarray]:
    """The photograph and the labels computed from its disparity, ``(500, 741)`` pixels each.

    Returns:
        ``image`` uint8 RGB; ``depth`` in meters and ``disparity`` in pixels, 0 where neither is
        known; ``normals`` ``(H, W, 3)``, zeros where unknown; ``edge`` uint8, 255 on boundaries and
        127 where unknown.
    """
    left, _, disparity = data.stereo_motorcycle()
    known = np.isfinite(disparity)
    disparity = np.where(known, disparity, 0).astype(np.float32)
    depth = np.where(known, FOCAL * BASELINE / (disparity + OFFSET), 0).astype(np.float32)
    normals, _ = normals_from_depth(depth, (FOCAL, FOCAL), CENTER)
    edges, seen = edges_from_depth(depth)
    return {
        "image": left,
        "depth": depth,
        "normals": normals,
        "edge": np.where(seen, edges * np.uint8(255), np.uint8(127)),
        "disparity": disparity,
    }


def write(folder: str | Path) -> Path:
    """Write the tiles, the lists of names and the data YAML; return the path of the YAML."""
    folder = Path(folder)
    names: dict[str, list[str]] = {"train": [], "test": []}
    for kind, whole in labels().items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for row, strip in enumerate(np.array_split(whole, ROWS, axis=0)):
            for column, tile in enumerate(np.array_split(strip, COLUMNS, axis=1)):
                name = f"{row}_{column}"
                if tile.dtype == np.uint8:
                    io.imsave(folder / kind / f"{name}.png", tile, check_contrast=False)
                else:
                    np.save(folder / kind / f"{name}.npy", tile)
                if kind == "image":
                    names["test" if name in TEST else "train"].append(name)
    for split, listed in names.items():
        (folder / f"{split}.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")
    path = folder / "motorcycle.yaml"
    path.write_text(YAML, encoding="utf-8")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="motorcycle")
    print(f"Wrote {write(parser.parse_args().folder)}.")
