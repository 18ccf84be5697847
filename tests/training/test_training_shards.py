"""Training from tars is training from files: same numbers, stopped or not, alone or in ranks."""

import pytest
import torch
import yaml

from reference.run_files import log, weights
from taskprism.data import create_protocol
from taskprism.data.shards import pack
from taskprism.errors import InputError
from taskprism.training import train
from taskprism.training.feeding import EpochOrder, TrainingFeed
from taskprism.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def packed(tiny_data, tmp_path_factory):
    """The tiny folder in several tars."""
    out = tmp_path_factory.mktemp("packed") / "tiny"
    index = pack(create_protocol(tiny_data), out, shard_bytes=12_000)
    assert len(index.splits["train"]) > 1
    return out


def assert_equal(first, second):
    one, two = weights(first), weights(second)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert log(first) == log(second)


def test_training_from_tars_is_training_from_files(tiny_recipe, packed, tmp_path):
    from_files = train(tiny_recipe(epochs=1), tmp_path / "files")
    from_tars = train(tiny_recipe(data={"protocol": str(packed)}, epochs=1), tmp_path / "tars")
    assert_equal(from_files, from_tars)


def test_stopped_and_resumed_is_bit_equal(tiny_recipe, packed, tmp_path, monkeypatch):
    recipe = tiny_recipe(data={"protocol": "shards", "root": str(packed)})
    with monkeypatch.context() as patch:
        descend, done = Trainer._train_batch, []

        def counting(self, *arguments):
            descend(self, *arguments)
            done.append(1)
            if len(done) == 5:  # amid the second epoch
                self.stop.ask()

        patch.setattr(Trainer, "_train_batch", counting)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "stopped")
    resumed = train(recipe, tmp_path / "stopped", resume=True)
    assert_equal(resumed, train(recipe, tmp_path / "whole"))


def feed(protocol, rank, processes, workers):
    order = EpochOrder(7, 1, seed=3, rank=rank, processes=processes)
    dataset = protocol.dataset("train", protocol.train_transform())
    return TrainingFeed(dataset, protocol.tasks, order, workers)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_ranks_and_workers_share_the_images(packed, workers):
    protocol = create_protocol(packed)
    whole = list(feed(protocol, 0, 1, 0).epoch(0))
    names = [name for batch in whole for name in batch.names]
    images = {name: batch.images for batch in whole for name in batch.names}
    assert sorted(names) == sorted(protocol.dataset("train").names)
    assert names != sorted(names)  # shuffled, across tars
    later = [name for batch in feed(protocol, 0, 1, 0).epoch(1) for name in batch.names]
    assert later != names
    shares = []
    for rank in (0, 1):
        own = list(feed(protocol, rank, 2, workers).epoch(0))
        assert all(torch.equal(batch.images, images[batch.names[0]]) for batch in own)
        shares.append([name for batch in own for name in batch.names])
    assert not set(shares[0]) & set(shares[1])
    assert len(shares[0]) == len(shares[1]) == 3  # ranks stay in step; one image waits
    assert [n for pair in zip(*shares, strict=True) for n in pair] == names[:6]


def test_packed_sets_are_joined_like_files(tiny_data, packed, tmp_path):
    config = yaml.safe_load(tiny_data.read_text())
    config |= {"name": "other", "root": str(tiny_data.parent)}
    config["tasks"] = {"saliency": {**config["tasks"]["edge"]}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(config))
    other = create_protocol(tmp_path / "other.yaml")
    pack(other, tmp_path / "other")
    files = create_protocol([str(tiny_data), str(tmp_path / "other.yaml")])
    tars = create_protocol([str(packed), str(tmp_path / "other")], sampling="concatenated")
    assert tars.name == files.name == "tiny+other"
    assert tars.tasks == files.tasks
    for split in ("train", "test"):
        pairs = zip(files.dataset(split), tars.dataset(split), strict=True)
        for one, two in pairs:
            assert one["name"] == two["name"]
            assert one["targets"].keys() == two["targets"].keys()
            assert torch.equal(one["image"], two["image"])
    with pytest.raises(InputError, match="Pack each of its data sets"):
        pack(files, tmp_path / "both")
