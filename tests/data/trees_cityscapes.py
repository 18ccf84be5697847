"""Miniature Cityscapes trees, in the published formats: file types, dtypes, sentinels."""

import json

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 32, 64
BASELINE, FOCAL = 0.209313, 2262.52
NAMES = {
    "train": [
        "aachen/aachen_000000_000019",
        "aachen/aachen_000001_000019",
        "bochum/bochum_000000_000313",
        "ulm/ulm_000094_000019",
    ],
    "val": ["frankfurt/frankfurt_000000_000294", "munster/munster_000000_000019"],
}


def street(seed, height=HEIGHT, width=WIDTH):
    """Image, label ids and stored disparity: sky, building, road and a car nearer than it."""
    random = np.random.default_rng(seed)
    rows = np.mgrid[:height, :width][0]
    ids = np.select([rows < height // 4, rows < height // 2], [23, 11], 7).astype(np.uint8)
    ids[-10:-4, 10:20] = 26
    ids[-1] = 1  # the bonnet of the own car
    ids[:2, :3] = random.choice([0, 4, 9, 10, 29])  # none of the 19
    meters = np.where(ids == 11, 40.0, 100.0 / (rows - height // 2 + 5).clip(5))
    disparity = BASELINE * FOCAL / meters
    stored = np.round(disparity * 256 + 1).astype(np.uint16)
    stored[ids == 23] = 3  # noise that a matcher leaves in the sky
    stored[:, -4:] = 0  # nothing measured
    stored[height // 2, :2] = 1  # measured, but infinitely far
    image = np.stack([ids * 7, rows * 4, np.full_like(rows, seed * 20)], axis=2).astype(np.uint8)
    return image, ids, stored


def write_official(root):
    """As www.cityscapes-dataset.com packs it."""
    made = {}
    number = 0
    for split, names in NAMES.items():
        for name in names:
            image, ids, stored = street(number)
            number += 1
            made[f"{split}/{name}"] = image, ids, stored
            camera = {
                "extrinsic": {"baseline": BASELINE, "pitch": 0.038, "roll": 0.0, "x": 1.7},
                "intrinsic": {"fx": FOCAL, "fy": 2265.3, "u0": 1096.98, "v0": 513.137},
            }
            save(root, f"leftImg8bit/{split}/{name}_leftImg8bit.png", image)
            save(root, f"gtFine/{split}/{name}_gtFine_labelIds.png", ids)
            save(root, f"gtFine/{split}/{name}_gtFine_instanceIds.png", ids)
            save(root, f"disparity/{split}/{name}_disparity.png", stored)
            path = root / f"camera/{split}/{name}_camera.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(camera))
    return made


def save(root, path, values):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def write_mtan(root, labels=("label_2", "label_7", "label_19"), height=HEIGHT, width=WIDTH):
    """MTAN's arrays: classes from -1, disparity / 65535 with a channel, images in [0, 1]."""
    made = {}
    for split, count in (("train", 4), ("val", 2)):
        for number in range(count):
            image, _, stored = street(number + 10 * count, height, width)
            random = np.random.default_rng(number)
            arrays = {
                "image": image / 255.0,
                "depth": (stored.astype(np.float64) / 65535)[..., None],
            }
            for folder in labels:
                classes = int(folder.rpartition("_")[2]) if "_" in folder else 19
                arrays[folder] = random.integers(-1, classes, (height, width)).astype(np.float64)
            for part, values in arrays.items():
                (root / split / part).mkdir(parents=True, exist_ok=True)
                np.save(root / split / part / f"{number}.npy", values)
            made[f"{split}/{number}"] = arrays
    return made
