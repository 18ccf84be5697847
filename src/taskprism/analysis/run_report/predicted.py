"""What a run predicts: error histograms, calibration, and the worst, median and best images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taskprism.data.protocol import SizedDataset
from taskprism.data.sample import Batch, collate
from taskprism.models.base import MultiTaskModel
from taskprism.tasks.base import Task

BINS = 1024  # of a histogram; charts show fewer
CALIBRATION_BINS = 15
_HEADROOM = 4  # a histogram ends at this many times the 99th percentile of the first images


class ErrorHistogram:
    """Counts the errors of pixels in bins of equal width, which the first errors set.

    Example:
        >>> histogram = ErrorHistogram()
        >>> histogram.add(torch.linspace(0, 1, 1001))
        >>> histogram.pixels, round(histogram.quantile(0.5), 2)
        (1001, 0.5)
    """

    def __init__(self) -> None:
        self.top = 0.0
        self.counts = np.zeros(BINS + 1, dtype=np.int64)  # the last bin is above the top
        self.total = 0.0

    @property
    def pixels(self) -> int:
        """Number of errors."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Mean of all errors."""
        return self.total / max(self.pixels, 1)

    def add(self, errors: Tensor) -> None:
        """Count errors ``(N,)``, at least 0."""
        values = errors.detach().double().cpu().numpy()
        if not values.size:
            return
        if not self.top:
            finite = values[np.isfinite(values)]
            high = float(np.percentile(finite, 99)) if finite.size else 0.0
            self.top = _HEADROOM * high if high > 0 else 1.0
        # Scaled first: an error may be too large for an integer.
        places = np.minimum(np.nan_to_num(values / self.top * BINS, nan=BINS, posinf=BINS), BINS)
        self.counts += np.bincount(places.astype(np.int64), minlength=BINS + 1)
        self.total += float(values.sum())

    def quantile(self, share: float) -> float:
        """Error below which this share of the pixels lies, to the width of a bin."""
        below = np.cumsum(self.counts) / max(self.pixels, 1)
        place = int(np.searchsorted(below, share))
        return min(place + 1, BINS) * self.top / BINS

    def shown(self, bars: int = 40) -> tuple[np.ndarray, np.ndarray, float]:
        """Bars up to the 99th percentile.

        Returns:
            Ends of the bars, the share of all pixels in each, and the share above them.
        """
        width = max(int(np.ceil(self.quantile(0.99) / self.top * BINS / bars)), 1)
        used = self.counts[: BINS - BINS % width]
        sums = used.reshape(-1, width).sum(axis=1)[:bars]
        edges = np.arange(len(sums) + 1) * width * self.top / BINS
        shares = sums / max(self.pixels, 1)
        return edges, shares, float(1 - shares.sum())


@dataclass
class CalibrationBins:
    """Sums of stated probabilities and of how often they came true, in bins of equal width.

    Example:
        >>> bins = CalibrationBins()
        >>> bins.add(torch.tensor([0.9, 0.9]), torch.tensor([1.0, 0.0]))
        >>> round(bins.error, 2)
        0.4
    """

    question: str = ""
    counts: np.ndarray = field(default_factory=lambda: np.zeros(CALIBRATION_BINS))
    stated: np.ndarray = field(default_factory=lambda: np.zeros(CALIBRATION_BINS))
    held: np.ndarray = field(default_factory=lambda: np.zeros(CALIBRATION_BINS))

    def add(self, stated: Tensor, held: Tensor) -> None:
        """Add pixels, both ``(N,)``."""
        probability = stated.detach().double().cpu().numpy()
        places = np.clip((probability * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
        true = held.detach().double().cpu().numpy()
        self.counts += np.bincount(places, minlength=CALIBRATION_BINS)
        self.stated += np.bincount(places, probability, minlength=CALIBRATION_BINS)
        self.held += np.bincount(places, true, minlength=CALIBRATION_BINS)

    @property
    def means(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean stated probability, share that came true, and share of the pixels, for each bin."""
        with np.errstate(invalid="ignore"):
            return (
                self.stated / self.counts,
                self.held / self.counts,
                self.counts / max(self.counts.sum(), 1),
            )

    @property
    def error(self) -> float:
        """Expected calibration error: the mean difference of both, weighted by pixels.

        Naeini et al., AAAI 2015.
        """
        return float(np.abs(self.stated - self.held).sum() / max(self.counts.sum(), 1))


@dataclass
class Diagnosis:
    """Errors of one task over many images.

    Attributes:
        histograms: Name of a pixel error -> its histogram.
        calibration: None if the task states no probability.
    """

    histograms: dict[str, ErrorHistogram] = field(default_factory=dict)
    calibration: CalibrationBins | None = None


@torch.inference_mode()
def diagnose(
    model: MultiTaskModel, batches: Iterable[Batch], device: torch.device | str
) -> dict[str, Diagnosis]:
    """Histograms and calibration of every main task.

    Args:
        model: The model, on ``device``, in evaluation mode.
        batches: Labeled images.
        device: Device of the model.
    """
    found = {task.name: Diagnosis() for task in model.tasks}
    for batch in batches:
        batch = batch.to(device)
        outputs = model(model.normalize(batch.images))
        for task in model.tasks:
            _add(found[task.name], task, outputs[task.name].float(), batch)
    return found


def _add(diagnosis: Diagnosis, task: Task, output: Tensor, batch: Batch) -> None:
    target = batch.targets[task.name]
    valid = task.counted(target, batch.valid[task.name])
    if not valid.any():
        return
    output = task.resize_output(output, (target.shape[-2], target.shape[-1]))
    prediction = task.decode(output)
    for error in task.pixel_errors():
        if not error.is_miss:
            histogram = diagnosis.histograms.setdefault(error.name, ErrorHistogram())
            histogram.add(error.measure(prediction, target)[valid])
    calibration = task.calibration(output, target)
    if calibration is not None:
        if diagnosis.calibration is None:
            diagnosis.calibration = CalibrationBins(calibration.question)
        diagnosis.calibration.add(calibration.stated[valid], calibration.held[valid])


@dataclass(frozen=True)
class Chosen:
    """An image that is shown, by its score.

    Attributes:
        rank: ``"Worst"``, ``"Median"`` or ``"Best"``.
        index: Index in the split.
        score: Primary metric of this image alone.
    """

    rank: str
    index: int
    score: float


def choose_images(scores: np.ndarray, higher_is_better: bool, count: int = 1) -> list[Chosen]:
    """The worst, the median and the best images, each once.

    Args:
        scores: Score of each image; NaN for an image without a label, which is left out.
        higher_is_better: Whether a higher score is better.
        count: Number of images of each rank.

    Example:
        >>> chosen = choose_images(np.array([0.3, np.nan, 0.9, 0.5]), higher_is_better=True)
        >>> [(image.rank, image.index) for image in chosen]
        [('Worst', 0), ('Median', 3), ('Best', 2)]
    """
    labeled = np.flatnonzero(~np.isnan(scores))
    goodness = scores[labeled] if higher_is_better else -scores[labeled]
    order = labeled[np.argsort(goodness, kind="stable")]
    middle = max((len(order) - count) // 2, 0)
    places = {
        "Worst": range(count),
        "Best": range(len(order) - 1, len(order) - 1 - count, -1),
        "Median": range(middle, middle + count),
    }
    chosen, taken = {}, set()
    for rank, ranks in places.items():
        own = [order[place] for place in ranks if 0 <= place < len(order)]
        chosen[rank] = [int(index) for index in own if index not in taken]
        taken.update(own)
    return [
        Chosen(rank, index, float(scores[index]))
        for rank in ("Worst", "Median", "Best")
        for index in chosen[rank]
    ]


@dataclass(frozen=True, eq=False)
class Example:
    """One image with label and prediction of a task.

    Attributes:
        name: Name of the image.
        image: ``(3, H, W)`` in [0, 1].
        target: ``(target_channels, h, w)``.
        valid: ``(1, h, w)``.
        prediction: ``(target_channels, h, w)``.
        chosen: Why it is shown.
    """

    name: str
    image: Tensor
    target: Tensor
    valid: Tensor
    prediction: Tensor
    chosen: Chosen


@torch.inference_mode()
def load_examples(
    model: MultiTaskModel, dataset: SizedDataset, task: Task, chosen: Sequence[Chosen]
) -> list[Example]:
    """Predict the chosen images."""
    examples = []
    for each in chosen:
        batch: Any = collate([dataset[each.index]], model.tasks)
        outputs = model(model.normalize(batch.images.to(model.image_mean)))
        target = batch.targets[task.name]
        output = task.resize_output(outputs[task.name].float(), target.shape[-2:])
        examples.append(
            Example(
                batch.names[0],
                batch.images[0],
                target[0],
                batch.valid[task.name][0],
                task.decode(output)[0].cpu(),
                each,
            )
        )
    return examples
