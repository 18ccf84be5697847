"""NYUD-v2 built from the official file."""

import json
import shutil

import numpy as np
import pytest
import scipy.io
from PIL import Image
from torch import Tensor
from trees_nyud_official import TEST, TRAIN, write_companions, write_official

from taskprism.data import create_protocol
from taskprism.data.benchmarks.nyud_build import ClassMaps, NyudBuild, NyudSource, read_splits
from taskprism.errors import DataError, InputError

pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    folder = tmp_path_factory.mktemp("official")
    _, made = write_official(folder)
    write_companions(folder)
    return folder, made


def build(folder, out, **changes):
    values = {
        "source": folder / "nyu_depth_v2_labeled.mat",
        "splits": folder / "splits.mat",
        "classes": folder / "classMapping40.mat",
        "out": out,
    }
    return NyudBuild(**{**values, **changes})


@pytest.fixture(scope="module")
def built(official, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "NYUD_MT"
    seen = []

    def track(items, total):
        for item in items:
            seen.append(total)
            yield item

    assert build(official[0], out).run(track=track) == out
    assert seen == [5] * 5
    return out


def read(sample, task):
    values = sample["targets"][task].as_subclass(Tensor).numpy()
    return values, sample["valid"][task].as_subclass(Tensor).numpy()[0]


def test_build_is_read_by_nyud40(official, built):
    protocol = create_protocol("nyud40", root=built)
    assert protocol.found_variant().name == "npy"
    assert protocol.dataset("train").names == [f"{n:04d}" for n in TRAIN]
    assert protocol.dataset("test").names == [f"{n:04d}" for n in TEST]
    crop = (slice(45, 470), slice(40, 600))
    sample = protocol.dataset("test")[1]
    image, depth, labels, _ = (values[crop] for values in official[1][6])
    assert sample["image"].shape == (3, 425, 560)
    stored = sample["image"].as_subclass(Tensor).permute(1, 2, 0).numpy()
    assert np.abs(stored - image / 255).mean() < 0.01
    found, valid = read(sample, "depth")
    assert valid.all()
    assert np.array_equal(found[0], depth)
    classes, valid = read(sample, "semseg")
    assert np.array_equal(valid, labels > 0)
    forty = {11: 1, 21: 0, 894: 28}
    assert all((classes[0][labels == stored] == index).all() for stored, index in forty.items())


def test_derived_normals_and_edges_fit_the_scene(built):
    sample = create_protocol("nyud40", root=built).dataset("train")[0]
    normals, valid = read(sample, "normals")
    classes, _ = read(sample, "semseg")
    assert valid.mean() > 0.95
    floor, wall = (valid & (classes[0] == index) for index in (1, 0))
    assert normals[1][floor].mean() > 0.5
    assert normals[2][wall].mean() > 0.99
    edge, valid = read(sample, "edge")
    assert valid.all()
    middle = edge[0][:, 100]
    assert middle.sum() == 1  # one line between wall and floor, across the gap
    assert abs(int(middle.argmax()) - (300 - 45)) <= 2
    assert edge[0][180, 300:315].sum() == 1  # between two instances of a class, at column 350


def two_frames(folder, train, test):
    """A split of two frames, which is quick to build."""
    scipy.io.savemat(folder / "two.mat", {"trainNdxs": [[train]], "testNdxs": [[test]]})
    return folder / "two.mat"


def test_interrupted_build_resumes(official, built, tmp_path):
    first = build(official[0], tmp_path / "out")
    shutil.copytree(built, first.out)
    before = {path: path.stat().st_mtime_ns for path in first.out.rglob("*") if path.is_file()}
    (first.out / "depth/0003.npy").unlink()
    (first.out / "gt_sets/train.txt").unlink()
    first.run()
    after = {path: path.stat().st_mtime_ns for path in before}
    changed = {path.name for path in before if before[path] != after[path]}
    assert changed == {
        "0003.npy", "0003.png", "0003.jpg", "train.txt", "val.txt", "build.json",
    }  # fmt: skip
    assert not list(first.out.rglob("*.partial"))


def test_existing_build_is_not_overwritten_by_another(official, built, tmp_path):
    shutil.copytree(built, tmp_path / "out")
    with pytest.raises(DataError, match="another crop"):
        build(official[0], tmp_path / "out", crop=False).run()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        build(official[0], tmp_path / "full").run()
    stored = json.loads((tmp_path / "out/build.json").read_text())
    assert stored["derived"]["normals"].startswith("planes fitted")


def test_the_whole_frame_and_ready_made_maps(official, tmp_path):
    folder, made = official
    ready = np.stack([np.where(made[n][2] > 0, n, 0) for n in range(1, 7)], axis=2)
    scipy.io.savemat(tmp_path / "labels40.mat", {"labels40": ready.astype(np.uint8)})
    out = tmp_path / "out"
    splits = two_frames(tmp_path, 5, 1)
    build(folder, out, classes=tmp_path / "labels40.mat", splits=splits, crop=False).run()
    stored = np.array(Image.open(out / "segmentation/0005.png"))
    assert stored.shape == (480, 640)
    assert np.array_equal(stored, ready[..., 4])


def test_thirteen_classes_become_mtans_layout(official, tmp_path):
    folder, made = official
    splits = two_frames(tmp_path, 3, 1)
    build(folder, tmp_path / "out", splits=splits, thirteen=folder / "class13Mapping.mat").run()
    protocol = create_protocol("nyud13", root=tmp_path / "out")
    assert [len(protocol.dataset(split)) for split in protocol.splits] == [1, 1]
    sample = protocol.dataset("train")[0]
    assert sample["image"].shape == (3, 288, 384)
    blue = sample["image"].as_subclass(Tensor)[2].mean().item()
    assert blue == pytest.approx(made[3][0][..., 2].mean() / 255, abs=0.01)
    names = protocol.task("semseg").class_names
    classes, valid = read(sample, "semseg")
    assert {names[i] for i in np.unique(classes[0][valid])} == {"wall", "floor", "objects"}
    depth, valid = read(sample, "depth")
    assert valid.all()
    assert depth[0, 0, 0] == pytest.approx(3.0)
    assert read(sample, "normals")[1].mean() > 0.9


@pytest.mark.nightly
def test_several_processes_write_the_same(official, built, tmp_path):
    build(official[0], tmp_path / "out").run(workers=2)
    files = sorted(path.relative_to(built) for path in built.rglob("*.*"))
    assert files == sorted(path.relative_to(tmp_path / "out") for path in tmp_path.rglob("*.*"))
    for file in files:
        assert (built / file).read_bytes() == (tmp_path / "out" / file).read_bytes()


def test_errors_name_wrong_inputs(official, tmp_path):
    folder, _ = official
    source, mapping = folder / "nyu_depth_v2_labeled.mat", folder / "classMapping40.mat"
    with pytest.raises(DataError, match=r"gone\.mat: this is not a readable HDF5 file"):
        NyudSource(tmp_path / "gone.mat")
    with pytest.raises(DataError, match="not a readable HDF5 file"):
        NyudSource(mapping)
    import h5py

    with h5py.File(tmp_path / "other.mat", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(DataError, match="has no depths, labels, instances"):
        NyudSource(tmp_path / "other.mat")
    with pytest.raises(DataError, match="trainNdxs"):
        read_splits(mapping, 6)
    with pytest.raises(DataError, match="frames 1 to 6 are listed, but the data have 1 to 5"):
        read_splits(folder / "splits.mat", 5)
    scipy.io.savemat(tmp_path / "twice.mat", {"trainNdxs": [[1], [2]], "testNdxs": [[2]]})
    with pytest.raises(DataError, match="both splits"):
        read_splits(tmp_path / "twice.mat", 6)
    with pytest.raises(DataError, match=r"neither mapClass .* nor labels40"):
        ClassMaps(folder / "splits.mat")
    with pytest.raises(DataError, match=r"no classMapping13\.labels13"):
        ClassMaps(mapping, folder / "splits.mat")
    with pytest.raises(DataError, match="cannot be read"):
        ClassMaps(source)
    scipy.io.savemat(tmp_path / "short.mat", {"mapClass": np.ones((1, 20))})
    with pytest.raises(DataError, match="maps 20 classes, but frame 1 has class 894"):
        ClassMaps(tmp_path / "short.mat")(0, np.full((2, 2), 894))
    scipy.io.savemat(tmp_path / "large.mat", {"mapClass": np.full((1, 894), 41)})
    with pytest.raises(DataError, match=r"must be in 0\.\.40"):
        ClassMaps(tmp_path / "large.mat")


def test_error_without_h5py_names_the_extra(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"pip install 'taskprism\[nyud\]'"):
        NyudSource(tmp_path / "nyu_depth_v2_labeled.mat")
