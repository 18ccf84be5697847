"""Two processes, each with a part of the data, give the scores of one process."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

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


def _work(rank, folder):
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    scores = {task.name: _scores(task, PARTS[rank]) for task in every_task()}
    Path(folder, f"{rank}.json").write_text(json.dumps(scores))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    mp.spawn(_work, args=(str(tmp_path),), nprocs=2)
    expected = {task.name: _scores(task, PARTS[0] + PARTS[1]) for task in every_task()}
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found.keys() == expected.keys()
        for name, scores in expected.items():
            assert found[name] == pytest.approx(scores, abs=1e-9), name
