"""Two processes, each with a part of the data, give the scores of one process."""

import pytest
import torch.distributed as dist

import commands
from reference.batches import every_task, random_batch

PARTS = ([0, 1, 2, 3], [4])  # uneven, and for some tasks the second holds no label


def _batch(task):
    output, target, valid = random_batch(task, images=5)
    if task.kind in ("depth", "semseg", "saliency"):
        valid[4] = False
    return output, target, valid


def _scores(task, images):
    metrics = task.metrics()
    task.update_metrics(metrics, *(t[images] for t in _batch(task)))
    return {key: value.item() for key, value in metrics.compute().items()}


def _scores_of_part():
    dist.init_process_group("gloo")
    return {task.name: _scores(task, PARTS[dist.get_rank()]) for task in every_task()}


def test_two_processes_equal_one():
    expected = {task.name: _scores(task, PARTS[0] + PARTS[1]) for task in every_task()}
    for found in commands.call(_scores_of_part, processes=2):
        assert found.keys() == expected.keys()
        for name, scores in expected.items():
            assert found[name] == pytest.approx(scores, abs=1e-9), name
