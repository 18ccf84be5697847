"""An image that cannot be read stops a run, or is replaced, counted and listed."""

import json
import multiprocessing
import os
import shutil

import pytest
import torch

from reference.run_files import log, weights
from taskprism.data import create_protocol
from taskprism.data.shards import pack
from taskprism.errors import DataError
from taskprism.training import evaluate, train
from taskprism.training.feeding import EpochOrder, TrainingFeed

pytestmark = pytest.mark.usefixtures("quick")
BAD = "image03"  # index 3 of the training split
SKIP = {"on_bad_sample": "skip"}


def break_file(path):
    """Keep the size, as a damaged disk does."""
    content = bytearray(path.read_bytes())
    content[60:] = bytes(len(content) - 60)
    path.write_bytes(content)


@pytest.fixture
def broken(tiny_data, tmp_path):
    """The tiny data with a damaged training image."""
    folder = tmp_path / "data"
    shutil.copytree(tiny_data.parent, folder)
    break_file(folder / "rgb" / f"{BAD}.png")
    return folder / "data.yaml"


@pytest.fixture
def broken_shards(tiny_data, tmp_path):
    """Packed data of which an image is damaged after its tar file has been verified."""
    index = pack(create_protocol(tiny_data), tmp_path / "shards")
    create_protocol(tmp_path / "shards").fingerprint()
    [shard] = index.splits["train"]
    entry = next(entry for entry in shard.samples if entry.name == BAD)
    member = entry.members["image"]
    path = tmp_path / "shards" / shard.file
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    with path.open("r+b") as tar:
        tar.seek(member.offset + 20)
        tar.write(bytes(member.size - 20))
    os.utime(path, ns=times)
    return tmp_path / "shards"


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_by_default_the_run_stops_with_the_error_of_the_file(
    tiny_recipe, broken, tmp_path, workers
):
    """Also if a loader process finds it: its traceback is no part of the message."""
    recipe = tiny_recipe(data={"protocol": str(broken), "workers": workers}, epochs=1)
    with pytest.raises(DataError) as caught:
        train(recipe, tmp_path / "run")
    assert f"{BAD}.png" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert not multiprocessing.active_children(), "loader processes live on"


@pytest.mark.parametrize("kind", ["files", "shards"])
def test_a_replaced_image_is_counted_and_listed(
    tiny_recipe, broken, broken_shards, tmp_path, capsys, kind
):
    data = broken if kind == "files" else broken_shards
    recipe = tiny_recipe(data={"protocol": str(data), "batch_size": 7, **SKIP}, evaluate_every=2)
    run = train(recipe, tmp_path / "run")
    shown = capsys.readouterr().err
    assert shown.count("Replaced 1 training image(s) that cannot be read; 1 in the run.") == 2
    assert shown.count("Image 3 of the training split:") == 1, "once for the run"
    trained = [entry for entry in log(run) if entry["event"] == "train"]
    assert [list(entry["bad_samples"]) for entry in trained] == [["3"], ["3"]]
    listed = json.loads((run / "manifest.json").read_text())["bad_samples"]
    assert list(listed) == ["3"]
    assert BAD in listed["3"]


def test_replacing_is_the_same_with_workers_and_from_the_middle(broken):
    """And a batch keeps its size; another image is in place of the bad one."""
    protocol = create_protocol(broken)
    dataset = protocol.dataset("train", protocol.train_transform())

    def batches(workers=0, images=0):
        feed = TrainingFeed(dataset, protocol.tasks, EpochOrder(7, 1, 0), workers, skip=True)
        return [(batch.names, batch.images) for batch in feed.epoch(0, images)], feed.bad.in_epoch

    whole, bad = batches()
    assert list(bad) == [3]
    assert BAD not in [name for names, _ in whole for name in names]
    assert len(whole) == 7
    for workers, start in ((1, 0), (0, 2)):
        part, _ = batches(workers, start)
        assert [names for names, _ in part] == [names for names, _ in whole[start:]]
        assert all(torch.equal(a, b) for (_, a), (_, b) in zip(part, whole[start:], strict=True))


class Unreadable(torch.utils.data.Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        raise KeyError("column")


def test_a_set_in_which_nothing_can_be_read_is_not_skipped():
    feed = TrainingFeed(Unreadable(), [], EpochOrder(5, 1, 0), 0, skip=True)
    with pytest.raises(DataError, match=r"None of \d training image.*KeyError: 'column'"):
        next(feed.epoch(0))
    with pytest.raises(KeyError):
        next(TrainingFeed(Unreadable(), [], EpochOrder(5, 1, 0), 0).epoch(0))


def test_a_stopped_run_may_continue_with_skip(tiny_recipe, broken, tmp_path):
    """It then equals a run that skipped from the start."""
    data = {"protocol": str(broken)}
    with pytest.raises(DataError):
        train(tiny_recipe(data=data, seed=1), tmp_path / "stopped")
    train(tiny_recipe(data=data | SKIP, seed=1), tmp_path / "stopped", resume=True)
    whole = train(tiny_recipe(data=data | SKIP, seed=1), tmp_path / "whole")
    one, two = weights(tmp_path / "stopped"), weights(whole)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert log(tmp_path / "stopped") == log(whole)


def test_an_evaluation_leaves_out_no_image(tiny_recipe, broken, tmp_path):
    """Scores over different images would not be comparable."""
    recipe = tiny_recipe(data={"protocol": str(broken), **SKIP}, epochs=1)
    run = train(recipe, tmp_path / "run")
    scores = (run / "metrics.json").read_text()
    break_file(broken.parent / "rgb" / "image09.png")
    with pytest.raises(DataError, match=r"image09\.png"):
        evaluate(run, pictures=False)
    assert (run / "metrics.json").read_text() == scores
