"""Miniature trees of FSV, VOC, SBD, MSRA10K, PASCAL-S and BSDS500, in the published formats."""

import numpy as np
import scipy.io
from PIL import Image
from trees_pascal import palette_png

HEIGHT, WIDTH = 32, 48


def picture(seed, height=HEIGHT, width=WIDTH):
    rows, columns = np.mgrid[:height, :width]
    red = np.where(columns > width // 2, 220, 40)
    return np.stack([red, rows * 7 % 256, np.full_like(red, seed * 20)], axis=2).astype(np.uint8)


def save(root, path, values, **options):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)


def write_list(root, path, names):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(names) + "\n")


def write_fsv(root, train=4, test=2):
    made = {}
    for split, count, first in (("train", train, 0), ("test", test, 100)):
        names = [f"{number:05d}" for number in range(count)]
        write_list(root, f"gt_sets/gta_{split}.txt", names)
        for number, name in enumerate(names, start=first):  # no image is in both splits
            random = np.random.default_rng(number)
            kinds = np.repeat(np.arange(8, dtype=np.uint8), WIDTH // 8)[None].repeat(HEIGHT, 0)
            ids = np.stack([kinds, random.integers(0, 256, kinds.shape), kinds * 3], axis=2)
            albedo = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            code = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            code[:, :3] = 0
            code[0, 5] = (1, 2, 3)
            place = f"gta_{split}/{name}"
            save(root, f"{place}_final.webp", picture(number), lossless=True)
            save(root, f"{place}_object_id.png", ids.astype(np.uint8))
            save(root, f"{place}_albedo.webp", albedo, lossless=True)
            save(root, f"{place}_disparity.webp", code, lossless=True)
            made[place] = kinds, albedo, code
    return made


def classes(seed):
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[4:20, 5:30] = seed % 20 + 1
    labels[3, 5:30] = 255
    return labels


def write_gtcls(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    present = np.unique(labels[labels > 0]).astype(np.float64)
    boundaries = np.empty((20, 1), dtype=object)
    boundaries[:, 0] = [np.zeros((2, 2), np.uint8) for _ in range(20)]
    fields = {"Boundaries": boundaries, "Segmentation": labels, "CategoriesPresent": present}
    scipy.io.savemat(path, {"GTcls": fields})


def write_voc(root):
    """VOC with 2 + 2 labeled images, and SBD: one of each of these, and two more."""
    voc, sbd = root / "VOCdevkit/VOC2012", root / "benchmark_RELEASE/dataset"
    labeled = {name: classes(number) for number, name in enumerate(["a", "b", "v", "w"])}
    for number, name in enumerate(["a", "b", "v", "w", "s", "t"]):
        save(voc, f"JPEGImages/{name}.jpg", picture(number), quality=95, subsampling=0)
    (voc / "SegmentationClass").mkdir()
    for name, labels in labeled.items():
        palette_png(labels, voc / f"SegmentationClass/{name}.png")
    write_list(voc, "ImageSets/Segmentation/train.txt", ["a", "b"])
    write_list(voc, "ImageSets/Segmentation/val.txt", ["v", "w"])
    made = write_sbd(sbd.parent)
    return labeled, made


def write_sbd(root):
    made = {}
    for number, name in enumerate(["a", "s", "t", "v"]):
        labels = classes(number + 7)
        labels[labels == 255] = 0  # SBD has no void
        made[name] = labels
        save(root, f"dataset/img/{name}.jpg", picture(number))
        write_gtcls(root / f"dataset/cls/{name}.mat", labels)
    write_list(root, "dataset/train.txt", ["a", "s"])
    write_list(root, "dataset/val.txt", ["t", "v"])
    return made


def write_saliency(root, images, masks, listing, names):
    made = {}
    for number, name in enumerate(names):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[5:20, 10:30] = 255
        mask[20:24, 10:30] = 100 - number
        mask[24, 10:30] = 51  # exactly 0.2
        save(root, f"{images}/{name}.jpg", picture(number))
        save(root, f"{masks}/{name}.png", mask)
        made[name] = mask
    write_list(root, listing, names)
    return made


def write_msra10k(root):
    return write_saliency(root, "Imgs", "gt", "gt_sets/trainval.txt", ["101", "22", "3", "4"])


def write_pascal_s(root):
    return write_saliency(root, "images", "masks", "gt_sets/all.txt", ["1", "2"])


def write_bsds(root):
    made = {}
    names = {"train": ["12003", "8143", "9", "10"], "val": ["3096"], "test": ["100007", "2018"]}
    for split, numbers in names.items():
        for index, number in enumerate(numbers):
            height, width = (HEIGHT, WIDTH) if index % 2 else (WIDTH, HEIGHT)
            save(root, f"data/images/{split}/{number}.jpg", picture(index, height, width))
            truth = np.empty((1, 4 + index % 2), dtype=object)
            drawn = []
            for person in range(truth.shape[1]):
                boundary = np.zeros((height, width), np.uint8)
                boundary[10 + person // 2] = 1
                boundary[:, 5] = person < 3
                segments = np.ones((height, width), np.uint16)
                segments[11 + person // 2 :] = 2
                truth[0, person] = {"Segmentation": segments, "Boundaries": boundary}
                drawn.append(boundary)
            path = root / f"data/groundTruth/{split}/{number}.mat"
            path.parent.mkdir(parents=True, exist_ok=True)
            scipy.io.savemat(path, {"groundTruth": truth})
            made[f"{split}/{number}"] = np.stack(drawn)
    return made
