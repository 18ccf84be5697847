"""Several data sets as one partly labeled set."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from taskprism.data import collate, create_protocol
from taskprism.errors import InputError, UnknownNameError


@pytest.fixture
def pair(folder, tmp_path_factory):
    """Two YAMLs over the same pictures: one with semseg and depth, one with depth and edges."""
    first = folder.write()
    other_root = tmp_path_factory.mktemp("other")
    shutil.copytree(folder.root, other_root, dirs_exist_ok=True)
    config = {**folder.config, "name": "other"}
    config["tasks"] = {k: folder.config["tasks"][k] for k in ("depth", "edge")}
    config["splits"] = {"train": ["d"], "val": ["a"], "test": ["b", "c"]}
    second = other_root / "other.yaml"
    second.write_text(yaml.safe_dump(config))
    del folder.config["tasks"]["edge"]
    folder.write()
    return [str(first), str(second)]


def change(path, **keys):
    file = Path(path)
    config = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**config, **keys}))


def test_union_of_tasks_and_samples(pair):
    joint = create_protocol(pair)
    assert joint.name == "tiny+other"
    assert [task.name for task in joint.tasks] == ["semseg", "depth", "normals", "edge"]
    assert joint.splits == ("train", "test")
    assert "tiny: none" in joint.license
    dataset = joint.dataset("train")
    names = [dataset[i]["name"] for i in range(len(dataset))]
    assert names == ["tiny/a", "tiny/b", "tiny/c", "other/d"]
    assert set(dataset[0]["targets"]) == {"semseg", "depth", "normals"}
    assert set(dataset[3]["targets"]) == {"depth", "edge"}


def test_batches_mask_labels_that_a_source_lacks(pair):
    joint = create_protocol(pair)
    dataset = joint.dataset("train", joint.train_transform())
    batch = collate([dataset[i] for i in range(4)], joint.tasks)
    assert batch.images.shape == (4, 3, 16, 24)
    for task in joint.tasks:
        assert batch.targets[task.name].shape == (4, task.target_channels, 16, 24)
    labeled = {name: mask.flatten(1).any(1).tolist() for name, mask in batch.valid.items()}
    assert labeled["semseg"] == labeled["normals"] == [True, True, True, False]
    assert labeled["depth"] == [True] * 4
    assert labeled["edge"] == [False, False, False, True]
    assert batch.targets["edge"][:3].abs().max() == 0


def test_balanced_sampling_applies_to_training_only(pair):
    joint = create_protocol(pair, sampling="balanced")
    dataset = joint.dataset("train")
    names = [dataset[i]["name"] for i in range(len(dataset))]
    assert names == ["tiny/a", "tiny/b", "tiny/c", "other/d", "other/d", "other/d"]
    assert len(joint.dataset("test")) == 3


def test_each_set_keeps_its_augmentation(pair):
    change(pair[0], augmentation={"horizontal_flip": 0, "zoom": [1]})
    change(pair[1], augmentation={"horizontal_flip": 1, "zoom": [1]})
    joint = create_protocol(pair)
    trained = joint.dataset("train", joint.train_transform())
    plain = joint.dataset("train", joint.evaluation_transform())
    assert torch.equal(trained[0]["image"], plain[0]["image"])
    assert torch.equal(trained[3]["image"], plain[3]["image"].flip(-1))


def test_options_reach_every_part(pair):
    joint = create_protocol(pair, input_size=[8, 8], cache=True)
    assert joint.input_size == (8, 8)
    assert [part.config.cache for part in joint.parts] == [True, True]
    assert joint.dataset("test")[2]["image"].shape == (3, 8, 8)


def test_roots_are_found_below_one_folder_or_by_name(pair, tmp_path_factory):
    parent = tmp_path_factory.mktemp("parent")
    for name, path in zip(("tiny", "other"), pair, strict=True):
        shutil.copytree(path.rpartition("/")[0], parent / name)
    joint = create_protocol(pair, root=parent)
    assert [part.root for part in joint.parts] == [str(parent / "tiny"), str(parent / "other")]
    joint = create_protocol(pair, root={"other": parent / "other"})
    assert joint.parts[1].root == str(parent / "other")
    assert joint.parts[0].root != str(parent / "tiny")


def test_one_name_in_a_list_is_that_protocol(pair):
    assert create_protocol(pair[:1]).name == "tiny"


def test_fingerprint_follows_every_part(pair):
    first = create_protocol(pair).fingerprint()
    assert first == create_protocol(pair).fingerprint()
    change(pair[1], license="other")
    assert first != create_protocol(pair).fingerprint()


def test_conflicting_tasks_raise_with_a_hint(pair):
    tasks = yaml.safe_load(Path(pair[1]).read_text())["tasks"]
    tasks["semseg"] = {"path": "semseg/{name}.png", "classes": 5, "ignore": [255]}
    change(pair[1], tasks=tasks)
    with pytest.raises(InputError, match=r"'semseg' means .*'tiny'.*'other'.*kind: semseg"):
        create_protocol(pair)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"name": "tiny"}, {}, "different names"),
        ({"input_size": [8, 8]}, {}, "one input size.*tiny.*other.*input_size"),
        ({}, {"sampling": "fair"}, "'balanced' or 'concatenated'"),
    ],
)
def test_incompatible_parts_raise(pair, changes, options, message):
    change(pair[1], **changes)
    with pytest.raises(InputError, match=message):
        create_protocol(pair, **options)


def test_split_that_one_part_lacks(pair):
    with pytest.raises(InputError, match="no split 'val'"):
        create_protocol(pair).dataset("val")


def test_empty_list():
    with pytest.raises(InputError, match="at least one"):
        create_protocol([])


def test_a_set_for_training_only_leaves_the_other_splits_as_they_are(pair):
    change(pair[1], splits={"train": ["d", "a"]})
    joint = create_protocol(pair)
    assert joint.splits == ("train", "test")
    assert [sample["name"] for sample in joint.dataset("test")] == ["tiny/d"]
    assert len(joint.dataset("train")) == 5
    change(pair[0], splits={"train": ["a"]})
    assert create_protocol(pair).splits == ("train",)


def test_weights_of_sets_and_of_their_yamls_multiply(pair):
    joint = create_protocol(pair, weights={"other": 0.5})
    samples = list(joint.dataset("train", joint.train_transform()))
    assert [sample.get("weight", 1) for sample in samples] == [1, 1, 1, 0.5]
    assert collate(samples, joint.tasks).weights.tolist() == [1, 1, 1, 0.5]
    assert collate(samples[:3], joint.tasks).weights is None
    assert joint.fingerprint() != create_protocol(pair).fingerprint()
    change(pair[1], loss_weight=0.2)
    again = create_protocol(pair, weights={"other": 0.5}).dataset("train")[3]
    assert again["weight"] == pytest.approx(0.1)
    assert create_protocol(pair[1]).dataset("train")[0]["weight"] == 0.2
    with pytest.raises(UnknownNameError, match="data set with a weight 'others'"):
        create_protocol(pair, weights={"others": 1})
    with pytest.raises(InputError, match="other must be a finite number of at least 0"):
        create_protocol(pair, weights={"other": -1})
