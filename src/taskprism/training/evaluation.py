"""Score a trained run again, and write its scores."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from taskprism.data import create_protocol
from taskprism.data.create import ProtocolLike
from taskprism.data.protocol import Protocol, Split
from taskprism.errors import CheckpointError, DataError
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import load, load_weights
from taskprism.progress import Reporter
from taskprism.recipes.schema import DataSettings
from taskprism.registry import import_parts
from taskprism.scoring.evaluation import (
    Results,
    check_labels,
    score,
    split_loader,
    tasks_as_in,
)
from taskprism.scoring.image_states import ImageStateRecorder
from taskprism.training.experiment import (
    build_protocol,
    check_saved_names,
)
from taskprism.training.feeding import seeded
from taskprism.training.learner import place_model
from taskprism.training.run_directory import CheckpointName, RunDirectory, TrainingState
from taskprism.training.run_lock import RunInUseError
from taskprism.training.scores import Scored, write_pictures, write_scores
from taskprism.training.watch import watched


@dataclass(frozen=True)
class Evaluation:
    """Scores of a run, and whether they could be written.

    Attributes:
        results: Task name -> metric name -> value.
        title: What was scored: run, data, split and weights.
        file: Where the scores are written.
        error: Why the scores or pictures could not be written, or None.
    """

    results: Results
    title: str
    file: Path
    error: CheckpointError | None = None


def evaluate(
    run_dir: str | Path,
    split: Split | None = None,
    checkpoint: CheckpointName = "last",
    root: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    pictures: bool = True,
    reporter: Reporter | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    imports: Sequence[str | Path] = (),
    protocol: ProtocolLike | None = None,
    allow_other_data: bool = False,
    model: MultiTaskModel | None = None,
) -> Results:
    """Score a trained run and write ``metrics.json`` and pictures into it.

    Args:
        run_dir: A run directory, or the URL of one.
        split: Which images; by default ``test``, or ``val`` where the data have no test split.
            Scores of another split go to ``metrics_SPLIT.json``.
        checkpoint: ``last`` as in the papers, or ``best``.
        root: Folder of the data or its URL, if it has moved since training.
        batch_size: Images per batch; by default the recipe's.
        workers: Loader processes; by default the recipe's.
        pictures: Draw panels of some images.
        reporter: Shows progress; by default on standard error.
        options: Options of the protocol that differ from those in training, such as
            ``{"edge_odsf": True}``; this protocol's metrics are then computed.
        imports: Modules or Python files with your own parts that the run needs. Reading a run
            imports nothing by itself.
        protocol: Data in place of the run's, such as a data YAML that has moved; needed if the run
            was trained with a protocol object.
        allow_other_data: Score on other data than the run was trained on. The file of the scores
            then has a key ``other_data`` with both fingerprints.
        model: Network that the run was trained with. A copy of it gets the weights of the
            checkpoint; by default the network is built from the checkpoint's config.

    Returns:
        Task name -> metric name -> value; NaN where nothing was ever labeled.

    Raises:
        CheckpointError: The folder is not a run directory, or it has no such checkpoint, or the
            scores or pictures cannot be written.
        InputError: The run needs code that is not imported, or an object that is not given.
        DataError: The data are not those that the run was trained on.
        TaskprismError: The data are missing, or there is no such split.

    Example:
        >>> import taskprism
        >>> scores = taskprism.evaluate("runs/first", split="test")  # doctest: +SKIP
        >>> scores["depth"]["rmse"]  # doctest: +SKIP
        0.61
    """
    evaluation = evaluate_run(
        run_dir,
        split,
        checkpoint,
        root,
        batch_size,
        workers,
        pictures,
        reporter,
        options,
        imports=imports,
        protocol=protocol,
        allow_other_data=allow_other_data,
        model=model,
    )
    if evaluation.error is not None:
        raise evaluation.error
    return evaluation.results


def evaluate_run(
    run_dir: str | Path,
    split: Split | None = None,
    checkpoint: CheckpointName = "last",
    root: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    pictures: bool = True,
    reporter: Reporter | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    imports: Sequence[str | Path] = (),
    protocol: ProtocolLike | None = None,
    allow_other_data: bool = False,
    model: MultiTaskModel | None = None,
) -> Evaluation:
    """Do what :func:`evaluate` does, but return the scores even if they cannot be written."""
    import_parts(imports)
    run = RunDirectory(run_dir)
    run.fetch()
    recipe = run.recipe()
    check_saved_names(recipe, run.path)
    folder = run.find_checkpoint(checkpoint)
    accelerator = Accelerator(mixed_precision=recipe.precision)
    reporter = reporter or Reporter(quiet=not accelerator.is_main_process)
    data = recipe.data if root is None else recipe.data.model_copy(update={"root": root})
    scored_data = _open_data(data, protocol)
    if model is None:
        model = load(folder)
    else:
        model = copy.deepcopy(model)
        load_weights(model, folder)
    model = place_model(model.eval(), accelerator.device)
    notes: dict[str, Any] = _compare_data(run, scored_data, model, allow_other_data)
    if options:  # compared without them: they may change what belongs to the fingerprint
        changed = data.model_copy(update={"options": {**data.options, **options}})
        scored_data = _open_data(changed, protocol)
        notes["options"] = dict(options)
        model.tasks = tasks_as_in(scored_data, model.tasks)
    split = scored_data.scored_split if split is None else split
    loader = split_loader(
        scored_data,
        split,
        model,
        data.batch_size if batch_size is None else batch_size,
        data.workers if workers is None else workers,
        accelerator.process_index,
        accelerator.num_processes,
    )
    with seeded(0):
        check_labels(scored_data, split, model.tasks)
    if checkpoint == "best" and run.chosen_on() == split:
        reporter.line(
            f"The best epoch was chosen on the {split} images: its scores on them are too good."
        )
    scored = Scored(split, checkpoint, _epoch_of(run, checkpoint, reporter))
    with (
        watched(accelerator, recipe.stall_timeout, reporter),
        _held_if_possible(run, reporter) if accelerator.is_main_process else nullcontext(),
    ):
        batches = reporter.track(loader, f"scoring {split}")
        recorder = ImageStateRecorder(model.tasks) if split == scored_data.scored_split else None
        device, precision = accelerator.device, accelerator.autocast
        results = score(model, batches, device, precision, recorder=recorder)
        image_states = recorder.gathered() if recorder is not None else None
        file = run.scores_file(split, scored_data.scored_split)
        weights = f"checkpoint {checkpoint} (epoch {scored.epoch or 'unknown'})"
        title = f"{recipe.name} on {scored_data.name} {split}, {weights}"
        try:
            if accelerator.is_main_process:
                write_scores(run, recipe, scored_data, model, results, scored, image_states, notes)
                if pictures:
                    write_pictures(run.pictures, scored_data, split, model)
                if run.lock.is_held:
                    run.upload()
        except CheckpointError as error:
            return Evaluation(results, title, file, error)
    return Evaluation(results, title, file)


@contextmanager
def _held_if_possible(run: RunDirectory, reporter: Reporter) -> Iterator[None]:
    """Hold the lock of a run; a run that cannot be written is scored without it.

    Raises:
        RunInUseError: Another process holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(run.lock.hold())
        except RunInUseError:
            raise
        except CheckpointError as error:
            reporter.line(f"{error} The scores are printed only.")
        yield


def _open_data(data: DataSettings, protocol: ProtocolLike | None) -> Protocol:
    if protocol is None:
        return build_protocol(data)
    if isinstance(protocol, Protocol):
        return protocol
    return create_protocol(protocol, root=data.root, **data.options)


def _compare_data(
    run: RunDirectory, protocol: Protocol, model: MultiTaskModel, allowed: bool
) -> dict[str, Any]:
    """Check that ``protocol`` is the data the run was trained on, by their fingerprints.

    Returns:
        Keys for the file of the scores: both fingerprints if the data differ and that is allowed.
    """
    before, now = run.data_fingerprint(), protocol.fingerprint()
    if before is None or before == now:
        return {}
    if not allowed:
        raise DataError(
            f"The data of {protocol.name!r} are not those that the run in {run.place} was trained "
            f"on (fingerprint {before} then, {now} now), so the scores would not be comparable "
            "with its others. Restore the data, give their folder with --data-root or their data "
            "YAML with --data, or add --allow-other-data (allow_other_data=True) to score on "
            "these data; the file of the scores then says so."
        )
    for task in model.tasks:
        found = protocol.task(task.name)
        if (found.kind, found.channels) != (task.kind, task.channels):
            raise DataError(
                f"The run in {run.place} predicts the task {task.name!r} as {task.kind} with "
                f"{task.channels} channel(s), but in {protocol.name!r} it is {found.kind} with "
                f"{found.channels}, so it cannot be scored on these data."
            )
    return {"other_data": {"trained_on": before, "scored_on": now}}


def _epoch_of(run: RunDirectory, checkpoint: CheckpointName, reporter: Reporter) -> int | None:
    """Finished epochs of a checkpoint's weights; None if the training state is damaged."""
    try:
        state = TrainingState.load(run.find_checkpoint("last"))
    except CheckpointError as error:
        reporter.line(f"The epoch of the checkpoint is unknown. {error}")
        return None
    return state.position.epoch if checkpoint == "last" else state.selection.get("epoch")
