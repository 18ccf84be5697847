"""Miniature NYUD-v2 trees, in the published formats: file types, dtypes, sentinels."""

from dataclasses import dataclass

import numpy as np
import scipy.io
from PIL import Image

HEIGHT, WIDTH = 34, 44
TRAIN, VAL = ("0003", "0005", "0006", "0011"), ("0001", "1449")


@dataclass
class Scene:
    """What the files say, in taskprism's terms but for the stored classes."""

    image: np.ndarray  # (H, W, 3) uint8
    classes: np.ndarray  # (H, W) 0..40
    depth: np.ndarray  # (H, W) float32 meters, 0 for none
    normals: np.ndarray  # (H, W, 3) float32 right, up, toward; 0 for none
    edge: np.ndarray  # (H, W) 0 or 1


def scene(seed, height=HEIGHT, width=WIDTH):
    """A floor below a wall, a smooth picture (JPEG keeps it), some pixels without labels."""
    random = np.random.default_rng(seed)
    horizon = height // 2 + int(random.integers(-3, 4))
    rows, columns = np.mgrid[:height, :width]
    floor = rows >= horizon
    red = np.where(floor, 200, 60)
    image = np.stack([red, columns * 255 // width, np.full_like(red, 30 * (seed % 6))], axis=2)
    classes = np.where(floor, 2, 1)
    classes[2:8, 4:12] = random.integers(3, 41)
    classes[:, :2] = 0
    depth = np.where(floor, 3.0 - 0.02 * (rows - horizon), 3.0).astype(np.float32)
    depth[:3, -4:] = 0
    tilt = np.array([0.0, 0.96, 0.28]), np.array([0.6, 0.0, 0.8])
    normals = np.where(floor[..., None], tilt[0], tilt[1]).astype(np.float32)
    normals[-3:, :5] = 0
    edge = np.zeros((height, width), dtype=np.uint8)
    edge[horizon] = 1
    return Scene(image.astype(np.uint8), classes.astype(np.uint8), depth, normals, edge)


def scenes():
    return {name: scene(number) for number, name in enumerate(TRAIN + VAL)}


def coded(normals):
    """As 8-bit pictures hold normals; zero vectors become 127 or 128."""
    return np.round((normals + 1) * 127.5 - 0.01).astype(np.uint8)


def write_nyud(root, kind):
    """NYUD_MT of ASTMT (``mat``) or of MTI-Net (``npy``), or InvPT's NYUDv2 (``png``)."""
    for folder in ("images", "segmentation", "depth", "normals", "edge", "gt_sets"):
        (root / folder).mkdir(parents=True)
    made = scenes()
    for name, one in made.items():
        image = Image.fromarray(one.image)
        if kind == "png":
            image.save(root / f"images/{name}.png")
        else:
            image.save(root / f"images/{name}.jpg", quality=95, subsampling=0)
        if kind == "mat":
            scipy.io.savemat(root / f"segmentation/{name}.mat", {"segmentation": one.classes})
            scipy.io.savemat(root / f"depth/{name}.mat", {"depth": one.depth})
            picture = Image.fromarray(coded(one.normals))
            picture.save(root / f"normals/{name}.jpg", quality=95, subsampling=0)
        else:
            Image.fromarray(one.classes).save(root / f"segmentation/{name}.png")
            np.save(root / f"depth/{name}.npy", one.depth)
        if kind == "npy":
            np.save(root / f"normals/{name}.npy", one.normals)
            np.save(root / f"edge/{name}.npy", one.edge.astype(np.float32))
        else:
            Image.fromarray(one.edge * 255).save(root / f"edge/{name}.png")
        if kind == "png":
            Image.fromarray(coded(one.normals)).save(root / f"normals/{name}.png")
    (root / "gt_sets/train.txt").write_text("\n".join(TRAIN) + "\n")
    (root / "gt_sets/val.txt").write_text("\n".join(VAL) + "\n")
    return made


def write_nyud13(root, height=36, width=48):
    """MTAN's NYUv2: numbered .npy files, classes -1..12."""
    made = {}
    for split, count in (("train", 4), ("val", 2)):
        for part in ("image", "label", "depth", "normal"):
            (root / split / part).mkdir(parents=True)
        for number in range(count):
            one = scene(number + 10 * count, height, width)
            # Floor 4, wall 11; 0..40 would be out of range here.
            labels = np.select([one.classes == 0, one.classes == 2], [-1, 4], 11).astype(np.int64)
            labels[2:8, 4:12] = number
            made[f"{split}/{number}"] = one, labels
            save = lambda part, values: np.save(root / split / part / f"{number}.npy", values)  # noqa: B023, E731
            save("image", one.image.astype(np.float32) / 255)
            save("label", labels.astype(np.float32))
            save("depth", one.depth[..., None])
            save("normal", one.normals)
    return made
