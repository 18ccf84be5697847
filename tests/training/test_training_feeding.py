import random
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

from taskprism.errors import DataError
from taskprism.scoring.evaluation import evaluation_loader
from taskprism.training.feeding import EpochOrder, TrainingFeed, derive_seed, seeded


class Noise(torch.utils.data.Dataset):
    """Each image is random numbers of all three generators, so any difference shows."""

    def __len__(self):
        return 9

    def __getitem__(self, index):
        numbers = [random.random(), np.random.random(), torch.rand(()).item()]  # noqa: NPY002
        image = torch.tensor(numbers).view(3, 1, 1).expand(3, 2, 2).clone()
        return {"name": str(index), "image": tv_tensors.Image(image), "targets": {}, "valid": {}}


def batches(feed, epoch, images=0):
    return [(batch.names, batch.images) for batch in feed.epoch(epoch, images)]


def same(a, b):
    return len(a) == len(b) and all(
        n == m and torch.equal(x, y) for (n, x), (m, y) in zip(a, b, strict=True)
    )


def make(workers=0, seed=3):
    return TrainingFeed(Noise(), [], EpochOrder(9, 3, seed), workers)


def test_an_epoch_is_the_same_whatever_came_before():
    feed = make()
    first = [batches(feed, epoch) for epoch in range(3)]
    torch.rand(5)
    assert same(batches(make(), 2), first[2])
    assert not same(first[0], first[1])
    assert not same(batches(make(seed=4), 0), first[0])


def test_an_epoch_can_start_amid():
    assert same(batches(make(), 1, images=6), batches(make(), 1)[2:])
    assert batches(make(), 1, images=9) == []


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(8, 60),
    batch=st.integers(1, 4),
    before=st.integers(1, 4),
    after=st.integers(1, 4),
    done=st.integers(1, 4),
)
def test_other_processes_continue_an_epoch_with_the_images_that_are_left(
    length, batch, before, after, done
):
    """Each image at most once, and all but those that fill no batch."""

    def drawn(processes, images=0):
        orders = [EpochOrder(length, batch, 0, rank, processes) for rank in range(processes)]
        steps = zip(*(order.epoch(1, images) for order in orders), strict=True)
        return [[draw.index for group in step for draw in group] for step in steps]

    first = drawn(before)[:done]
    images = sum(map(len, first))
    rest = drawn(after, images)
    seen = [index for group in [*first, *rest] for index in group]
    assert len(seen) == len(set(seen))
    left_out = length - len(seen)
    assert left_out < 2 * after or images == sum(map(len, drawn(before)))


@pytest.mark.slow
def test_workers_change_nothing_and_live_on():
    feed = make(workers=2)
    for epoch in range(2):
        assert same(batches(feed, epoch), batches(make(), epoch))
    loader = weakref.ref(feed._loader)
    del feed
    assert loader() is None, "left to the garbage collector, which ends the processes too late"


def test_feeding_leaves_the_generators_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with seeded(5):
        torch.rand(100)
        random.random()
    assert torch.equal(torch.rand(3), expected)


def test_seeds_are_stable_and_distinct():
    assert derive_seed(0, "step", 1, 2) == 7967718167125983440
    places = {derive_seed(seed, what, i) for seed in (0, 1) for what in "ab" for i in range(50)}
    assert len(places) == 200
    assert all(0 <= seed < 2**63 for seed in places)


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 60),
    batch=st.integers(1, 9),
    processes=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
def test_processes_share_each_image_at_most_once(length, batch, processes, epoch):
    if length < processes:
        with pytest.raises(DataError, match=f"{length} images for {processes} processes"):
            EpochOrder(length, batch, 0, 0, processes)
        return
    orders = [EpochOrder(length, batch, 0, rank, processes) for rank in range(processes)]
    epochs = [order.epoch(epoch) for order in orders]
    assert len({len(each) for each in epochs}) == 1, "all processes take as many steps"
    assert len(epochs[0]) == len(orders[0]) >= 1
    drawn = [draw.index for each in epochs for group in each for draw in group]
    assert len(drawn) == len(set(drawn))
    assert length - len(drawn) < 2 * processes or length - len(drawn) < batch * processes
    sizes = [len(group) for each in epochs for group in each]
    assert max(sizes) <= batch
    if batch > 1 and len(epochs[0]) > 1:
        assert min(sizes) >= 2, "batch normalization needs two"


@pytest.mark.parametrize(("length", "steps"), [(8, 2), (9, 2), (10, 3), (11, 3), (1, 1)])
def test_only_a_last_batch_of_one_is_left_out(length, steps):
    assert len(EpochOrder(length, 4, 0)) == steps


def test_orders_differ_between_epochs_and_seeds():
    order = EpochOrder(30, 30, 0)
    assert order.epoch(0) != order.epoch(1)
    indices = [[draw.index for draw in EpochOrder(30, 30, seed).epoch(0)[0]] for seed in (0, 1)]
    assert indices[0] != indices[1]
    assert sorted(indices[0]) == list(range(30))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_evaluation_shows_every_image_once(processes):
    seen = [
        name
        for rank in range(processes)
        for batch in evaluation_loader(Noise(), [], 2, rank=rank, processes=processes)
        for name in batch.names
    ]
    assert sorted(seen) == [str(i) for i in range(9)]


def test_a_small_last_batch_is_kept_where_batch_norm_sees_all_processes():
    lengths = [len(EpochOrder(7, 2, 0, rank=0, processes=2, fewest=fewest)) for fewest in (1, 2)]
    assert lengths == [2, 1]  # three images for two processes
    assert len(EpochOrder(5, 2, 0, rank=0, processes=2, fewest=1)) == 1  # one image for two
    assert len(EpochOrder(5, 4, 0, fewest=1)) == 1  # a single image has no variance
