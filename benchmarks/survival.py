"""Kill trainings with SIGKILL, resume them, and compare the results with uninterrupted trainings.

    python benchmarks/survival.py --kills 100 --out report.md
    python benchmarks/survival.py --kills 40 --moments writing --modes folder shards

By default, every other kill comes while a checkpoint is being written. Each run is
killed up to five times and then trained to its end. Weights, optimizer, state of the balancing, log
and scores must equal those of the uninterrupted run bit for bit. The data are eight made-up images;
every run has one thread per process. The exit status is 1 if any result differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import commands
from reference.run_files import log
from taskprism.data import create_protocol
from taskprism.data.shards import pack
from taskprism.losses import list_balancers

KILLS_PER_RUN = 5
EPOCHS = 4
MOMENTS = {"random": "at random moments", "writing": "while a checkpoint is written"}
Change = dict[str, Any]


@dataclass
class Mode:
    """One way to train, and what happened to its runs.

    Attributes:
        name: In the report.
        recipe: File of the recipe.
        processes: Processes that train together.
        runs: Finished runs.
        equal: Runs that ended as the uninterrupted one.
        moments: Kills by kind of moment.
        start: Seconds until an uninterrupted run writes its first file.
        duration: Seconds that it takes.
    """

    name: str
    recipe: Path
    processes: int = 1
    runs: int = 0
    equal: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    start: float = 0.0
    duration: float = 0.0

    def begin(self, run: Path) -> commands.Ranks:
        """Start training in a folder, or resume."""
        words = ["-m", "taskprism", "train", str(self.recipe), "--out", str(run)]
        if (run / "recipe.yaml").exists():
            words.append("--resume")
        alone = dict.fromkeys(("RANK", "WORLD_SIZE")) if self.processes == 1 else {}
        return commands.Ranks(words, self.processes, environment=alone)


def write_data(root: Path) -> Path:
    """Eight training and two test images with two types of labels, some of them missing."""
    generator = np.random.default_rng(0)
    for folder in ("rgb", "semseg", "depth"):
        (root / folder).mkdir(parents=True)
    names = [f"image{number}" for number in range(10)]
    for number, name in enumerate(names):
        image = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(image).save(root / "rgb" / f"{name}.png")
        if number % 4 != 1:
            labels = (image[..., 0] > 127).astype(np.uint8)
            Image.fromarray(labels).save(root / "semseg" / f"{name}.png")
        if number % 4 != 2:
            depth = image[..., 1].astype(np.uint16) * 10 + 500
            Image.fromarray(depth).save(root / "depth" / f"{name}.png")
    (root / "train.txt").write_text("\n".join(names[:8]))
    (root / "test.txt").write_text("\n".join(names[8:]))
    description = {
        "name": "made_up",
        "root": ".",
        "license": "made by a benchmark",
        "image": "rgb/{name}.png",
        "input_size": [32, 32],
        "splits": {"train": "train.txt", "test": "test.txt"},
        "tasks": {
            "semseg": {"path": "semseg/{name}.png", "classes": ["dark", "light"]},
            "depth": {"path": "depth/{name}.png", "encoding": {"scale": 0.001}},
        },
    }
    file = root / "data.yaml"
    file.write_text(yaml.safe_dump(description))
    return file


def create_modes(folder: Path, only: Sequence[str]) -> list[Mode]:
    """Modes in the order of the report."""
    data = write_data(folder / "data")
    shards = folder / "shards"
    pack(create_protocol(data), shards, shard_bytes=8_000)

    def mode(name: str, change: Change, processes: int = 1) -> Mode:
        recipe: Change = {
            "model": {
                "name": "multi_task",
                "backbone": "test_resnet",
                "pretrained": False,
                "options": {"neck_channels": 8},
            },
            "data": {"protocol": str(data), "batch_size": 2},
            "tasks": ["semseg", "depth"],
            "optimizer": {"lr": 1e-3},
            "epochs": EPOCHS,
            "evaluate_every": 2,
        }
        for key, value in change.items():
            recipe[key] = {**recipe[key], **value} if isinstance(recipe.get(key), dict) else value
        file = folder / f"recipe{len(list(folder.glob('recipe*.yaml')))}.yaml"
        file.write_text(yaml.safe_dump(recipe))
        return Mode(name, file, processes)

    everything = {"accumulate": 2, "ema_decay": 0.9, "clip_norm": 1.0}
    packed = {"data": {"protocol": str(shards)}}
    modes = [
        mode("folder", {}),
        mode("folder, two loader processes", {"data": {"workers": 2}}),
        mode("folder, accumulation, moving average", everything),
        mode("shards", packed),
        mode("folder, 2 processes", {}, processes=2),
        mode("shards, 2 processes", packed, processes=2),
        mode("gradnorm, 2 processes", {"loss": {"balancing": "gradnorm"}}, processes=2),
        *(mode(name, {"loss": {"balancing": name}}) for name in list_balancers()),
    ]
    chosen = [each for each in modes if not only or each.name in only]
    if not chosen:
        raise SystemExit(f"No such mode; known: {'; '.join(each.name for each in modes)}")
    return chosen


def train_whole(mode: Mode, run: Path) -> None:
    """Train without interruption, and measure how long that takes."""
    began = time.monotonic()
    with mode.begin(run) as ranks:
        while not (run / "recipe.yaml").exists() and ranks.processes[0].poll() is None:
            time.sleep(0.005)
        mode.start = time.monotonic() - began
        check(ranks.wait(600), ranks)
    mode.duration = time.monotonic() - began


def check(statuses: Sequence[int], ranks: commands.Ranks) -> None:
    """End the benchmark if a process failed by itself."""
    if any(statuses):
        raise SystemExit("\n".join(str(process) for process in ranks.processes))


def train_and_kill(
    mode: Mode, run: Path, kills: int, moments: Sequence[str], rng: random.Random
) -> None:
    """Train to the end with up to so many kills, and count them."""
    for number in range(kills):
        moment = moments[number % len(moments)]
        left_before = set(unfinished(run))
        with mode.begin(run) as ranks:
            if moment == "writing":
                met = await_write(run, ranks, rng)
            else:
                left = 1 - epochs_of(run) / EPOCHS
                end = mode.start + (mode.duration - mode.start) * left
                met = await_time(rng.uniform(0.7 * mode.start, end), ranks)
            kill(ranks, rng)
            statuses = ranks.wait(60)
        if not met and not any(statuses):
            mode.duration *= 0.9  # it ended before: other programs are less busy than they were
            return
        if not set(unfinished(run)) - left_before:  # the checkpoint was finished just before
            moment = "random"
        mode.moments[moment] += 1
    with mode.begin(run) as ranks:
        check(ranks.wait(600), ranks)


def kill(ranks: commands.Ranks, rng: random.Random) -> None:
    """Kill one process, and the others as soon as a launcher would."""
    processes = list(ranks.processes)
    rng.shuffle(processes)
    for number, process in enumerate(processes):
        if number:
            time.sleep(rng.uniform(0, 0.1))
        process.kill_group()


def await_time(seconds: float, ranks: commands.Ranks) -> bool:
    """Wait; False if the run ends before."""
    return await_true(lambda: False, ranks, seconds)


def await_write(run: Path, ranks: commands.Ranks, rng: random.Random) -> bool:
    """Wait until one of the next checkpoints is being written; False if the run ends before."""
    for _ in range(rng.randint(1, 2)):
        known = set(unfinished(run))
        if not await_true(lambda known=known: set(unfinished(run)) - known, ranks):
            return False
    time.sleep(rng.uniform(0, 0.02))
    return True


def await_true(condition: Callable[[], Any], ranks: commands.Ranks, seconds: float = 600) -> bool:
    """Wait until a condition is true or the time is over; False if the run ends before."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        if ranks.processes[0].poll() is not None:
            return False
        time.sleep(0.001)
    return True


def unfinished(run: Path) -> Iterator[tuple[str, int]]:
    """Folders from which a checkpoint is made or which it replaces: name and number of each."""
    for folder in run.glob("checkpoints/.*"):
        with contextlib.suppress(FileNotFoundError):
            yield folder.name, folder.stat().st_ino


def epochs_of(run: Path) -> int:
    """Epochs in the log of a run."""
    return sum(entry["event"] == "train" for entry in log(run))


def differences(run: Path, whole: Path) -> list[str]:
    """What differs between two runs, apart from times and process ids."""
    found = []
    for name in ("last", "best"):
        folders = [each / "checkpoints" / name for each in (run, whole)]
        if not same(*(load_file(each / "model.safetensors") for each in folders)):
            found.append(f"weights of {name}")
    states = [
        torch.load(each / "checkpoints" / "last" / "training_state.pt", weights_only=True)
        for each in (run, whole)
    ]
    found += [key for key in states[1] if not same(states[0].get(key), states[1][key])]
    if log(run) != log(whole):
        found.append("log.jsonl")
    scores = [json.loads((each / "metrics.json").read_text()) for each in (run, whole)]
    if scores[0] != scores[1]:
        found.append("metrics.json")
    return found


def same(one: Any, other: Any) -> bool:
    """Whether nested values are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return (
            isinstance(other, torch.Tensor)
            and one.dtype == other.dtype
            and bits(one) == bits(other)
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def bits(tensor: torch.Tensor) -> tuple[tuple[int, ...], bytes]:
    """Shape and bytes, which also tell -0 from 0."""
    return tuple(tensor.shape), tensor.contiguous().numpy().tobytes()


def report(modes: Sequence[Mode], command: str) -> str:
    """Markdown text with a row per mode and their sum."""
    total = Mode("**all**", Path())
    for mode in modes:
        total.runs += mode.runs
        total.equal += mode.equal
        total.moments += mode.moments
    header = ["trained with", *(f"kills {text}" for text in MOMENTS.values()), "equal endings"]
    rows = [header, ["---"] * len(header)]
    rows += [
        [
            mode.name,
            *(str(mode.moments[moment]) for moment in MOMENTS),
            f"{mode.equal} of {mode.runs}",
        ]
        for mode in (*modes, total)
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        f"`{command}`, PyTorch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}.\n\n{table}\n"
    )


def main() -> None:
    """Kill, resume, compare and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="kills in all modes together")
    parser.add_argument("--modes", nargs="*", default=[], help="names of modes; default: all")
    parser.add_argument("--moments", nargs="+", choices=MOMENTS, default=list(MOMENTS))
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, help="file for the report; default: standard output")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    commands.run_python("pass")  # starts the server, which takes seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        modes = create_modes(folder, given.modes)
        shares = [given.kills // len(modes)] * len(modes)
        for index in range(given.kills % len(modes)):
            shares[index] += 1
        for number, (mode, kills) in enumerate(zip(modes, shares, strict=True)):
            whole = folder / f"whole{number}"
            train_whole(mode, whole)
            while mode.moments.total() < kills:
                run = folder / f"killed{number}"
                shutil.rmtree(run, ignore_errors=True)
                wanted = min(KILLS_PER_RUN, kills - mode.moments.total())
                train_and_kill(mode, run, wanted, given.moments, rng)
                mode.runs += 1
                differing = differences(run, whole)
                mode.equal += not differing
                print(f"{mode.name}: {mode.moments.total()} kills, differs: {differing or '-'}")
    words = [word for word in sys.argv[1:] if word not in ("--out", str(given.out))]
    text = report(modes, f"python benchmarks/survival.py {shlex.join(words)}")
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    else:
        print(text)
    sys.exit(any(mode.equal != mode.runs for mode in modes))


if __name__ == "__main__":
    main()
