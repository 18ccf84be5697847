"""Fewer labels per image: by chance with a fixed seed, or as a file says."""

import numpy as np
import pytest
import torch

from taskprism.data import LabelSubset, make_sample
from taskprism.errors import DataError, InputError
from taskprism.tasks import resolve_tasks

TASKS = resolve_tasks(["depth", "edge", "normals"])
NAMES = [task.name for task in TASKS]


def image(name, labels=NAMES):
    shapes = {"depth": (1, 4, 6), "edge": (1, 4, 6), "normals": (3, 4, 6)}
    maps = {label: torch.ones(shapes[label]) / shapes[label][0] ** 0.5 for label in labels}
    return make_sample(name, torch.rand(3, 4, 6), maps, TASKS)


IMAGES = [image(f"image{i}") for i in range(300)]


def kept(subset):
    return [tuple(sample["targets"]) for sample in subset]


def test_one_label_each_as_likely():
    found = kept(LabelSubset(IMAGES, "one", NAMES))
    assert {len(each) for each in found} == {1}
    counts = [found.count((name,)) for name in NAMES]
    assert min(counts) > 70  # 100 are expected, with a standard deviation of 8
    assert all(set(s["valid"]) == set(s["targets"]) for s in LabelSubset(IMAGES, "one", NAMES))
    assert len(IMAGES[0]["targets"]) == 3  # the data set itself is unchanged


def test_random_subsets_are_never_empty_and_equally_likely():
    found = kept(LabelSubset(IMAGES, "random", NAMES))
    subsets = set(found)
    assert () not in subsets and len(subsets) == 7
    assert min(found.count(each) for each in subsets) > 20  # 43 are expected, deviation 6


def test_the_choice_depends_on_seed_and_name_only():
    first = kept(LabelSubset(IMAGES, "one", NAMES))
    assert kept(LabelSubset(IMAGES, "one", NAMES)) == first
    assert kept(LabelSubset(IMAGES[::-1], "one", NAMES)) == first[::-1]
    assert kept(LabelSubset(IMAGES, "one", NAMES, seed=1)) != first
    again = LabelSubset(IMAGES, "random", NAMES)
    assert again[3]["targets"].keys() == again[3]["targets"].keys()


def test_labels_that_an_image_lacks_are_not_chosen():
    lacking = [image(f"image{i}", ["edge", "normals"]) for i in range(20)]
    assert set(kept(LabelSubset(lacking, "one", NAMES))) == {("edge",), ("normals",)}
    assert kept(LabelSubset([image("a", ["edge"]), image("b", [])], "one", NAMES)) == [
        ("edge",),
        (),
    ]
    assert set(kept(LabelSubset(IMAGES, "all", ["depth"]))) == {("depth",)}


def test_the_transform_sees_what_is_kept():
    subset = LabelSubset(IMAGES, "one", NAMES, transform=lambda s: len(s["targets"]))
    assert subset[0] == 1 and len(subset) == 300


@pytest.mark.parametrize("form", ["published", "tensor", "npy"])
def test_files_say_which_labels_to_keep(tmp_path, form):
    weights = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 0, 0]])
    file = tmp_path / ("labels.npy" if form == "npy" else "labels.pth")
    if form == "npy":
        np.save(file, weights.numpy().astype(np.int64))
    else:
        torch.save({"labels_weights": weights} if form == "published" else weights, file)
    subset = LabelSubset(IMAGES[:3], str(file), ["normals", "depth", "edge"])
    assert kept(subset) == [("depth",), ("normals", "edge"), ()]


def test_files_that_do_not_fit(tmp_path):
    file = tmp_path / "labels.pth"
    torch.save({"labels_weights": torch.ones(2, 3)}, file)
    with pytest.raises(DataError, match=r"3 labels of 2 images, but there are 5 training images"):
        LabelSubset(IMAGES[:5], str(file), NAMES)
    with pytest.raises(DataError, match=r"2 tasks \(depth, edge\)"):
        LabelSubset(IMAGES[:2], str(file), NAMES[:2])
    for content in ({"other": 1}, torch.full((2, 3), 0.5), torch.ones(2, 3, 1), [1, 2]):
        torch.save(content, file)
        with pytest.raises(DataError, match="does not say which labels to keep"):
            LabelSubset(IMAGES[:2], str(file), NAMES)
    file.write_bytes(b"no tensor")
    with pytest.raises(DataError, match="cannot be read"):
        LabelSubset(IMAGES[:2], str(file), NAMES)
    with pytest.raises(InputError, match="must be all, one, random or the path of a file"):
        LabelSubset(IMAGES[:2], "two", NAMES)


def test_no_code_in_a_file_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").write_text, ("",))

    torch.save({"labels_weights": Trap()}, tmp_path / "trap.pth")
    np.save(tmp_path / "trap.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    (tmp_path / "sprung").unlink(missing_ok=True)
    for name in ("trap.pth", "trap.npy"):
        with pytest.raises(DataError, match="cannot be read"):
            LabelSubset(IMAGES[:2], str(tmp_path / name), NAMES)
    assert not (tmp_path / "sprung").exists()
