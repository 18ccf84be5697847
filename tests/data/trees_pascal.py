"""A miniature PASCAL_MT tree, in the published formats: palettes, MATLAB structures, lists."""

import json
from dataclasses import dataclass

import numpy as np
import scipy.io
from PIL import Image

HEIGHT, WIDTH = 30, 40
TRAIN, VAL = ("2008_000008", "2008_000015", "2008_000019", "2008_000023"), ("2008_000002", "2010_9")
CHAIR, SKY, ROAD = 72, 360, 324  # of the 459 context labels; rooms have the first only
PALETTE = [value for index in range(256) for value in (index, 255 - index, index // 2)]


@dataclass
class Photo:
    """What the files say."""

    image: np.ndarray  # (H, W, 3) uint8
    semseg: np.ndarray  # (H, W) 0..20, 255
    context: np.ndarray  # (H, W) 1..459
    normals: np.ndarray  # (H, W, 3) uint8
    saliency: np.ndarray  # (H, W) uint8
    parts: np.ndarray | None  # (H, W) 0..6


def photo(seed, person):
    """Sky above road with a chair on it, and a person of head, torso and hand."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    context = np.where(rows < HEIGHT // 2, SKY, ROAD).astype(np.uint16)
    context[8:26, 20:34] = CHAIR
    semseg = np.where(context == CHAIR, 9, 0).astype(np.uint8)
    semseg[7:27, 19] = 255
    semseg[0, 0] = random.integers(1, 21)
    normals = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    normals[:] = (128, 250, 163)  # up and toward the camera
    normals[10, 22:26] = 127  # no direction
    saliency = np.clip(columns * 7, 0, 255).astype(np.uint8)
    parts = None
    if person:
        parts = np.zeros((HEIGHT, WIDTH), np.uint8)
        parts[4:8, 4:9] = 1
        parts[8:18, 3:10] = 2
        parts[12:15, 2:4] = 4  # the hand is in front
        semseg[parts > 0] = 15
    image = np.stack([semseg, rows * 5, columns * 5], axis=2).astype(np.uint8)
    return Photo(image, semseg, context, normals, saliency, parts)


def palette_png(values, path):
    picture = Image.fromarray(values, mode="P")
    picture.putpalette(PALETTE)
    picture.save(path)


def annotation(one, path):
    """As PASCAL-Part saves it: structures in structures; objects without parts have []."""
    struct = [("class", object), ("class_ind", object), ("mask", object), ("parts", object)]

    def entry(name, index, mask, parts):
        rows = np.zeros((1, len(parts)), dtype=[("part_name", object), ("mask", object)])
        for number, (part, where) in enumerate(parts):
            rows[0, number] = (part, where.astype(np.uint8))
        return name, float(index), mask.astype(np.uint8), rows if parts else np.zeros((0, 0))

    everything = [entry("chair", 9, one.context == CHAIR, [])]
    if one.parts is not None:
        hair = np.zeros_like(one.parts)
        hair[4, 4:9] = 1
        parts = [
            ("head", one.parts == 1),
            ("hair", hair),
            ("torso", (one.parts == 2) | (one.parts == 4)),
            ("neck", np.zeros_like(one.parts)),
            ("lhand", one.parts == 4),
        ]
        everything.append(entry("person", 15, one.parts > 0, parts))
    objects = np.zeros((1, len(everything)), dtype=struct)
    for number, values in enumerate(everything):
        objects[0, number] = values
    scipy.io.savemat(path, {"anno": {"imname": path.stem, "objects": objects}})


def write_pascal(root, json_lists=True):
    folders = (
        "JPEGImages", "semseg/VOC12", "semseg/pascal-context", "human_parts",
        "pascal-context/trainval", "normals_distill", "sal_distill", "ImageSets/Context",
        "ImageSets/Parts",
    )  # fmt: skip
    for folder in folders:
        (root / folder).mkdir(parents=True)
    made = {}
    for number, name in enumerate(TRAIN + VAL):
        one = made[name] = photo(number, person=number % 2 == 0)
        Image.fromarray(one.image).save(root / f"JPEGImages/{name}.jpg", quality=95, subsampling=0)
        # VOC has labeled some of the images; where it has not, labels are made from context.
        voc = number % 3 != 2
        if voc:
            palette_png(one.semseg, root / f"semseg/VOC12/{name}.png")
        other = np.zeros_like(one.semseg) if voc else one.semseg
        palette_png(other, root / f"semseg/pascal-context/{name}.png")
        annotation(one, root / f"human_parts/{name}.mat")
        path = root / f"pascal-context/trainval/{name}.mat"
        scipy.io.savemat(path, {"LabelMap": one.context})
        Image.fromarray(one.normals).save(root / f"normals_distill/{name}.png")
        Image.fromarray(one.saliency).save(root / f"sal_distill/{name}.png")
    for split, listed in (("train", TRAIN), ("val", VAL)):
        (root / f"ImageSets/Context/{split}.txt").write_text("\n".join(listed) + "\n")
        if json_lists:
            objects = {n: [9, 15] if made[n].parts is not None else [9, -1] for n in listed}
            (root / f"ImageSets/Parts/{split}.txt").write_text(json.dumps(objects))
    return made
