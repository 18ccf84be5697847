"""A miniature nyu_depth_v2_labeled.mat with its public companions."""

import numpy as np
import scipy.io

HEIGHT, WIDTH = 480, 640
FRAMES = 6
TRAIN, TEST = (2, 3, 5), (1, 6)  # frame 4 is in no split


def frame(number):
    """A wall 3 m away above a slanted floor, a box on it, gaps without labels."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([columns % 256, rows % 256, np.full_like(rows, 40 * number)], axis=2)
    floor = rows >= 300
    depth = np.where(floor, 3.0 / (1 + (rows - 300).clip(0) / 200), 3.0).astype(np.float32)
    labels = np.where(floor, 11, 21).astype(np.uint16)  # of the 894
    labels[200:260, 300:400] = 894
    instances = np.ones((HEIGHT, WIDTH), dtype=np.uint8)
    instances[200:260, 350:400] = 2
    labels[298:302] = 0
    instances[298:302] = 0
    return image.astype(np.uint8), depth, labels, instances


def write_official(folder, frames=FRAMES):
    """The HDF5 file as MATLAB 7.3 writes it: axes in the opposite order, and more arrays."""
    import h5py

    made = {number: frame(number) for number in range(1, frames + 1)}
    path = folder / "nyu_depth_v2_labeled.mat"
    with h5py.File(path, "w") as file:
        for place, name in enumerate(("images", "depths", "labels", "instances")):
            file[name] = np.stack([one[place].T for one in made.values()])
        file["rawDepths"] = np.zeros((frames, 4, 4), np.float32)
        file["accelData"] = np.zeros((4, frames))
    return path, made


def write_companions(folder):
    """splits.mat, classMapping40.mat and class13Mapping.mat."""
    splits = {
        "trainNdxs": np.array(TRAIN, np.uint16)[:, None],
        "testNdxs": np.array(TEST, np.uint16)[:, None],
    }
    scipy.io.savemat(folder / "splits.mat", splits)
    to_forty = np.full((1, 894), 40, np.float64)
    to_forty[0, 11 - 1], to_forty[0, 21 - 1], to_forty[0, 894 - 1] = 2, 1, 29
    scipy.io.savemat(folder / "classMapping40.mat", {"mapClass": to_forty, "className": ["wall"]})
    to_thirteen = np.full((1, 40), 7.0)
    to_thirteen[0, 0], to_thirteen[0, 1] = 12, 5  # wall, floor
    structure = {"labels13": to_thirteen, "classes13": np.array(["Bed"], dtype=object)}
    scipy.io.savemat(folder / "class13Mapping.mat", {"classMapping13": structure})
