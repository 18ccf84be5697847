"""Label many images with a teacher, and write the labels in the folder format."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

from taskprism.atomic import check_writable, write_json, write_text
from taskprism.cluster import connect
from taskprism.data.files import read_image
from taskprism.data.folder_config import check_protocol_name
from taskprism.data.label_files import LabelEncoder
from taskprism.data.protocol import Split
from taskprism.errors import CheckpointError, DataError, InputError, UnknownNameError
from taskprism.progress import Reporter
from taskprism.tasks.base import Task
from taskprism.teachers.base import Teacher, create_teacher
from taskprism.teachers.engines import OnRay, absolute_path, run_here, run_on_ray
from taskprism.teachers.images import ImageSet, find_image_set
from taskprism.teachers.writing import Item, Labeler, LabelFiles, MakeLabeler, Outcome
from taskprism.text_files import read_json, read_yaml

DATA_FILE = "data.yaml"
RECORD_FILE = "distill.json"
#: Labels are pixels whose confidence is at least this.
THRESHOLD = 0.5
_LONGEST_SIDE = 512  # of the input size, where the teacher has none
_STEP = 32
_SHOWN = 5  # names in a message
_PACKAGES = ("taskprism", "torch", "numpy", "pillow", "transformers", "onnxruntime")


@dataclass(frozen=True)
class TeacherSource:
    """Where a teacher comes from: the arguments of :func:`create_teacher` except the device.

    Example:
        >>> TeacherSource("runs/osd", options={"checkpoint": "last"}).kind is None
        True
    """

    source: str
    kind: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    imports: tuple[str, ...] = ()

    def load(self, device: torch.device | str = "cpu") -> Teacher:
        """The teacher."""
        return create_teacher(self.source, self.kind, device, self.options, self.imports)


def distill(
    teacher: Teacher | TeacherSource | str | Path,
    images: str | Path,
    out: str | Path,
    tasks: Sequence[str] | None = None,
    *,
    root: str | Path | None = None,
    splits: Sequence[Split] = ("train",),
    relabel: bool = False,
    thresholds: float | Mapping[str, float] = THRESHOLD,
    held_out: float = 0.0,
    name: str | None = None,
    input_size: tuple[int, int] | None = None,
    batch_size: int = 8,
    workers: int = 0,
    pictures: int = 8,
    device: torch.device | str = "cpu",
    ray: OnRay | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Label images with a teacher and write a data YAML to train from.

    ============================ ==========================================================
    ``data.yaml``                the data YAML; images stay where they are
    ``train.txt``, ``test.txt``  names of the images
    ``TASK/NAME.png``            labels (``.npy`` where a task has no form for PNG)
    ``confidence/TASK/NAME.png`` confidences, white is 1
    ``panels/NAME.png``          pictures of the first images
    ``distill.json``             teacher, its fingerprint and license, settings, versions
    ============================ ==========================================================

    An interrupted call resumes: labels that exist are kept if teacher and settings are the same.

    Args:
        teacher: A teacher, or what :func:`create_teacher` accepts as its source.
        images: A folder (with its subfolders), a pattern, a list file, or a data YAML.
        out: Folder for the labels, new or from an interrupted call.
        tasks: Names of tasks to label; by default all that the teacher predicts.
        root: Folder of the data, for a data YAML that needs one.
        splits: With a data YAML: which of its splits to label.
        relabel: With a data YAML: also label images that have a label of the task. By default
            existing labels are copied, without a confidence.
        thresholds: Confidence from which a pixel counts as labeled, for all tasks or by name.
        held_out: Share of the images that become a test split, for images without a data YAML.
            Scores on it measure agreement with the teacher.
        name: Name of the data in ``data.yaml``; by default that of ``out``, or of the data YAML
            with ``_distilled``.
        input_size: ``(H, W)`` in ``data.yaml``; by default that of the teacher or data YAML.
        batch_size: Images per batch.
        workers: Processes that read images; with 0 this one does.
        pictures: Number of panels.
        device: Where a teacher that is loaded here runs.
        ray: Label with the processes of a Ray cluster instead of this one. Then ``teacher`` is
            not a :class:`Teacher`, because every process loads its own.
        reporter: Where progress is shown.

    Returns:
        The data YAML.

    Raises:
        InputError: An argument does not fit, or ``out`` holds labels of other settings.
        UnknownNameError: The teacher does not predict one of the tasks.
        DataError: Images could not be read. All others are labeled, and ``data.yaml`` is written.

    Example:
        >>> from taskprism.teachers import distill
        >>> distill("runs/osd", "photos", "distilled", ["normals"])  # doctest: +SKIP
        PosixPath('distilled/data.yaml')
    """
    reporter = reporter or Reporter()
    source = (
        teacher if isinstance(teacher, (Teacher, TeacherSource)) else TeacherSource(str(teacher))
    )
    made = source if isinstance(source, Teacher) else source.load(device)
    chosen = made.choose(list(tasks) if tasks else None)
    target = Path(out)
    if not 0 <= held_out < 1:
        raise InputError(f"held_out must be at least 0 and less than 1, got {held_out!r}.")
    check_writable(target)
    found = find_image_set(str(images), root, target)
    plan = Plan(found, LabelFiles(target, chosen), tuple(splits), relabel)
    plan.check()
    record = Record(target / RECORD_FILE, plan.settings(made, source))
    record.start()
    limits = _thresholds(thresholds, chosen)
    for line in _notes(made, chosen, limits):
        reporter.line(line)
    items = plan.items(pictures)
    plan.copy_labels(reporter)
    if ray is None:
        labeler = Labeler(made, plan.files, limits, found.orientation)
        results = run_here(labeler, items, batch_size, workers)
    else:
        make = _make_labeler(source, plan, limits, ray)
        results = run_on_ray(make, items, batch_size, ray)
    outcomes = _follow(results, items, plan.total - len(items), reporter)
    failed = {outcome.name: outcome.error for outcome in outcomes if outcome.error}
    writer = DataYaml(plan, failed, limits, made, source, held_out)
    file = writer.write(name, input_size)
    record.finish(plan.total - len(failed), failed, limits)
    _report(reporter, outcomes, limits, file)
    if failed:
        shown = "; ".join(list(failed.values())[:_SHOWN])
        raise DataError(
            f"{len(failed)} of {plan.total} images could not be read and have no labels: {shown}"
            f"{'; ...' if len(failed) > _SHOWN else ''} The others are labeled, see {file}."
        )
    return file


def _make_labeler(
    source: Teacher | TeacherSource, plan: Plan, limits: Mapping[str, float], ray: OnRay
) -> MakeLabeler:
    if isinstance(source, Teacher):
        raise InputError(
            "Ray loads a teacher in every process. Give its source, not a Teacher object."
        )
    parts = tuple(absolute_path(each) for each in source.imports)
    there = replace(source, source=absolute_path(source.source), imports=parts)
    on_gpu = ray.resources.uses_gpu(connect(ray.address))
    folder, tasks = plan.files.folder.resolve(), tuple(plan.tasks)
    return MakeLabeler(there.load, folder, tasks, limits, plan.images.orientation, on_gpu)


class Plan:
    """Which label of which image comes from the teacher, and which is copied.

    Args:
        images: The images.
        files: The label files of the result.
        splits: With a data YAML: the splits that the teacher labels.
        relabel: Whether it labels images that have a label.
    """

    def __init__(
        self, images: ImageSet, files: LabelFiles, splits: Sequence[Split], relabel: bool
    ) -> None:
        self.images = images
        self.files = files
        self.splits = splits
        self.relabel = relabel
        self.tasks = {name: encoder.task for name, encoder in files.encoders.items()}
        if images.protocol is None:
            self.to_label = list(images.files)
        else:
            for split in splits:
                images.protocol.check_split(split)
            listed = (images.splits[split] for split in splits)
            self.to_label = list(dict.fromkeys(name for names in listed for name in names))
        self.total = len(self.to_label)

    def check(self) -> None:
        """Raise :class:`InputError` if a task means another thing in the data YAML."""
        protocol = self.images.protocol
        if protocol is None:
            return
        for own in protocol.tasks:
            task = self.tasks.get(own.name)
            if task is not None and _meaning(task) != _meaning(own):
                raise InputError(
                    f"The task {own.name!r} is {_meaning(task)} of the teacher, but "
                    f"{_meaning(own)} in {protocol.files.source}. Leave the task out, or rename "
                    f"it there (with 'kind: {own.kind}')."
                )

    def settings(self, teacher: Teacher, source: Teacher | TeacherSource) -> dict[str, Any]:
        """What must be equal for labels to be kept."""
        return {
            "teacher": {
                "source": source.source if isinstance(source, TeacherSource) else teacher.name,
                "kind": teacher.name,
                "options": dict(source.options) if isinstance(source, TeacherSource) else {},
                "license": teacher.license,
                "fingerprint": teacher.fingerprint(),
            },
            "tasks": [task.to_config() for task in self.tasks.values()],
            "images": str(self.images.root.resolve()),
            "relabel": self.relabel,
        }

    def from_teacher(self, task: str, name: str) -> bool:
        """Whether the teacher labels an image of its splits."""
        return self.relabel or not self.images.has_label(task, name)

    def items(self, pictures: int) -> list[Item]:
        """The images that still lack labels of the teacher."""
        items = []
        for place, name in enumerate(self.to_label):
            lacking = tuple(
                task
                for task in self.tasks
                if self.from_teacher(task, name) and not self.files.label(task, name).is_file()
            )
            if lacking:
                file = os.path.abspath(self.images.files[name])  # noqa: PTH100
                items.append(Item(name, file, lacking, place < pictures))
        return items

    def copy_labels(self, reporter: Reporter) -> None:
        """Write the labels that the data YAML has of tasks that the teacher labels too."""
        protocol = self.images.protocol
        if protocol is None:
            return
        labeled = set(self.to_label)
        wanted = {
            (own, name)
            for own in protocol.tasks
            if own.name in self.tasks
            for name in self.images.files
            if self.images.has_label(own.name, name)
            and not (name in labeled and self.from_teacher(own.name, name))
            and not self.files.label(own.name, name).is_file()
        }
        in_order = sorted(wanted, key=lambda pair: (pair[0].name, pair[1]))
        for own, name in reporter.track(in_order, "copying labels") if in_order else ():
            path = protocol.files.label(own.name, name)
            decoder = protocol.decoder(own)
            values, valid = decoder(path, protocol.files.confidence(own.name, name))
            values = values.as_subclass(torch.Tensor)[: own.target_channels]
            self.files.write(own.name, name, values, valid.as_subclass(torch.Tensor))


def _meaning(task: Task) -> str:
    """What labels of a task are, in words."""
    if task.target_dtype.is_floating_point:
        return task.kind
    names = getattr(task, "class_names", ()) or ()
    listed = f" ({', '.join(names)})" if names else ""
    return f"{task.kind} with {task.channels} classes{listed}"


class Record:
    """``distill.json``: with what labels were made.

    Args:
        file: The file.
        settings: What must be equal for an interrupted call to be resumed.
    """

    def __init__(self, file: Path, settings: dict[str, Any]) -> None:
        self.file = file
        self.settings = settings
        self.content: dict[str, Any] = {}

    def start(self) -> None:
        """Write the record, or compare it with that of an interrupted call.

        Raises:
            InputError: The folder holds labels of other settings, or other files.
        """
        now = _now()
        if self.file.is_file():
            self.content = read_json(self.file, CheckpointError)
            self._compare()
            before = self.content.get("resumed") or []
            self.content = {**self.content, "resumed": [*before, now], "finished": None}
        else:
            others = [path.name for path in self.file.parent.iterdir()] if self._exists() else []
            if others:
                raise InputError(
                    f"{self.file.parent} is not empty ({', '.join(sorted(others)[:_SHOWN])}) and "
                    f"has no {RECORD_FILE}. Choose a new folder."
                )
            self.content = {
                **self.settings,
                "versions": {"python": platform.python_version(), **_versions()},
                "started": now,
                "resumed": [],
                "finished": None,
            }
        write_json(self.file, self.content)

    def finish(self, labeled: int, failed: Mapping[str, str], limits: Mapping[str, float]) -> None:
        """Add the end."""
        end = {"finished": _now(), "images_labeled": labeled, "thresholds": dict(limits)}
        write_json(self.file, {**self.content, **end, "failed": dict(failed)})

    def _exists(self) -> bool:
        return self.file.parent.is_dir()

    def _compare(self) -> None:
        def plain(content: Mapping[str, Any]) -> dict[str, Any]:
            teacher = content.get("teacher") or {}
            return {
                "the fingerprint of the teacher": teacher.get("fingerprint"),
                "the tasks": content.get("tasks"),
                "the folder of the images": content.get("images"),
                "relabel": content.get("relabel"),
            }

        before, now = plain(self.content), plain(self.settings)
        changed = [key for key in now if before[key] != now[key]]
        if changed:
            details = "; ".join(
                f"{key}: {_short(before[key])}, now {_short(now[key])}" for key in changed
            )
            raise InputError(
                f"{self.file.parent} holds labels made with other settings ({details}). Choose "
                "another folder, or remove this one."
            )


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(task.get("name")) for task in value if isinstance(task, dict))
    return str(value) if len(str(value)) < 80 else f"{str(value)[:12]}..."


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


def _thresholds(given: float | Mapping[str, float], tasks: Sequence[Task]) -> dict[str, float]:
    names = [task.name for task in tasks]
    if not isinstance(given, Mapping):
        given = dict.fromkeys(names, given)
    for name, limit in given.items():
        if name not in names:
            raise UnknownNameError("task with a threshold", name, names)
        if isinstance(limit, bool) or not 0 <= limit <= 1:
            raise InputError(f"The threshold of {name} must be from 0 to 1, got {limit!r}.")
    return {name: float(given.get(name, THRESHOLD)) for name in names}


def _notes(teacher: Teacher, tasks: Sequence[Task], limits: Mapping[str, float]) -> list[str]:
    terms = teacher.license or (
        "not known. Read the terms of its weights and of its training data before you publish or "
        "sell what is trained on its labels"
    )
    labels = ", ".join(f"{task.name} (threshold {limits[task.name]:g})" for task in tasks)
    return [
        f"Labeling {labels}.",
        f"License of the teacher: {terms}.",
        *(teacher.notes or ()),
    ]


def _follow(
    results: Iterable[Outcome], items: Sequence[Item], done: int, reporter: Reporter
) -> list[Outcome]:
    """Collect the outcomes while showing progress and throughput."""
    if done:
        reporter.line(f"{done} images have their labels already.")
    began, outcomes = time.monotonic(), []
    try:
        for outcome in reporter.track(results, "labeling", done + len(items), done):
            outcomes.append(outcome)
            if outcome.error:
                reporter.line(outcome.error)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "Stopped. The same command resumes; labels that are written are kept."
        ) from None
    seconds = time.monotonic() - began
    if outcomes:
        rate = len(outcomes) / max(seconds, 1e-9)
        reporter.line(f"Labeled {len(outcomes)} images in {seconds:.1f} s ({rate:.3g} per second).")
    return outcomes


def _report(
    reporter: Reporter, outcomes: Sequence[Outcome], limits: Mapping[str, float], file: Path
) -> None:
    for task, limit in limits.items():
        shares = [outcome.certain[task] for outcome in outcomes if task in outcome.certain]
        if shares:
            mean = sum(shares) / len(shares)
            reporter.line(
                f"{task}: {mean:.0%} of the pixels have a confidence of {limit:g} or more."
            )
    reporter.line(f"Wrote {file}.")


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
