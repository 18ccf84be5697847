"""The report of one run: scores, training curves, mistakes, and the best and worst images.

:func:`write_run_report` writes one HTML file. It reads what the run recorded, and predicts the
images of the split once for error histograms and pictures. Where something is missing (the data,
the checkpoint, the scores of a run in progress), the report shows the rest and says what is
missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from taskprism.analysis.run_report.predicted import choose_images, diagnose, load_examples
from taskprism.analysis.run_report.recorded import SPLITS, Recorded, read_recorded
from taskprism.analysis.run_report.sections import (
    TaskFindings,
    commands_section,
    curves_section,
    facts_section,
    scores_section,
    task_section,
)
from taskprism.atomic import check_writable
from taskprism.checks import check_integer
from taskprism.data import create_protocol
from taskprism.data.create import ProtocolLike
from taskprism.data.protocol import Protocol, SizedDataset, Split
from taskprism.data.sample import Sample
from taskprism.errors import DataError, InputError, TaskprismError, UnknownNameError
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import load
from taskprism.progress import Reporter
from taskprism.registry import import_parts
from taskprism.scoring.evaluation import evaluation_loader, evenly_spaced, score, split_loader
from taskprism.scoring.image_states import ImageStateRecorder, ImageStates
from taskprism.stores import is_url
from taskprism.tasks.base import Task
from taskprism.training.experiment import saved_protocol
from taskprism.training.run_directory import RunDirectory
from taskprism.visualization.report import Figure, Section, write_report

NAME = "report.html"
MOST_IMAGES = 500  # behind the histograms


def write_run_report(
    run_dir: str | Path,
    out: str | Path | None = None,
    *,
    root: str | Path | None = None,
    protocol: ProtocolLike | None = None,
    images: int = MOST_IMAGES,
    examples: int = 1,
    batch_size: int | None = None,
    workers: int = 0,
    device: str | None = None,
    imports: Sequence[str | Path] = (),
    reporter: Reporter | None = None,
) -> Path:
    """Write the report of a run, one HTML file that needs no other file.

    Args:
        run_dir: A run directory, or the URL of one; it may be in progress.
        out: The file; by default ``report.html`` in the run directory, or in the working directory
            for a run at a URL.
        root: Folder of the data or its URL, if it has moved since training.
        protocol: Data in place of the run's, such as a data YAML that has moved.
        images: Number of images behind histograms and calibration, evenly spaced over the split.
        examples: Number of worst, of median and of best images to show for each task.
        batch_size: Images per batch; by default the recipe's.
        workers: Loader processes.
        device: Device of the network; by default a GPU if there is one.
        imports: Modules or Python files with your own parts that the run needs.
        reporter: Shows progress; by default on standard error.

    Returns:
        The file.

    Raises:
        CheckpointError: The folder is not a run directory, or the file cannot be written; an
            earlier report is as it was.
        InputError: A number is out of range.

    Example:
        >>> from taskprism.analysis.run_report import write_run_report
        >>> write_run_report("runs/first")  # doctest: +SKIP
        PosixPath('runs/first/report.html')
    """
    check_integer("Report", "images", images, low=1)
    check_integer("Report", "examples", examples, low=1)
    import_parts(imports)
    reporter = reporter or Reporter()
    run = RunDirectory(run_dir)
    run.fetch()
    recorded = read_recorded(run)
    file = Path(NAME) if out is None and is_url(run_dir) else Path(out or run.path / NAME)
    check_writable(file.parent)
    options = _Options(root, protocol, images, examples, batch_size, workers, device)
    findings, sizes, missing = _predict(recorded, options, reporter)
    recorded = replace(recorded, missing=(*recorded.missing, *missing))
    tasks = [found.task for found in findings]
    sections: list[Section | None] = [
        facts_section(recorded, sizes),
        scores_section(recorded, tasks),
        curves_section(recorded, tasks),
        *(task_section(found) for found in findings),
        None if any(found.examples for found in findings) else _recorded_pictures(recorded),
        commands_section(recorded),
    ]
    title = f"Run {recorded.recipe.name}"
    write_report(file, title, _summary(recorded), [part for part in sections if part is not None])
    return file


@dataclass(frozen=True)
class _Options:
    root: str | Path | None
    protocol: ProtocolLike | None
    images: int
    examples: int
    batch_size: int | None
    workers: int
    device: str | None


@dataclass(frozen=True, eq=False)
class _Source:
    """A network and the images that it is shown on."""

    model: MultiTaskModel
    protocol: Protocol
    split: Split
    device: str


@dataclass(frozen=True, eq=False)
class _Images:
    """Some images of a split."""

    dataset: SizedDataset
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]


def _predict(
    recorded: Recorded, options: _Options, reporter: Reporter
) -> tuple[list[TaskFindings], dict[str, int], list[str]]:
    """What is shown of each task, the number of images of each split, and what is missing."""
    states, sizes = recorded.states, dict[str, int]()
    try:
        source = _open(recorded, options)
        splits = source.protocol.splits
        sizes = {str(n): len(source.protocol.dataset(n)) for n in SPLITS if n in splits}
        findings, missing = _measure(recorded, source, options, reporter)
    except (TaskprismError, OSError) as error:
        split = "test" if recorded.result is None else recorded.result.split
        tasks = () if states is None else states.tasks.values()
        images = 0 if states is None else len(states.names)
        findings = [_from_states(task, split, images, states) for task in tasks]
        missing = [f"Error histograms and pictures are missing: {error}"]
    return findings, sizes, missing


def _measure(
    recorded: Recorded, source: _Source, options: _Options, reporter: Reporter
) -> tuple[list[TaskFindings], list[str]]:
    """Predict the images, and say what is missing."""
    split, protocol, tasks = source.split, source.protocol, list(source.model.tasks)
    dataset = protocol.dataset(split, protocol.evaluation_transform())
    total, states = len(dataset), recorded.states
    missing: list[str] = []
    if states is not None and len(states.names) != total:
        missing.append(
            f"The scores of single images are of {len(states.names)} images, but the split "
            f"{split!r} has {total}. Write them again with `taskprism evaluate "
            f"{recorded.run.place}`."
        )
        states = None
    batch_size = options.batch_size or recorded.recipe.data.batch_size
    if states is None:
        states = _score(source, batch_size, options.workers, reporter)
    used = evenly_spaced(total, options.images)
    if protocol.scores_at_label_size:
        batch_size = 1
    loader = evaluation_loader(_Images(dataset, used), tasks, batch_size, options.workers)
    batches = reporter.track(loader, f"measuring errors on {split}")
    diagnoses = diagnose(source.model, batches, source.device)
    findings = []
    for task in reporter.track(tasks, "drawing tasks", len(tasks)):
        found = _from_states(task, split, total, states)
        shown = []
        if (scores := _image_scores(states, task)) is not None:
            higher = task.primary_higher_is_better
            chosen = choose_images(scores, higher, options.examples)
            shown = load_examples(source.model, dataset, task, chosen)
        diagnosis = diagnoses[task.name]
        findings.append(
            replace(found, diagnosis=diagnosis, diagnosed=len(used), examples=tuple(shown))
        )
    return findings, missing


def _open(recorded: Recorded, options: _Options) -> _Source:
    """Load the scored weights and open the data.

    Raises:
        TaskprismError: The checkpoint or the data are missing, or the data are other ones.
    """
    run, recipe = recorded.run, recorded.recipe
    folder = run.find_checkpoint(recorded.checkpoint)
    if options.protocol is None:
        protocol = saved_protocol(recipe, run.path, options.root)
    elif isinstance(options.protocol, Protocol):
        protocol = options.protocol
    else:
        root = recipe.data.root if options.root is None else options.root
        protocol = create_protocol(options.protocol, root=root, **recipe.data.options)
    before = run.data_fingerprint()
    now = protocol.fingerprint()
    if before is not None and before != now:
        raise DataError(
            f"The data of {protocol.name!r} are not those of the run (fingerprint {before} then, "
            f"{now} now). Restore them, or give their folder with --data-root."
        )
    if recorded.result is not None:
        split: Split = recorded.result.split  # pyrefly: ignore[bad-assignment]
    else:
        split = "val" if "val" in protocol.splits else protocol.scored_split
    protocol.check_split(split)
    protocol.dataset(split)[0]  # an error now, and not after the network was loaded
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return _Source(load(folder, device).eval(), protocol, split, device)


def _score(source: _Source, batch_size: int, workers: int, reporter: Reporter) -> ImageStates:
    """Scores of every image, for a run that recorded none."""
    loader: DataLoader = split_loader(
        source.protocol, source.split, source.model, batch_size, workers
    )
    recorder = ImageStateRecorder(source.model.tasks)
    batches = reporter.track(loader, f"scoring {source.split}")
    score(source.model, batches, source.device, recorder=recorder)
    return recorder.gathered()


def _from_states(task: Task, split: str, images: int, states: ImageStates | None) -> TaskFindings:
    """What the states of single images show."""
    if states is None or task.name not in states.tasks:
        return TaskFindings(task, split, images)
    scores = _image_scores(states, task)
    unlabeled = None if scores is None else int(np.isnan(scores).sum())
    classes = task.class_scores(states.total(task.name))
    return TaskFindings(task, split, images, unlabeled, classes)


def _image_scores(states: ImageStates, task: Task) -> np.ndarray | None:
    """Primary metric of each image; None if its states are not kept."""
    try:
        return states.image_scores(task.name, task.primary_metric)
    except (InputError, UnknownNameError):
        return None


def _recorded_pictures(recorded: Recorded) -> Section | None:
    """Pictures that the run drew when it was scored."""
    figures = []
    for file in sorted(recorded.run.pictures.glob("*.png")):
        try:
            with Image.open(file) as opened:
                figures.append(Figure(file.stem, np.asarray(opened.convert("RGB"))))
        except (OSError, ValueError):
            continue
    if not figures:
        return None
    return Section("Pictures", ["The run drew these images when it was scored."], figures=figures)


def _summary(recorded: Recorded) -> list[str]:
    recipe, result = recorded.recipe, recorded.result
    lines = []
    if result is not None:
        values = "; ".join(
            f"{task} {metric} {result.metrics[task][metric]:.4g}"
            for task, metric in result.primary.items()
            if metric in result.metrics.get(task, {})
        )
        lines.append(f"{result.model} on {result.protocol}, {result.split} images: {values}.")
    if not recorded.is_finished:
        lines.append(
            f"The run is not finished: {recorded.trained_epochs} of {recipe.epochs} epochs are "
            "trained. What follows is its state now; scores and pictures may be of an earlier "
            "epoch than the curves."
        )
    return [*lines, *recorded.missing]
