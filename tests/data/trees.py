"""Every benchmark in every published layout: how to write a miniature, and how to read it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from trees_cityscapes import write_mtan, write_official
from trees_nyud import write_nyud, write_nyud13
from trees_pascal import write_pascal
from trees_single import (
    write_bsds,
    write_fsv,
    write_msra10k,
    write_pascal_s,
    write_sbd,
    write_voc,
)


@dataclass(frozen=True)
class Tree:
    """A miniature of a published data set.

    Attributes:
        protocol: Its name.
        variant: The expected layout.
        write: Makes the tree in a folder that does not exist.
        counts: Samples of each split of the miniature.
        options: Of the protocol.
        tests: Writes the second data set that the option ``test_root`` names.
    """

    protocol: str
    variant: str
    write: Callable
    counts: dict = field(default_factory=lambda: {"train": 4, "test": 2})
    options: dict = field(default_factory=dict)
    tests: Callable | None = None

    def make(self, folder):
        """Write it; the root and the options to read it with."""
        root = folder / "data"
        self.write(root)
        if self.tests is None:
            return root, dict(self.options)
        self.tests(folder / "tests")
        return root, {**self.options, "test_root": str(folder / "tests")}


def _mtan(*labels):
    return partial(write_mtan, labels=labels)


def _nyud(variant):
    return partial(write_nyud, kind=variant)


TREES = {
    "nyud40-mat": Tree("nyud40", "mat", _nyud("mat")),
    "nyud40-npy": Tree("nyud40", "npy", _nyud("npy")),
    "nyud40-png": Tree(
        "nyud40",
        "png",
        _nyud("png"),
        options={"augmentation": "atrc", "input_size": [36, 48]},
    ),
    "nyud41-mat": Tree("nyud41", "mat", _nyud("mat")),
    "nyud41-npy": Tree("nyud41", "npy", _nyud("npy")),
    "nyud13": Tree("nyud13", "npy", write_nyud13, options={"augmentation": "mtan"}),
    "cityscapes19": Tree("cityscapes19", "official", write_official, options={"target": "depth"}),
    "cityscapes7": Tree(
        "cityscapes7",
        "official",
        write_official,
        options={"target": "disparity", "evaluation": "original"},
    ),
    "cityscapes19-mtan": Tree("cityscapes19", "mtan", write_mtan),
    "cityscapes19-plain": Tree("cityscapes19", "mtan_plain", _mtan("label")),
    "cityscapes7-mtan": Tree("cityscapes7", "mtan", write_mtan),
    "cityscapes2": Tree("cityscapes2", "mtan", write_mtan),
    "pascal_context": Tree("pascal_context", "pascal_mt", write_pascal),
    "fsv-published": Tree("fsv", "gta", write_fsv),
    "fsv-intended": Tree("fsv", "gta", write_fsv, options={"disparity": "intended"}),
    "voc12": Tree("voc12", "official", write_voc),
    "voc12-train": Tree(
        "voc12",
        "official",
        write_voc,
        counts={"train": 2, "test": 2},
        options={"train_set": "train"},
    ),
    "sbd": Tree("sbd", "official", write_sbd, counts={"train": 2, "test": 2}),
    "msra10k": Tree("msra10k", "astmt", write_msra10k, tests=write_pascal_s),
    "pascal_s": Tree("pascal_s", "astmt", write_pascal_s, counts={"test": 2}),
    "bsds500": Tree("bsds500", "official", write_bsds, counts={"train": 4, "val": 1, "test": 2}),
}
