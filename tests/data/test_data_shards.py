"""Packing into tar files and reading them returns the same samples."""

import errno
import hashlib
import json
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torch.utils.data import DataLoader
from trees_pascal import write_pascal
from trees_single import write_bsds, write_fsv

from taskprism.cli import main
from taskprism.data import collate, create_protocol
from taskprism.data.shards import pack
from taskprism.data.shards.encoding import decode, encode
from taskprism.errors import DataError, InputError, TaskprismError


def same(first, second):
    assert first["name"] == second["name"]
    assert torch.equal(first["image"].as_subclass(Tensor), second["image"].as_subclass(Tensor))
    assert first["targets"].keys() == second["targets"].keys() == second["valid"].keys()
    for name, target in first["targets"].items():
        other, valid = second["targets"][name], first["valid"][name].as_subclass(Tensor)
        assert type(other) is type(target)
        assert other.dtype == target.dtype
        assert torch.equal(valid, second["valid"][name].as_subclass(Tensor))
        kept = target.as_subclass(Tensor) * valid
        assert torch.equal(kept, other.as_subclass(Tensor))


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """PASCAL-Context in tars of two or three images: parts are absent from every other one."""
    root = tmp_path_factory.mktemp("shards")
    write_pascal(root / "data")
    protocol = create_protocol("pascal_context", root=root / "data", input_size=(32, 48))
    pack(protocol, root / "out", shard_bytes=20_000)
    return protocol, root / "out"


@pytest.mark.parametrize("name", ["pascal_context", "fsv", "bsds500", "rooms"])
def test_read_back_as_it_was(tmp_path, packed, name):
    write = {"fsv": write_fsv, "bsds500": write_bsds}
    if name == "pascal_context":
        protocol, out = packed
    else:
        options = {"root": tmp_path / "data"}
        if name == "rooms":
            options = {"train_length": 2, "val_length": 1, "test_length": 1, "input_size": (24, 32)}
        if name == "bsds500":
            options["n_votes"] = None  # soft labels
        write.get(name, lambda root: None)(tmp_path / "data")
        protocol, out = create_protocol(name, **options), tmp_path / "out"
        pack(protocol, out)
    shards = create_protocol("shards", root=out)
    assert shards.splits == protocol.splits
    assert shards.name == protocol.name
    assert shards.tasks == protocol.tasks
    assert shards.input_size == protocol.input_size
    assert shards.license == protocol.license
    assert shards.scores_at_label_size == protocol.scores_at_label_size
    for split in protocol.splits:
        before, after = protocol.dataset(split), shards.dataset(split)
        assert len(before) == len(after)
        for index in reversed(range(len(after))):  # in any order
            same(before[index], after[index])


def test_transforms_are_those_of_the_packed_protocol(packed):
    protocol, out = packed
    shards = create_protocol("shards", root=out)
    for make in ("train_transform", "evaluation_transform"):
        torch.manual_seed(3)
        first = protocol.dataset("train", getattr(protocol, make)())[0]
        torch.manual_seed(3)
        same(first, shards.dataset("train", getattr(shards, make)())[0])
    changed = create_protocol("shards", root=out, change={"evaluation": "network"})
    assert not changed.scores_at_label_size
    small = create_protocol("shards", root=out, input_size=(16, 16), tasks=["semseg", "edge"])
    assert [task.name for task in small.tasks] == ["semseg", "edge"]
    sample = small.dataset("train", small.train_transform())[0]
    assert sample["image"].shape[-2:] == (16, 16)
    assert set(sample["targets"]) == {"semseg", "edge"}


def test_index_counts_labels_and_tars_are_reproducible(packed, tmp_path):
    protocol, out = packed
    index = pack(protocol, tmp_path / "again", shard_bytes=20_000, workers=1)
    assert len(index.splits["train"]) > 1
    assert index.counts("train")["image"] == 4
    assert index.counts("train")["human_parts"] == 2  # every other image shows a person
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes()
    first, second = (create_protocol("shards", root=r) for r in (out, tmp_path / "again"))
    assert first.fingerprint() == second.fingerprint()


def test_webdataset_reads_them(packed):
    webdataset = pytest.importorskip("webdataset")
    protocol, out = packed
    urls = [str(path) for path in sorted(out.glob("train-*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    dataset = protocol.dataset("train")
    assert [sample["json"]["name"] for sample in samples] == dataset.names
    for sample, wanted in zip(samples, dataset, strict=True):
        image = wanted["image"].as_subclass(Tensor).permute(1, 2, 0).numpy()
        np.testing.assert_allclose(sample["image.png"] / 255, image, atol=1e-6)
        assert ("human_parts.png" in sample) == ("human_parts" in wanted["targets"])
        assert sample["normals.npy"].shape == wanted["targets"]["normals"].shape


def test_workers_and_pickles_read_them(packed):
    protocol, out = packed
    shards = create_protocol("shards", root=out)
    dataset = shards.dataset("test", shards.train_transform())
    dataset[0]
    assert len(pickle.loads(pickle.dumps(dataset))) == 2
    loader = DataLoader(dataset, 2, num_workers=1, collate_fn=lambda s: collate(s, shards.tasks))
    (batch,) = loader
    assert batch.names == protocol.dataset("test").names
    assert batch.valid["human_parts"].flatten(1).any(dim=1).tolist() == [True, False]


def test_folders_can_be_packed(folder, tmp_path):
    (folder.root / "depth/b.png").unlink()
    folder.config["augmentation"] = {"degrees": 10}
    protocol = create_protocol(folder.write())
    pack(protocol, tmp_path / "out")
    shards = create_protocol("shards", root=tmp_path / "out")
    assert shards.name == "tiny"
    for first, second in zip(protocol.dataset("train"), shards.dataset("train"), strict=True):
        same(first, second)
    assert "depth" not in shards.dataset("train")[1]["targets"]
    torch.manual_seed(1)
    first = protocol.dataset("train", protocol.train_transform())[0]
    torch.manual_seed(1)
    same(first, shards.dataset("train", shards.train_transform())[0])
    changed = create_protocol("shards", root=tmp_path / "out", change={"fit": "pad"})
    assert changed.dataset("train", changed.train_transform())[0]["image"].shape == (3, 16, 24)
    with pytest.raises(InputError, match="no key color"):
        create_protocol("shards", root=tmp_path / "out", change={"color": True})


CASES = {
    "classes": (np.arange(12).reshape(1, 3, 4), "classes"),
    "many classes": (np.arange(12).reshape(1, 3, 4) * 30, "classes"),
    "yes and no": (np.eye(4, dtype=np.float32)[None], "binary"),
    "bytes": (np.arange(48, dtype=np.float32).reshape(3, 4, 4) / np.float32(255), "colors"),
    "gray": (np.arange(16, dtype=np.float32).reshape(1, 4, 4) / np.float32(255), "colors"),
    "halves": (np.arange(16, dtype=np.float32).reshape(1, 4, 4) / 8, "array"),
    "meters": (np.linspace(0.7, 10, 16, dtype=np.float32).reshape(1, 4, 4), "array"),
    "far": (np.full((1, 4, 4), 1e6, np.float32), "array"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("everywhere", [True, False])
def test_storage_loses_nothing(case, everywhere):
    values, storage = CASES[case]
    valid = np.ones(values.shape[1:], dtype=bool)
    if not everywhere:
        valid[0, 1:3] = False
        values = np.where(valid, values, values.dtype.type(7))
    chosen, content = encode(values, valid)
    assert chosen == (storage if everywhere or storage != "colors" else "array")
    back, where = decode(chosen, content, "here")
    assert np.array_equal(where, valid)
    assert np.array_equal(back, np.where(valid, values, 0))
    assert back.dtype == (np.int64 if values.dtype.kind == "i" else np.float32)


def test_halves_are_smaller():
    meters, halves = (
        encode(CASES[case][0], np.ones((4, 4), bool)) for case in ("meters", "halves")
    )
    assert len(halves[1]) < len(meters[1])


def test_errors_say_what_to_do(packed, tmp_path):
    protocol, out = packed
    with pytest.raises(DataError, match="contains packed shards already"):
        pack(protocol, out)
    with pytest.raises(DataError, match="taskprism data pack"):
        create_protocol("shards", root=tmp_path)
    with pytest.raises(DataError, match="No data root given for protocol 'shards'"):
        create_protocol("shards").dataset("train")
    with pytest.raises(InputError, match="cannot be packed"):
        pack(create_protocol("shards", root=out), tmp_path / "twice")
    with pytest.raises(InputError, match="no split 'val'"):
        create_protocol("shards", root=out).dataset("val")
    with pytest.raises(DataError, match=r"cannot be read as colors.*Pack again"):
        decode("colors", b"broken", "here")
    with pytest.raises(InputError, match="finite"):
        encode(np.full((1, 2, 2), np.inf, np.float32), np.ones((2, 2), bool))

    copy = tmp_path / "copy"
    pack(protocol, copy)
    tar = copy / "test-000000.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    shards = create_protocol("shards", root=copy)
    with pytest.raises(DataError, match=r"test-000000\.tar has \d+ bytes"):
        shards.dataset("test")
    tar.unlink()
    with pytest.raises(DataError, match=r"test-000000\.tar is missing"):
        shards.dataset("test")
    index = json.loads((copy / "index.json").read_text())
    (copy / "index.json").write_text(json.dumps({**index, "format": 99}))
    with pytest.raises(DataError, match="format 1"):
        create_protocol("shards", root=copy)
    (copy / "index.json").write_text(json.dumps({**index, "tasks": 3}))
    with pytest.raises(DataError, match="tasks"):
        create_protocol("shards", root=copy)
    (copy / "index.json").write_text(yaml.safe_dump(["no"]) + "{")
    with pytest.raises(DataError, match="not valid JSON"):
        create_protocol("shards", root=copy)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("failing", ["addfile", "index", "replace", "interrupt"])
def test_a_pack_that_fails_leaves_nothing(packed, tmp_path, monkeypatch, failing):
    protocol, _ = packed
    full = OSError(errno.ENOSPC, "No space left on device")
    done = 0

    def fail_late(original, error):
        def call(self, *arguments, **options):
            nonlocal done
            done += 1
            if done > 20 or failing in ("index", "replace"):
                raise error
            return original(self, *arguments, **options)

        return call

    (tmp_path / "mine.txt").write_text("precious")
    with monkeypatch.context() as patch:
        if failing in ("addfile", "interrupt"):
            error = KeyboardInterrupt() if failing == "interrupt" else full
            patch.setattr(tarfile.TarFile, "addfile", fail_late(tarfile.TarFile.addfile, error))
        elif failing == "index":
            patch.setattr(Path, "write_bytes", fail_late(Path.write_bytes, full))
        else:
            patch.setattr(Path, "replace", fail_late(Path.replace, full))
        for out in (tmp_path, tmp_path / "new" / "folder"):
            expected = KeyboardInterrupt if failing == "interrupt" else TaskprismError
            with pytest.raises(expected, match=None if failing == "interrupt" else "No space left"):
                pack(protocol, out, shard_bytes=20_000)
            assert names(tmp_path) == ["mine.txt"]
    pack(protocol, tmp_path, shard_bytes=20_000)
    assert "index.json" in names(tmp_path)


def test_a_full_disk_ends_the_command_without_a_traceback(tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", fail)
    words = "data pack rooms --options train_length=2 val_length=1 test_length=1 --out"
    assert main([*words.split(), str(tmp_path / "out")]) == 2
    assert "Free some space or choose another" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", ["/etc/passwd", "../out/test-000000.tar", "..", "a/b.tar", ".tar"])
def test_an_index_names_no_file_outside_its_folder(packed, tmp_path, file):
    index = json.loads((packed[1] / "index.json").read_text())
    index["splits"]["test"][0]["file"] = file
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"splits\.test\.0\.file"):
        create_protocol(str(tmp_path))


def test_an_index_names_no_bytes_beyond_a_file(packed, tmp_path):
    index = json.loads((packed[1] / "index.json").read_text())
    index["splits"]["test"][0]["samples"][0]["members"]["image"]["offset"] = 10**9
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="beyond the end of test-000000"):
        create_protocol(str(tmp_path))


def test_the_hash_of_every_file_is_checked(packed, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(packed[1], copy)
    fingerprint = create_protocol(str(copy)).fingerprint()
    assert fingerprint == create_protocol(str(packed[1])).fingerprint()
    with monkeypatch.context() as patch:  # a second time, nothing is read
        patch.setattr(hashlib, "file_digest", None)
        assert create_protocol(str(copy)).fingerprint() == fingerprint
    tar = copy / "train-000000.tar"
    content = bytearray(tar.read_bytes())
    content[len(content) // 2] ^= 1
    tar.write_bytes(content)
    with pytest.raises(DataError, match=r"train-000000\.tar is not the file that was packed"):
        create_protocol(str(copy)).fingerprint()
