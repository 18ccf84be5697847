"""Splits, transforms, cache and fingerprint of a folder."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from taskprism.data import collate, create_protocol

HEIGHT, WIDTH = 24, 32


@pytest.mark.parametrize(
    ("splits", "train", "test"),
    [
        ({"train": ["c", "a"], "test": ["b"]}, ["c", "a"], ["b"]),
        ({"train": {"glob": "rgb/[ab].png"}, "test": {"glob": "rgb/d*.png"}}, ["a", "b"], ["d"]),
        ({"train": {"list": "train.txt"}, "test": {"names": ["d"]}}, ["a", "b", "c"], ["d"]),
    ],
)
def test_forms_of_a_split(folder, splits, train, test):
    folder.config["splits"] = splits
    protocol = create_protocol(str(folder.write()))
    assert protocol.dataset("train").names == train
    assert protocol.dataset("test").names == test


def test_fractions_are_disjoint_complete_and_depend_on_the_seed(folder):
    names = [f"{i:02}" for i in range(20)]
    for name in names:
        folder.save(f"rgb/{name}.png", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    folder.config["splits"] = {"train": 0.5, "val": "1/4", "test": 0.25}
    folder.config["splits"]["val"] = {"fraction": "1/4"}

    def split(seed):
        protocol = create_protocol(str(folder.write()), split_seed=seed)
        assert protocol.splits == ("train", "val", "test")
        return [protocol.dataset(name).names for name in protocol.splits]

    parts = split(0)
    assert [len(part) for part in parts] == [12, 6, 6]
    assert sorted(name for part in parts for name in part) == sorted([*names, "a", "b", "c", "d"])
    assert parts == split(0)
    assert parts != split(1)


def test_names_may_be_in_subfolders(folder):
    folder.save("rgb/town/x.png", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    folder.config["splits"] = {"train": "train.txt", "test": {"glob": "rgb/town/*.png"}}
    assert create_protocol(str(folder.write())).dataset("test").names == ["town/x"]


def test_transforms_end_at_the_input_size(folder):
    for fit in ("stretch", "pad"):
        protocol = create_protocol(str(folder.write()), fit=fit, input_size=[20, 20])
        for transform in (protocol.train_transform(), protocol.evaluation_transform()):
            sample = protocol.dataset("train", transform)[0]
            assert sample["image"].shape == (3, 20, 20)
            assert sample["targets"]["normals"].shape == (3, 20, 20)
        whole = protocol.dataset("test", protocol.evaluation_transform())[0]["valid"]["edge"].all()
        assert bool(whole) == (fit == "stretch")


def test_augmentation_can_be_declared(folder):
    folder.config["augmentation"] = {
        "horizontal_flip": 0,
        "zoom_range": [0.5, 0.6],
        "degrees": 10,
        "color": True,
        "border": "zero",
    }
    protocol = create_protocol(str(folder.write()))
    sample = protocol.dataset("train", protocol.train_transform())[0]
    assert sample["valid"]["edge"].all()
    assert not sample["valid"]["depth"].all()
    assert torch.rand(()) < 1  # the global generator is used, not replaced


def test_no_augmentation_is_the_evaluation_transform(folder):
    folder.config["augmentation"] = {"horizontal_flip": 0, "zoom": [1]}
    protocol = create_protocol(str(folder.write()))
    one = protocol.dataset("train", protocol.train_transform())[0]
    other = protocol.dataset("train", protocol.evaluation_transform())[0]
    assert torch.equal(one["image"], other["image"])


def test_cached_samples_are_the_same_and_read_once(folder):
    protocol = create_protocol(str(folder.write()), cache=True)
    plain = create_protocol(str(folder.yaml))
    cached = protocol.dataset("train", protocol.evaluation_transform())
    fresh = plain.dataset("train", plain.evaluation_transform())
    first = cached[0]
    (folder.root / "rgb/a.png").rename(folder.root / "rgb/gone.png")
    again = cached[0]
    (folder.root / "rgb/gone.png").rename(folder.root / "rgb/a.png")
    for sample in (first, again):
        assert torch.equal(sample["image"], fresh[0]["image"])
        assert torch.equal(sample["targets"]["depth"], fresh[0]["targets"]["depth"])
    again["targets"].clear()
    assert cached[0]["targets"]
    assert len(cached) == 3


def test_augmented_samples_go_through_loader_processes(folder):
    protocol = create_protocol(str(folder.write()))
    dataset = protocol.dataset("train", protocol.train_transform())
    assert pickle.loads(pickle.dumps(dataset)).names == dataset.names
    loader = DataLoader(
        dataset,
        batch_size=2,
        num_workers=1,
        collate_fn=lambda s: collate(s, protocol.tasks),
        multiprocessing_context="fork",
    )
    assert [len(batch) for batch in loader] == [2, 1]


def test_fingerprint_follows_files_and_settings(folder):
    def fingerprint(**options):
        return create_protocol(str(folder.write()), **options).fingerprint()

    first = fingerprint()
    assert first == fingerprint() == fingerprint(cache=True)
    assert first != fingerprint(fit="pad")
    path = folder.root / "semseg/b.png"
    content = path.read_bytes()
    path.touch()
    assert first == fingerprint()
    path.write_bytes(content + b"\0")
    assert first != fingerprint()
    path.unlink()
    assert first != fingerprint()
    path.write_bytes(content)
    folder.config["tasks"]["depth"]["encoding"]["scale"] = 0.002
    assert first != fingerprint()


def test_root_overrides_the_yaml(folder, tmp_path_factory):
    del folder.config["root"]
    elsewhere = tmp_path_factory.mktemp("yaml") / "my.yaml"
    elsewhere.write_text(folder.write().read_text())
    protocol = create_protocol(str(elsewhere), root=folder.root)
    assert len(protocol.dataset("train")) == 3
    assert protocol.root == str(folder.root)
    assert protocol.license == "none"
