"""Data at URLs: the same samples, fingerprints and errors as in a local folder."""

import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from taskprism.data import create_protocol
from taskprism.data.files import read_image, read_stored
from taskprism.data.shards import pack
from taskprism.errors import DataError, InputError
from taskprism.stores import StorePath


def copy_to(url, folder):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            (StorePath(url) / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())
    return url


def assert_same(a, b):
    assert len(a) == len(b)
    for first, second in zip(
        (a[i] for i in range(len(a))), (b[i] for i in range(len(b))), strict=True
    ):
        assert first["name"] == second["name"] and torch.equal(first["image"], second["image"])
        assert first["targets"].keys() == second["targets"].keys()
        for task, target in first["targets"].items():
            assert torch.equal(target, second["targets"][task])
            assert torch.equal(first["valid"][task], second["valid"][task])


@pytest.fixture
def write_tiny(tmp_path_factory, folder):
    """Write the tiny folder with changed keys of its YAML."""

    def write(**changes):
        target = tmp_path_factory.mktemp("tiny")
        shutil.copytree(folder.root, target, dirs_exist_ok=True)
        (target / "data.yaml").write_text(yaml.safe_dump({**folder.config, **changes}))
        return target

    return write


@pytest.fixture(params=["memory", "file", "filecache"])
def url(request, tmp_path):
    base = f"file://{tmp_path}/store"
    return {"memory": f"memory://{tmp_path.name}", "file": base, "filecache": f"filecache::{base}"}[
        request.param
    ]


def plain(url):
    return url.removeprefix("filecache::")


SPLITS = {
    "list": {"train": "train.txt", "test": "test.txt"},
    "glob": {"train": {"glob": "rgb/[ab].png"}, "test": {"glob": "rgb/[cd].png"}},
    "fraction": {"train": {"fraction": 0.5}, "test": {"fraction": 0.5}},
}


@pytest.mark.parametrize("splits", SPLITS)
def test_a_folder_is_read_from_a_url(write_tiny, url, splits):
    folder = write_tiny(splits=SPLITS[splits])
    local = create_protocol(folder / "data.yaml")
    copy_to(plain(url), folder)
    remote = create_protocol(folder / "data.yaml", root=url)
    for split in ("train", "test"):
        assert_same(local.dataset(split), remote.dataset(split))
    assert local.fingerprint() == remote.fingerprint()
    assert local.remarks() == remote.remarks() and local.doubts() == remote.doubts()
    if "::" not in url:
        yaml_there = create_protocol(f"{url}/data.yaml")
        assert yaml_there.fingerprint() == local.fingerprint()


def test_a_yaml_can_name_the_url(write_tiny, tmp_path):
    url = f"memory://{tmp_path.name}"
    folder = write_tiny(root=url)
    copy_to(url, folder)
    assert len(create_protocol(folder / "data.yaml").dataset("train")) == 3


def test_errors_name_the_url(write_tiny, tmp_path):
    url, folder = f"memory://{tmp_path.name}", write_tiny()
    yaml_file = folder / "data.yaml"
    with pytest.raises(DataError, match=f"the data folder {url} does not exist"):
        create_protocol(yaml_file, root=url)
    copy_to(url, folder)
    (StorePath(url) / "rgb/a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=f"{url}/rgb/a.png: this image cannot be read"):
        create_protocol(yaml_file, root=url).dataset("train")[0]
    (StorePath(url) / "rgb/a.png").remove()
    with pytest.raises(DataError, match=f"do not exist: {url}/rgb/a.png"):
        create_protocol(yaml_file, root=url).dataset("train")
    with pytest.raises(InputError, match="pip install s3fs"):
        create_protocol(yaml_file, root="s3://bucket/data")
    with pytest.raises(InputError, match=r"'nyud40' reads a local folder.*taskprism data pack"):
        create_protocol("nyud40", root=url)
    with pytest.raises(InputError, match="neither a data YAML nor a folder"):
        create_protocol(url)


def test_shards_are_read_from_a_url(write_tiny, url, tmp_path):
    local = create_protocol(write_tiny() / "data.yaml")
    pack(local, tmp_path / "packed")
    copy_to(plain(url), tmp_path / "packed")
    remote = create_protocol(url)
    for split in ("train", "test"):
        assert_same(local.dataset(split), remote.dataset(split))
    assert remote.fingerprint() == create_protocol(tmp_path / "packed").fingerprint()
    index = next(name for name in StorePath(plain(url)).sizes_below() if name.endswith(".tar"))
    (StorePath(plain(url)) / index).write_bytes(b"cut")
    if "::" not in url:
        with pytest.raises(DataError, match=f"{index} has 3 bytes"):
            [create_protocol(url).dataset(split) for split in ("train", "test")]


def test_every_kind_of_file_is_read_alike(tmp_path):
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 65536, (4, 5, 3)).astype(np.uint16)
    eight = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    from scipy.io import savemat
    from torchvision.io import write_png

    Image.fromarray(eight).save(tmp_path / "lossy.jpg")
    Image.fromarray(eight).save(tmp_path / "lossless.webp", lossless=True)
    Image.fromarray(eight).save(tmp_path / "lossy.webp")
    Image.fromarray(eight).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(deep[..., 0]).save(tmp_path / "deep.png")
    Image.fromarray(eight).save(tmp_path / "a.tif")
    write_png(torch.from_numpy(eight).permute(2, 0, 1), str(tmp_path / "rgb.png"))
    np.save(tmp_path / "a.npy", deep)
    np.savez(tmp_path / "a.npz", values=deep)
    savemat(tmp_path / "a.mat", {"values": deep})
    url = StorePath(copy_to(f"memory://{tmp_path.name}", tmp_path))
    for path in sorted(tmp_path.iterdir()):
        here, there = read_stored(path), read_stored(url / path.name)
        assert np.array_equal(here.values, there.values)
        assert (here.form, here.largest, here.lossy) == (there.form, there.largest, there.lossy)
        if path.suffix not in (".npy", ".npz", ".mat"):
            assert torch.equal(read_image(path), read_image(url / path.name))
