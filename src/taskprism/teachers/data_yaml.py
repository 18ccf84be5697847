"""The data YAML of labels that a teacher has made."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from taskprism.atomic import write_text
from taskprism.data.files import read_image
from taskprism.data.folder_config import check_protocol_name
from taskprism.data.label_files import LabelEncoder
from taskprism.errors import DataError
from taskprism.tasks.base import Task
from taskprism.teachers.base import Teacher
from taskprism.teachers.plan import Plan, TeacherSource
from taskprism.text_files import read_yaml

DATA_FILE = "data.yaml"
RECORD_FILE = "distill.json"
_LONGEST_SIDE = 512  # of the input size, where the teacher has none
_STEP = 32


class DataYaml:
    """``data.yaml`` and the lists of its splits.

    Args:
        plan: What was labeled.
        failed: Names without labels.
        limits: Task -> threshold.
        teacher: Who labeled.
        source: Where the teacher comes from.
        held_out: Share of the test split.
    """

    def __init__(
        self,
        plan: Plan,
        failed: Iterable[str],
        limits: Mapping[str, float],
        teacher: Teacher,
        source: Teacher | TeacherSource,
        held_out: float,
    ) -> None:
        self.plan = plan
        self.failed = set(failed)
        self.limits = limits
        self.teacher = teacher
        self.source = source.source if isinstance(source, TeacherSource) else teacher.name
        self.held_out = held_out
        self.folder = plan.files.folder

    def write(self, name: str | None, input_size: tuple[int, int] | None) -> Path:
        """Write the files and return the YAML."""
        images, protocol = self.plan.images, self.plan.images.protocol
        config: dict[str, Any] = {}
        if protocol is not None:
            config = dict(read_yaml(Path(protocol.files.source), exponents=False))
            config.pop("licence", None)  # an older spelling
        default = self.folder.resolve().name if protocol is None else f"{protocol.name}_distilled"
        config["name"] = name or _as_name(default)
        # Patterns start from one root; that of a data YAML also holds its lists and class files.
        base = self.folder if protocol is None else images.root
        config["root"] = "." if protocol is None else _relative(images.root, self.folder)
        config["license"] = self._license()
        if protocol is None:
            place = _relative(images.root, self.folder)
            config["image"] = images.pattern if place == "." else f"{place}/{images.pattern}"
        config["input_size"] = list(input_size or config.get("input_size") or self._input_size())
        config["splits"] = self._splits(base)
        tasks = dict(config.get("tasks", {}))
        for task in self.plan.tasks.values():
            tasks[task.name] = self._task(task, base)
        config["tasks"] = tasks
        first = ("name", "root", "license", "image", "input_size", "splits")
        ordered = {key: config[key] for key in first if key in config}
        ordered |= {key: value for key, value in config.items() if key not in ordered}
        path = self.folder / DATA_FILE
        write_text(path, self._header() + _to_yaml(ordered))
        return path

    def _task(self, task: Task, base: Path) -> dict[str, Any]:
        files, protocol = self.plan.files, self.plan.images.protocol
        own = {each.name: each for each in protocol.tasks} if protocol is not None else {}
        place = _relative(self.folder, base)
        before = "" if place == "." else f"{place}/"
        keys = LabelEncoder(own.get(task.name, task)).keys(f"{before}{files.pattern(task.name)}")
        keys["confidence"] = {
            "path": f"{before}{files.confidence_pattern(task.name)}",
            "threshold": self.limits[task.name],
        }
        return keys

    def _splits(self, base: Path) -> dict[str, str]:
        images = self.plan.images
        if images.protocol is not None:
            lists = {split: list(names) for split, names in images.splits.items()}
        else:
            names = list(images.files)
            count = round(self.held_out * len(names))
            by_hash = sorted(names, key=lambda n: hashlib.sha256(n.encode()).digest())
            test = set(by_hash[:count])
            lists = {"train": [name for name in names if name not in test]}
            lists |= {"test": [name for name in names if name in test]} if test else {}
        place = _relative(self.folder, base)
        entries = {}
        for split, names in lists.items():
            kept = [name for name in names if name not in self.failed]
            if kept:
                write_text(self.folder / f"{split}.txt", "\n".join(kept) + "\n")
                entries[split] = f"{split}.txt" if place == "." else f"{place}/{split}.txt"
        if not entries:
            raise DataError("No image could be read, so there is nothing to train on.")
        return entries

    def _input_size(self) -> tuple[int, int]:
        if self.teacher.input_size is not None:
            return self.teacher.input_size
        name = next(name for name in self.plan.images.files if name not in self.failed)
        height, width = read_image(self.plan.images.files[name]).shape[-2:]
        scale = min(1.0, _LONGEST_SIDE / max(height, width))
        rounded = (max(_STEP, round(side * scale / _STEP) * _STEP) for side in (height, width))
        height, width = rounded
        return height, width

    def _license(self) -> str:
        terms = self.teacher.license or "license not known"
        names = ", ".join(self.plan.tasks)
        text = f"Labels of {names} made by {self.source} ({terms})."
        protocol = self.plan.images.protocol
        return text if protocol is None else f"{protocol.license} {text}".strip()

    def _header(self) -> str:
        limits = ", ".join(f"{task} {limit:g}" for task, limit in self.limits.items())
        return (
            f"# Labels that a network has made ({RECORD_FILE} says which). A pixel counts as "
            f"labeled where\n# its confidence reaches the threshold ({limits}); change it below "
            "without labeling again.\n"
        )


class _Plain(yaml.SafeDumper):
    """Short lists on one line."""


def _list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    plain = all(not isinstance(each, (dict, list)) for each in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=plain)


_Plain.add_representer(list, _list)
_Plain.add_representer(tuple, lambda dumper, value: _list(dumper, list(value)))


def _to_yaml(content: Mapping[str, Any]) -> str:
    return yaml.dump(dict(content), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)


def _relative(path: Path, start: Path) -> str:
    """``path`` seen from ``start``, with slashes; absolute on another drive."""
    real = path.resolve()
    with suppress(ValueError):
        return Path(os.path.relpath(real, start.resolve())).as_posix()
    return real.as_posix()


def _as_name(name: str) -> str:
    try:
        return check_protocol_name(name[:100])
    except ValueError:
        return "distilled"
