"""One of two processes fails, is killed, hangs or gets a signal; the other one ends with it."""

from __future__ import annotations

import json
import re
import signal

import pytest

import commands
from reference.run_files import log
from taskprism.training.run_directory import TrainingState

pytestmark = pytest.mark.slow

#: Numbers instead of files; the second process does something when it reads its fourth image.
PARTS = """
import os, signal, time
import torch
from taskprism.data import Protocol, TransformedDataset, make_sample, register_protocol
from taskprism.errors import DataError
from taskprism.tasks import Depth

class Images(torch.utils.data.Dataset):
    reads = 0

    def __init__(self, length, tasks, is_train):
        self.length, self.tasks, self.is_train = length, tasks, is_train

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        Images.reads += self.is_train
        if os.environ["RANK"] == "1" and Images.reads == 4:
            what = os.environ.get("EVENT")
            if what == "fail":
                raise DataError("image 3: its label is broken.")
            if what == "crash":
                raise KeyError("column")
            if what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "hang":
                time.sleep(100)
            if what == "signal":
                os.kill(os.getpid(), signal.SIGUSR1)
        image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(index))
        return make_sample(f"{index}", image, {"depth": 1 + image[0]}, self.tasks)

@register_protocol
class Numbers(Protocol):
    name = "numbers"
    tasks = (Depth(),)
    input_size = (32, 32)

    def dataset(self, split, transform=None):
        images = Images(17 if split == "train" else 5, self.tasks, split == "train")
        return TransformedDataset(images, transform)
"""


@pytest.fixture
def launch(tmp_path):
    """Start two processes of a training; an event happens in the second."""
    parts = tmp_path / "parts.py"
    parts.write_text(PARTS)

    def start(run, *words, event="", processes=2):
        return commands.launch(
            processes,
            *("train", "multi_task", "--import", parts, "--data", "numbers", "--out", run),
            *("--model.backbone", "test_resnet", "--model.options.neck_channels", "8"),
            *("--data.batch-size", "2", "--epochs", "2", *words),
            environment={"EVENT": event},
        )

    return start


@pytest.mark.parametrize(
    ("event", "status", "message"),
    [
        ("fail", 2, "taskprism train: image 3: its label is broken.\n"),
        ("crash", 1, "KeyError: 'column'\n"),
    ],
)
def test_the_error_of_one_process_is_the_only_one(launch, tmp_path, event, status, message):
    with launch(tmp_path / "run", event=event) as ranks:
        assert ranks.wait(90) == [status, status]
        first, second = (rank.errors for rank in ranks.processes)
    assert second.endswith(message)
    assert "Traceback" not in first
    assert "loo" not in first + second, "neither Gloo nor its errors are mentioned"


def test_a_killed_process_is_named(launch, tmp_path):
    with launch(tmp_path / "run", event="kill") as ranks:
        assert ranks.wait(90) == [2, -signal.SIGKILL]
        first = ranks.processes[0].errors
    assert "Process 1 (process id" in first
    assert "has ended without a message" in first
    assert "Traceback" not in first


def test_a_process_that_hangs_is_reported_and_ends_the_run(launch, tmp_path):
    with launch(tmp_path / "run", "--stall-timeout", "8", event="hang") as ranks:
        assert ranks.wait(90) == [2, 2]
        first = ranks.processes[0].errors
    lines = [line for line in first.splitlines() if "epoch 1/2: loading item" in line]
    assert len(lines) == 2, "half-way, and at the end"
    for line in lines:
        assert "Process 1 (process id" in line
        assert "Process 0" not in line
        assert "has not moved for" in line
        assert re.search(r"parts\.py, line 2[89], __getitem__", line), "of the loop that sleeps"
    assert "stall_timeout is 8 s" in lines[1]
    assert "Traceback" not in first


def test_a_signal_to_one_stops_both_and_another_number_of_processes_resumes(launch, tmp_path):
    """All images of the epoch are trained on once; the last two fill no batch."""
    run = tmp_path / "run"
    with launch(run, event="signal") as ranks:
        assert ranks.wait(90) == [0, 0]
        first, second = (rank.errors for rank in ranks.processes)
    assert "Stopped and saved. Resume with: taskprism train" in first
    assert "Traceback" not in first + second
    position = TrainingState.load(run / "checkpoints" / "last").position
    assert (position.epoch, position.images) == (0, 4 * position.batch)
    with launch(run, "--resume", processes=1) as ranks:
        assert ranks.wait(90) == [0]
        assert "Resuming with 1 process(es) instead of 2" in ranks.processes[0].errors
    left = 17 - position.images
    steps = [entry["step"] for entry in log(run) if entry["event"] == "train"]
    assert steps == [position.batch + left // 2, position.batch + left // 2 + 8]
    assert json.loads((run / "manifest.json").read_text())["hardware"]["processes"] == 1
