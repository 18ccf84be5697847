"""A small folder of labeled images, in common formats."""

import numpy as np
import pytest
import yaml
from PIL import Image

HEIGHT, WIDTH = 24, 32
NAMES = ["a", "b", "c", "d"]


def base_config():
    return {
        "name": "tiny",
        "root": ".",
        "license": "none",
        "image": "rgb/{name}.png",
        "input_size": [16, 24],
        "splits": {"train": "train.txt", "test": "test.txt"},
        "tasks": {
            "semseg": {
                "path": "semseg/{name}.png",
                "classes": ["floor", "wall", "thing"],
                "ignore": [255],
            },
            "depth": {"path": "depth/{name}.png", "encoding": {"scale": 0.001}, "ignore": [0]},
            "normals": {
                "path": "normals/{name}.png",
                "encoding": {
                    "scale": "1/127",
                    "offset": "-128/127",
                    "axes": ["right", "down", "forward"],
                },
                "ignore": [[0, 0, 0]],
            },
            "edge": {"path": "edge/{name}.png", "positive": "nonzero"},
        },
    }


class Folder:
    """Writes and changes the data, so that each test says only what it changes."""

    def __init__(self, root):
        self.root = root
        self.config = base_config()
        self.yaml = root / "data.yaml"

    def save(self, path, array):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, array)
        else:
            Image.fromarray(array).save(path)
        return path

    def write(self):
        self.yaml.write_text(yaml.safe_dump(self.config, sort_keys=False))
        return self.yaml


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path)
    random = np.random.default_rng(0)
    for name in NAMES:
        made.save(f"rgb/{name}.png", random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        semseg = random.integers(0, 3, (HEIGHT, WIDTH), dtype=np.uint8)
        semseg[0] = 255
        made.save(f"semseg/{name}.png", semseg)
        depth = random.integers(400, 60000, (HEIGHT, WIDTH), dtype=np.uint16)
        depth[1] = 0
        made.save(f"depth/{name}.png", depth)
        vectors = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
        vectors[:] = np.round(np.array([0.0, -0.6, -0.8]) * 127 + 128)
        vectors[2] = 0
        made.save(f"normals/{name}.png", vectors)
        made.save(f"edge/{name}.png", random.integers(0, 2, (HEIGHT, WIDTH), dtype=np.uint8) * 255)
    (tmp_path / "train.txt").write_text("a\nb\nc\n")
    (tmp_path / "test.txt").write_text("d\n")
    return made
