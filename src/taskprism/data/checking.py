"""Check a data set: open every file, count what is in it, and report what cannot be right.

A *problem* is a file that is missing or broken, or a value that the published set cannot have. A
*doubt* is something that can be read but is implausible, such as a depth of exactly 0 m or an image
in two splits: somebody has to decide. A *note* is worth knowing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from taskprism.checks import check_integer
from taskprism.data.benchmarks.base import BenchmarkProtocol
from taskprism.data.benchmarks.variant import BenchmarkDataset
from taskprism.data.folder import FolderDataset, MemoryCache
from taskprism.data.protocol import Protocol, SizedDataset, Split
from taskprism.data.sample import Sample
from taskprism.errors import TaskprismError
from taskprism.tasks.base import Task
from taskprism.tasks.statistics import LabelStatistics, count_files, shown_names

#: Classes of level ground, whose normals point up.
GROUND = ("floor", "ground", "road", "flat")


def ground_of(sample: Sample, tasks: tuple[Task, ...]) -> Tensor | None:
    """Boolean ``(H, W)``: level ground in a sample's class map; None without such a class."""
    for task in tasks:
        names = getattr(task, "class_names", ())
        wanted = [index for index, name in enumerate(names) if name in GROUND]
        if wanted and task.name in sample["targets"]:
            labels = sample["targets"][task.name].as_subclass(Tensor)[0]
            valid = sample["valid"][task.name].as_subclass(Tensor)[0]
            return torch.isin(labels, torch.tensor(wanted)) & valid
    return None


Track = Callable[[Iterable[int], int], Iterable[int]]
DRAWN = 20  # samples to check if each has to be rendered first
_SHOWN = 2  # samples per split for pictures


@dataclass
class CheckReport:
    """Result of a check.

    Attributes:
        protocol: What was checked.
        variant: Name and summary of the layout, or "" where there is only one.
        splits: Split -> samples it names.
        opened: Split -> samples that were opened.
        sizes: ``(height, width)`` of images -> how many have it.
        labels: One per task.
        problems: What is wrong, one file per entry.
        doubts: What is implausible, with the number of files and the key to set.
        notes: Remarks that need no decision.
        samples: Some samples, for pictures.
        stored: Task -> what its first file is, where it is known: ``"a 16-bit gray PNG"``.
        contents: Digest of an image -> the ``split/name`` of each sample that has it.
    """

    protocol: Protocol
    variant: str = ""
    splits: dict[Split, int] = field(default_factory=dict)
    opened: dict[Split, int] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    labels: list[LabelStatistics] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    stored: dict[str, str] = field(default_factory=dict)
    contents: dict[bytes, list[str]] = field(default_factory=dict)


def check_protocol(
    protocol: Protocol, samples: int | None = None, track: Track | None = None
) -> CheckReport:
    """Open the samples of all splits and report what is missing, broken or out of range.

    Args:
        protocol: With a root, if it reads files.
        samples: Number of samples to open per split, evenly spaced; by default all, or a few if
            each has to be rendered.
        track: Wraps the indices, with their number, to show progress.

    Raises:
        DataError: The folder fits no variant of the protocol.
        InputError: ``samples`` is less than 1.
    """
    if samples is not None:
        check_integer("data check", "samples", samples, low=1)
    report = CheckReport(protocol, labels=[LabelStatistics(task) for task in protocol.tasks])
    if isinstance(protocol, BenchmarkProtocol):
        variant = protocol.found_variant()
        report.variant = f"{variant.name} ({variant.summary})"
    elif samples is None and protocol.root is None:
        samples = DRAWN
    for split in protocol.splits:
        _check_split(report, split, samples, track)
    _judge(report, complete=samples is None)
    with suppress(TaskprismError):  # a split that cannot be opened has been reported
        report.doubts += protocol.doubts(samples)
    report.doubts += _duplicates(report)
    report.notes += protocol.remarks()
    report.problems = list(dict.fromkeys(report.problems))
    return report


def _check_split(
    report: CheckReport, split: Split, samples: int | None, track: Track | None
) -> None:
    protocol = report.protocol
    data: SizedDataset
    try:
        if isinstance(protocol, BenchmarkProtocol):
            data = protocol.listed_dataset(split)
        else:
            data = protocol.dataset(split)
    except TaskprismError as error:
        report.problems.append(str(error))
        return
    length = len(data)
    report.splits[split] = length
    if isinstance(data, BenchmarkDataset):
        report.problems += [f"{path}: missing" for path in data.missing()]
        known = data_count(protocol, split)
        if known and length != known:
            report.problems.append(f"{split}: {length} samples; the published set has {known}")
    wanted = range(length) if samples is None else _evenly_spaced(length, samples)
    shown = _evenly_spaced(length, _SHOWN)
    read = [
        sample
        for index in (track(wanted, len(wanted)) if track is not None else wanted)
        if (sample := _add(report, data, index, split)) is not None and index in shown
    ]
    if isinstance(data, MemoryCache):
        data = data.dataset
    if isinstance(data, FolderDataset):
        for task in protocol.tasks:
            with suppress(TaskprismError):  # reading the sample has reported it
                report.stored.setdefault(task.name, data.stored(task.name))
    report.opened[split] = len(wanted)
    report.samples += read[:_SHOWN]


def data_count(protocol: Protocol, split: Split) -> int | None:
    """Number of samples that the published split has, if it is known."""
    return protocol.counts.get(split) if isinstance(protocol, BenchmarkProtocol) else None


def _evenly_spaced(length: int, wanted: int) -> list[int]:
    """Evenly spaced indices, both ends included."""
    if wanted >= length:
        return list(range(length))
    return sorted({round(i * (length - 1) / max(wanted - 1, 1)) for i in range(wanted)})


def _add(report: CheckReport, data: SizedDataset, index: int, split: Split) -> Sample | None:
    """Add one sample; a broken one becomes a problem, and the result None."""
    try:
        sample = data[index]
    except TaskprismError as error:
        if isinstance(data, BenchmarkDataset):
            report.problems += _each_problem(data, index)
        else:
            report.problems.append(str(error))
        return None
    height, width = sample["image"].shape[-2:]
    report.sizes[height, width] += 1
    pixels = sample["image"].as_subclass(Tensor).numpy()
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()
    report.contents.setdefault(digest, []).append(f"{split}/{sample['name']}")
    ground = ground_of(sample, report.protocol.tasks)
    for statistics in report.labels:
        task = statistics.task.name
        if task in sample["targets"]:
            target, valid = sample["targets"][task], sample["valid"][task]
            statistics.add(sample["name"], target, valid, ground)
    return sample


def _duplicates(report: CheckReport) -> list[str]:
    """Images that are in two splits, or twice in one."""
    across, within = [], []
    for places in report.contents.values():
        splits = {place.partition("/")[0] for place in places}
        if len(splits) > 1:
            across.append(" = ".join(places))
        elif len(places) > 1:
            within.append(" = ".join(places))
    doubts = []
    if across:
        doubts.append(
            f"{_counted(across)} in more than one split, which makes scores too good: "
            f"{shown_names(across)}. Remove them from all but one split"
        )
    if within:
        doubts.append(
            f"{_counted(within)} in a split twice: {shown_names(within)}. Remove the copies"
        )
    return doubts


def _counted(images: list[str]) -> str:
    return "1 image is" if len(images) == 1 else f"{len(images)} images are"


def _each_problem(data: BenchmarkDataset, index: int) -> list[str]:
    """Problems of a sample by task, without missing files, which are reported already."""
    name = data.names[index]
    problems = []
    for task in data.tasks:
        one = BenchmarkDataset(data.root, data.variant, [name], [task])
        if one.missing():
            continue
        try:
            _ = one[0]
        except TaskprismError as error:
            problems.append(str(error))
    return list(dict.fromkeys(problems))


def _judge(report: CheckReport, complete: bool) -> None:
    """Compare statistics with what is known of the data."""
    protocol = report.protocol
    ranges = protocol.value_ranges() if isinstance(protocol, BenchmarkProtocol) else {}
    for statistics in (
        report.labels if report.sizes else ()
    ):  # otherwise no sample was read, which is reported
        name = statistics.task.name
        if not statistics.labeled:
            report.problems.append(f"{name}: no pixel has a label")
            continue
        low, high = ranges.get(name, (statistics.low, statistics.high))
        if statistics.low < low or statistics.high > high:
            report.problems.append(
                f"{name}: values from {statistics.low:.4g} to {statistics.high:.4g}, but the "
                f"published ones are in [{low:g}, {high:g}]. Check the unit."
            )
        absent = statistics.absent_classes()
        if absent and complete:
            shown = ", ".join(absent[:10]) + (", ..." if len(absent) > 10 else "")
            report.notes.append(f"{name}: no pixel is {shown}")
        if statistics.unlabeled:
            files = count_files(statistics.unlabeled)
            report.notes.append(f"{name}: {files} have no labeled pixel")
        report.doubts += [f"{name}: {doubt}" for doubt in statistics.task.doubts(statistics)]
