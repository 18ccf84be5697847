"""PASCAL-Context as MTI-Net, ASTMT and InvPT distribute it."""

import dataclasses

import numpy as np
import pytest
import scipy.io
from skimage.morphology import thin
from torch import Tensor
from trees_pascal import CHAIR, TRAIN, VAL, write_pascal

from taskprism.data import create_protocol
from taskprism.data.benchmarks.pascal_context import INDOORS, SIX_PARTS
from taskprism.errors import DataError, UnknownNameError


def read(sample, task):
    values = sample["targets"][task].as_subclass(Tensor).numpy()
    return values, sample["valid"][task].as_subclass(Tensor).numpy()[0]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "PASCAL_MT"
    return root, write_pascal(root)


def laplacian_edges(labels):
    """Plain loops: the mirrored 3x3 Laplacian of the indices, then thinning."""
    padded = np.pad(labels.astype(int), 1, mode="reflect")
    boundary = np.zeros(labels.shape, dtype=bool)
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1]):
            r, c = row + 1, column + 1
            around = padded[r - 1, c] + padded[r + 1, c] + padded[r, c - 1] + padded[r, c + 1]
            boundary[row, column] = around != 4 * padded[r, c]
    return thin(boundary)


def test_values_are_those_that_were_written(tree):
    root, photos = tree
    protocol = create_protocol("pascal_context", root=root)
    assert protocol.found_variant().name == "pascal_mt"
    for split, names in (("train", TRAIN), ("test", VAL)):
        dataset = protocol.dataset(split)
        assert dataset.names == list(names)
        for name, sample in zip(names, dataset, strict=True):
            wanted = photos[name]
            image = sample["image"].as_subclass(Tensor).permute(1, 2, 0).numpy()
            assert np.abs(image - wanted.image / 255).mean() < 0.05

            labels, valid = read(sample, "semseg")
            assert np.array_equal(valid, wanted.semseg != 255)
            assert np.array_equal(labels[0][valid], wanted.semseg[valid])  # 0 is a class

            assert ("human_parts" in sample["targets"]) == (wanted.parts is not None)
            if wanted.parts is not None:
                parts, valid = read(sample, "human_parts")
                assert valid.all()
                assert np.array_equal(parts[0], wanted.parts)

            saliency, valid = read(sample, "saliency")
            assert valid.all()
            assert np.array_equal(saliency[0], wanted.saliency >= 128)

            normals, valid = read(sample, "normals")
            indoors = wanted.context == CHAIR
            indoors[10, 22:26] = False  # 127 means no direction
            assert np.array_equal(valid, indoors)
            decoded = wanted.normals[12, 22] * (2 / 255) - 1.0
            np.testing.assert_allclose(
                normals[:, 12, 22], decoded / np.linalg.norm(decoded), atol=1e-6
            )

            edge, valid = read(sample, "edge")
            assert valid.all()
            assert np.array_equal(edge[0], laplacian_edges(wanted.context))
            assert edge[0].sum() > 30


def test_context_labels_replace_missing_voc_labels(tree):
    root, photos = tree
    names = create_protocol("pascal_context", root=root, tasks=["semseg"]).dataset("train")
    used = [path for path in names.files() if "semseg" in path.parts]
    assert [path.parent.name for path in used] == ["VOC12", "VOC12", "pascal-context", "VOC12"]
    assert photos[TRAIN[2]].semseg.any()


@pytest.mark.parametrize("lists", [True, False])
def test_people_only_if_parts_are_the_only_task(tmp_path, lists):
    photos = write_pascal(tmp_path, json_lists=lists)
    people = [name for name in TRAIN if photos[name].parts is not None]
    alone = create_protocol("pascal_context", root=tmp_path, tasks=["human_parts"])
    assert alone.dataset("train").names == people
    both = create_protocol("pascal_context", root=tmp_path, tasks=["human_parts", "semseg"])
    assert both.dataset("train").names == list(TRAIN)
    asked = create_protocol("pascal_context", root=tmp_path, people_only=True)
    assert asked.dataset("train").names == people
    everyone = create_protocol(
        "pascal_context", root=tmp_path, tasks=["human_parts"], people_only=False
    )
    assert everyone.dataset("train").names == list(TRAIN)
    assert not lists or list((tmp_path / "ImageSets/Parts").iterdir())  # nothing is written there
    assert lists or not list((tmp_path / "ImageSets/Parts").iterdir())


def test_label_lists():
    assert len(INDOORS) == 170
    assert min(INDOORS) >= 1
    assert max(INDOORS) <= 459
    assert 431 not in INDOORS  # "unknown"
    assert 427 in INDOORS  # tvmonitor
    assert {CHAIR, 158, 440, 68} <= INDOORS  # chair, floor, wall, ceiling
    assert not {360, 187, 420} & INDOORS  # sky, grass, tree
    assert len(SIX_PARTS) == 24  # of a person in PASCAL-Part
    assert set(SIX_PARTS.values()) == set(range(1, 7))
    assert all(SIX_PARTS["l" + part] == SIX_PARTS["r" + part] for part in ("hand", "larm", "uleg"))


def test_conventions():
    protocol = create_protocol("pascal_context")
    weights = {task.name: task.loss_weight for task in protocol.tasks}
    assert weights == {"semseg": 1, "human_parts": 2, "saliency": 5, "normals": 10, "edge": 50}
    assert [task.channels for task in protocol.tasks] == [21, 7, 1, 3, 1]
    assert protocol.task("edge").positive_weight == 0.95
    assert protocol.task("saliency").primary_metric == "max_miou"
    for paper in ("atrc", "invpt"):
        saliency = create_protocol("pascal_context", saliency=paper).task("saliency")
        assert (saliency.primary_metric, saliency.max_f) == ("max_f", paper)
    with pytest.raises(UnknownNameError, match="mti_net, atrc, invpt"):
        create_protocol("pascal_context", saliency="max")
    assert protocol.scores_at_label_size
    assert not dataclasses.replace(protocol, augmentation="atrc").scores_at_label_size


def test_axes_change_the_fingerprint(tree):
    root, _ = tree
    down = create_protocol("pascal_context", root=root, normals_axes=["right", "down", "toward"])
    assert down.fingerprint() != create_protocol("pascal_context", root=root).fingerprint()
    assert read(down.dataset("train")[0], "normals")[0][1, 12, 22] < 0


def test_errors_name_wrong_folders_and_files(tmp_path):
    root = tmp_path / "PASCAL_MT"
    write_pascal(root)
    with pytest.raises(DataError, match="PASCAL_MT fits: pass it as the root"):
        create_protocol("pascal_context", root=tmp_path).dataset("train")
    (root / "pascal-context/trainval" / f"{TRAIN[1]}.mat").unlink()
    with pytest.raises(DataError, match=f"{TRAIN[1]}.mat"):
        create_protocol("pascal_context", root=root).dataset("train")
    without = create_protocol("pascal_context", root=root, tasks=["semseg", "saliency"])
    assert len(without.dataset("train")) == len(TRAIN)
    path = root / "human_parts" / f"{TRAIN[0]}.mat"
    scipy.io.savemat(path, {"anno": np.arange(3)})
    parts = create_protocol("pascal_context", root=root, tasks=["human_parts"])
    with pytest.raises(DataError, match="not an annotation of PASCAL-Part"):
        parts.dataset("train")[0]
    (root / "ImageSets/Context/val.txt").unlink()
    with pytest.raises(DataError, match=r"expects ImageSets/Context/val\.txt"):
        without.dataset("train")
