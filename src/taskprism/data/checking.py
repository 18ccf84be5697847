"""Check a data folder: open and count every file, and compare its values with what is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from taskprism.data.benchmarks.base import BenchmarkProtocol
from taskprism.data.benchmarks.variant import BenchmarkDataset
from taskprism.data.protocol import Protocol, SizedDataset, Split
from taskprism.data.sample import Sample
from taskprism.errors import TaskprismError
from taskprism.tasks.base import Task

#: Classes of level ground, whose normals point up.
GROUND = ("floor", "ground", "road", "flat")


@dataclass
class LabelStatistics:
    """Sums over the labels of one task.

    Attributes:
        task: The task.
        images: Images with such a label.
        pixels: Their pixels.
        labeled: Pixels with a label.
        low: Least value.
        high: Greatest value.
        total: Sum of each channel, ``(target_channels,)`` float64.
        classes: Pixels per class, ``(channels,)``; for class maps only.
        ground: Sum of the vectors where the ground is, ``(3,)`` float64; for directions only.
        ground_pixels: How many these are.
    """

    task: Task
    images: int = 0
    pixels: int = 0
    labeled: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    total: Tensor = field(init=False)
    classes: Tensor | None = None
    ground: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))
    ground_pixels: int = 0

    def __post_init__(self) -> None:
        self.total = torch.zeros(self.task.target_channels, dtype=torch.float64)
        if self.counts_classes:
            self.classes = torch.zeros(self.task.channels, dtype=torch.int64)

    @property
    def counts_classes(self) -> bool:
        """Whether labels are class indices."""
        return not self.task.target_dtype.is_floating_point

    @property
    def share(self) -> float:
        """Share of labeled pixels."""
        return self.labeled / max(self.pixels, 1)

    @property
    def mean(self) -> Tensor:
        """Mean of each channel."""
        return self.total / max(self.labeled, 1)

    def absent_classes(self) -> list[str]:
        """Names of the classes that never occur."""
        if self.classes is None:
            return []
        names = getattr(self.task, "class_names", ()) or range(self.task.channels)
        return [
            str(name) for name, count in zip(names, self.classes.tolist(), strict=True) if not count
        ]

    def add(self, sample: Sample, ground: Tensor | None) -> None:
        """Add the label of a sample, if it has one.

        Args:
            sample: With labels at their own size.
            ground: Boolean ``(H, W)`` where the ground is, or None if that is unknown.
        """
        if self.task.name not in sample["targets"]:
            return
        # Without the maps of single annotators, which are further channels.
        target = sample["targets"][self.task.name].as_subclass(Tensor)[: self.task.target_channels]
        valid = sample["valid"][self.task.name].as_subclass(Tensor)[0]
        values = target[:, valid]
        self.images += 1
        self.pixels += valid.numel()
        self.labeled += values.shape[1]
        if not values.numel():
            return
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        self.total += values.double().sum(dim=1)
        if self.classes is not None:
            self.classes += torch.bincount(values[0], minlength=self.task.channels)
        if (
            self.task.target_type.is_direction
            and ground is not None
            and ground.shape == valid.shape
        ):
            below = target[:, valid & ground]
            self.ground += below.double().sum(dim=1)
            self.ground_pixels += below.shape[1]


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
        notes: Remarks that are not problems.
        samples: Some samples, for pictures.
    """

    protocol: Protocol
    variant: str = ""
    splits: dict[Split, int] = field(default_factory=dict)
    opened: dict[Split, int] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    labels: list[LabelStatistics] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


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
    """
    report = CheckReport(protocol, labels=[LabelStatistics(task) for task in protocol.tasks])
    if isinstance(protocol, BenchmarkProtocol):
        variant = protocol.found_variant()
        report.variant = f"{variant.name} ({variant.summary})"
    elif samples is None and protocol.root is None:
        samples = DRAWN
    for split in protocol.splits:
        _check_split(report, split, samples, track)
    _judge(report, complete=samples is None)
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
        if (sample := _add(report, data, index)) is not None and index in shown
    ]
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


def _add(report: CheckReport, data: SizedDataset, index: int) -> Sample | None:
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
    ground = ground_of(sample, report.protocol.tasks)
    for statistics in report.labels:
        statistics.add(sample, ground)
    return sample


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
            report.notes.append(f"{name}: no pixel is {', '.join(absent)}")
        if statistics.task.target_type.is_direction:
            report.problems += _axes_problems(statistics)


def _axes_problems(statistics: LabelStatistics) -> list[str]:
    """Check that floors face up and visible surfaces face the camera."""
    name = statistics.task.name
    problems = []
    toward = statistics.mean[2].item()
    if toward <= 0:
        problems.append(
            f"{name}: the mean z is {toward:.2f}, away from the camera. The stored z axis is "
            "'forward', not 'toward'."
        )
    if statistics.ground_pixels:
        up = (statistics.ground[1] / statistics.ground_pixels).item()
        if up <= 0:
            problems.append(
                f"{name}: floors face down (mean n_y = {up:.2f}). The stored y axis is 'down', not "
                "'up'."
            )
    return problems
