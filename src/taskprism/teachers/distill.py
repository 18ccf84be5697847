"""Label many images with a teacher, and write the labels in the folder format."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from taskprism.atomic import check_writable, write_json
from taskprism.cluster import connect
from taskprism.data.protocol import Split
from taskprism.errors import CheckpointError, DataError, InputError, UnknownNameError
from taskprism.progress import Reporter
from taskprism.tasks.base import Task
from taskprism.teachers.base import Teacher
from taskprism.teachers.data_yaml import RECORD_FILE, DataYaml
from taskprism.teachers.engines import OnRay, absolute_path, run_here, run_on_ray
from taskprism.teachers.images import find_image_set
from taskprism.teachers.plan import Plan, TeacherSource
from taskprism.teachers.writing import Item, Labeler, LabelFiles, MakeLabeler, Outcome
from taskprism.text_files import read_json
from taskprism.training.manifest import now, versions

#: Labels are pixels whose confidence is at least this.
THRESHOLD = 0.5
_SHOWN = 5  # names in a message
_PACKAGES = ("taskprism", "torch", "numpy", "pillow", "transformers", "onnxruntime")


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
        started = now()
        if self.file.is_file():
            self.content = read_json(self.file, CheckpointError)
            self._compare()
            before = self.content.get("resumed") or []
            self.content = {**self.content, "resumed": [*before, started], "finished": None}
        else:
            others = [path.name for path in self.file.parent.iterdir()] if self._exists() else []
            if others:
                raise InputError(
                    f"{self.file.parent} is not empty ({', '.join(sorted(others)[:_SHOWN])}) and "
                    f"has no {RECORD_FILE}. Choose a new folder."
                )
            self.content = {
                **self.settings,
                "versions": {"python": platform.python_version(), **versions(_PACKAGES)},
                "started": started,
                "resumed": [],
                "finished": None,
            }
        write_json(self.file, self.content)

    def finish(self, labeled: int, failed: Mapping[str, str], limits: Mapping[str, float]) -> None:
        """Add the end."""
        end = {"finished": now(), "images_labeled": labeled, "thresholds": dict(limits)}
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
