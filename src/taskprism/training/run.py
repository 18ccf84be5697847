"""Train a recipe into a run directory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from accelerate import Accelerator

from taskprism.atomic import write_json
from taskprism.data.create import ProtocolLike
from taskprism.data.protocol import Protocol
from taskprism.errors import DataError, Terminated
from taskprism.models.base import MultiTaskModel
from taskprism.models.initialization import InitializationReport
from taskprism.progress import Reporter
from taskprism.recipes.files import load_recipe
from taskprism.recipes.schema import Recipe
from taskprism.scoring.evaluation import (
    check_labels,
    describe,
    split_loader,
)
from taskprism.training import manifest
from taskprism.training.callbacks import Callback
from taskprism.training.experiment import (
    Experiment,
    build_experiment,
    check_saved_names,
    initialize_experiment,
    record_objects,
    weights_source,
)
from taskprism.training.feeding import seeded
from taskprism.training.launch import create_accelerator
from taskprism.training.optimizers import describe_training
from taskprism.training.run_directory import RunDirectory
from taskprism.training.scores import Scored, write_pictures, write_scores
from taskprism.training.stopping import stop_on_signals
from taskprism.training.tracking import find_trackers
from taskprism.training.trainer import OnEvaluate, Stopped, Trainer
from taskprism.training.watch import watched


def train(
    recipe: Recipe | str | Path,
    run_dir: str | Path,
    resume: bool = False,
    reporter: Reporter | None = None,
    *,
    protocol: ProtocolLike | None = None,
    model: MultiTaskModel | type[MultiTaskModel] | str | None = None,
    init: str | Path | None = None,
    on_evaluate: OnEvaluate | None = None,
    callbacks: Sequence[Callback] = (),
) -> Path:
    """Train the network of a recipe and score the result on the test images.

    The scores in ``metrics.json`` are those of the last epoch: no epoch is chosen by looking at
    test images. ``checkpoints/best`` is chosen on the validation images where the protocol has
    some, else on the test images, and ``manifest.json`` records which. Where the protocol has no
    test split, the result is scored on the validation images.

    Args:
        recipe: The settings, or what :func:`load_recipe` reads.
        run_dir: Folder of the run; must not hold one yet, unless ``resume``. A URL that fsspec
            opens, such as ``s3://bucket/run``, gets a copy of the run at every save.
        resume: Continue the run in ``run_dir`` where it stopped. The result is the same as that of
            a run that never stopped. A recipe with more epochs trains a finished run further:
            the schedule is then that of a run that was planned with this length.
        reporter: Shows progress; by default on standard error.
        protocol: Data in place of the recipe's: an object, a class, or a name. A run trained with
            an object can only be resumed or evaluated with the object.
        model: Network in place of the recipe's: likewise. An object brings its own tasks, which
            the protocol must have.
        init: Initial weights in place of the recipe's: what :func:`taskprism.initialize` accepts.
            A resumed run continues from its own checkpoint and does not read it again.
        on_evaluate: Called as ``on_evaluate(epoch, split, results)`` after each evaluation during
            training, when the checkpoint is written.
        callbacks: Your own code in the training loop. Their states are in the checkpoint; give them
            again to resume the run.

    Returns:
        The folder of the run; for a URL, its local copy.

    Raises:
        TaskprismError: A name, option, file or folder is wrong; nothing was trained.
        DivergenceError: A loss is no longer finite.
        KeyboardInterrupt: After Ctrl-C, when everything is saved; the message says how to resume.
            After SIGTERM, SIGUSR1 or SIGHUP it is :class:`~taskprism.errors.Terminated`.

    Example:
        >>> import tempfile
        >>> from taskprism.training import load_recipe, train
        >>> recipe = load_recipe("rooms/multi_task", {"epochs": 1, "data.options.train_length": 4})
        >>> run = train(recipe, tempfile.mkdtemp() + "/run")  # doctest: +SKIP
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    recipe = record_objects(recipe, protocol, model)
    find_trackers(recipe)
    if init is not None:
        recipe = recipe.model_copy(update={"init": str(init)})
    run = RunDirectory(run_dir)
    accelerator = create_accelerator(recipe, run.path)
    reporter = reporter or Reporter(quiet=not accelerator.is_main_process)
    with (
        stop_on_signals() as stop,
        watched(accelerator, recipe.stall_timeout, reporter) as watch,
        ExitStack() as stack,
    ):
        with stop.at_once():
            if accelerator.is_main_process:
                stack.enter_context(run.lock.hold())
            run.fetch()
            before = recipe
            if resume:
                before = run.check_resumable(recipe)
                check_saved_names(recipe, run.path)
            else:
                run.check_free()
            experiment = build_experiment(
                recipe,
                protocol if isinstance(protocol, Protocol) else None,
                model if isinstance(model, MultiTaskModel) else None,
            )
            _check_splits(experiment, reporter)
            started = resume and run.has_checkpoint("last")
            report = None if started else initialize_experiment(experiment, reporter)
        try:
            trainer = Trainer(
                experiment.model,
                experiment.protocol,
                run,
                recipe,
                accelerator,
                reporter,
                stop,
                on_evaluate,
                callbacks,
            )
            _train(run, experiment, trainer, accelerator, reporter, resume, report, before)
        except Stopped as stopped:
            accelerator.wait_for_everyone()  # the first process has saved before any other ends
            watch.finish()
            kind = KeyboardInterrupt if stopped.by_interrupt else Terminated
            raise kind(_how_to_resume(run)) from None
    return run.path


def _check_splits(experiment: Experiment, reporter: Reporter) -> None:
    """Check, before the first step, that training and scoring will find images and labels."""
    protocol, model = experiment.protocol, experiment.model
    scored = protocol.scored_split
    if scored not in protocol.splits:
        raise DataError(
            f"{protocol.name!r} has no split to score the run on; it has "
            f"{', '.join(protocol.splits)}. Add a split test or val."
        )
    with seeded(0):  # data may draw random numbers
        for split in [split for split in protocol.splits if split in ("train", "val", scored)]:
            tasks = experiment.tasks if split == "train" else model.tasks
            split_loader(protocol, split, model, 1)
            skip = split == "train" and experiment.recipe.data.on_bad_sample == "skip"
            unlabeled = check_labels(protocol, split, tasks, skip)
            if unlabeled:
                reporter.line(f"No {split} label was found of: {', '.join(unlabeled)}.")


def _train(
    run: RunDirectory,
    experiment: Experiment,
    trainer: Trainer,
    accelerator: Accelerator,
    reporter: Reporter,
    resume: bool,
    initialization: InitializationReport | None,
    before: Recipe,
) -> None:
    """Train and score; the folder is checked and held by this process."""
    accelerator.wait_for_everyone()  # all processes check the folder before one writes
    if resume:
        if run.manifest_file.is_file():
            manifest.check_data(run.manifest_file, experiment.protocol.fingerprint())
        for note in trainer.learner.restore(run):
            reporter.line(note)
        _change_length(run, trainer, accelerator, reporter, before)
        accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _open(run, experiment, trainer, accelerator, reporter, resume, initialization)
    accelerator.wait_for_everyone()
    trainer.trackers.start(resume)
    _announce(reporter, experiment, trainer, accelerator)
    try:
        trainer.train()
        _finish(run, experiment, trainer, accelerator, reporter)
        if accelerator.is_main_process:
            run.upload()
            reporter.line(f"Run in {run.place}")
    finally:
        trainer.feed.close()
        trainer.trackers.finish()


def _change_length(
    run: RunDirectory,
    trainer: Trainer,
    accelerator: Accelerator,
    reporter: Reporter,
    before: Recipe,
) -> None:
    """Continue a run with a recipe that trains it longer or shorter than planned."""
    recipe, epoch = trainer.recipe, trainer.learner.position.epoch
    if (recipe.epochs, recipe.early_stopping) == (before.epochs, before.early_stopping):
        return
    was_finished = epoch >= before.epochs or trainer.learner.ended is not None
    reporter.line(trainer.train_further(before))
    if not accelerator.is_main_process:
        return
    kept = run.keep_scores(epoch) if was_finished and not trainer.is_finished else None
    if kept is not None:
        reporter.line(f"Kept the scores of epoch {epoch} in {kept.name}.")
    if run.manifest_file.is_file():
        manifest.note_length(run.manifest_file, epoch, before.epochs, recipe.epochs)


def _open(
    run: RunDirectory,
    experiment: Experiment,
    trainer: Trainer,
    accelerator: Accelerator,
    reporter: Reporter,
    resume: bool,
    initialization: InitializationReport | None,
) -> None:
    """Write recipe and manifest before the first step."""
    recipe = experiment.recipe
    if resume and run.manifest_file.is_file():
        fingerprint, now = experiment.protocol.fingerprint(), accelerator.num_processes
        before = manifest.note_resumed(run.manifest_file, fingerprint, now)
        if before != now:
            size = recipe.data.batch_size
            reporter.line(
                f"Resuming with {now} process(es) instead of {before}: a batch now has "
                f"{now * size} images instead of {before * size}."
            )
        run.write_recipe(recipe)
        run.upload()
        return
    content = manifest.describe(
        experiment.protocol,
        seed=recipe.seed,
        weights=weights_source(experiment.model),
        device=str(accelerator.device),
        processes=accelerator.num_processes,
        init=None if initialization is None else initialization.record(),
    )
    run.write_recipe(recipe)
    run.log.truncate(0)
    write_json(run.manifest_file, content | {"best_chosen_on": trainer.selection_split})
    run.upload()


def _announce(
    reporter: Reporter, experiment: Experiment, trainer: Trainer, accelerator: Accelerator
) -> None:
    model, protocol = experiment.model, experiment.protocol
    names = ", ".join(task.name for task in model.tasks)
    extra = ", ".join(task.name for task in model.auxiliary_tasks)
    size = "x".join(str(side) for side in protocol.input_size)
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    reporter.line(
        f"{model.name} on {protocol.name} {size}: {names}{f' (auxiliary: {extra})' * bool(extra)}; "
        f"{parameters:.2f} M parameters, {trainer.order.length} training images, "
        f"{accelerator.num_processes} process(es) on {accelerator.device}"
    )
    reporter.line(describe_training(model, trainer.learner.optimizer))
    if protocol.license:
        reporter.line(f"Data: {protocol.license}")
    data = trainer.recipe.data
    if data.labels in ("one", "random"):
        reporter.line(
            f"Keeping {'one label' if data.labels == 'one' else 'a random subset of the labels'} "
            f"of each training image, drawn with seed {data.labels_seed}."
        )
    elif data.labels != "all":
        reporter.line(f"Keeping the training labels that {data.labels} names.")
    if protocol.scored_split != "test":
        reporter.line(
            f"{protocol.name} has no test split: the last epoch is scored on "
            f"{protocol.scored_split}, which also chooses the best epoch."
        )
    elif trainer.selection_split == "test":
        reporter.line(
            f"{protocol.name} has no val split: checkpoints/best is chosen on the test images, so "
            "its scores on them are too good. The scores of the run are those of the last epoch."
        )
    metric = trainer.recipe.early_stopping.metric
    if metric is not None and metric.startswith("test/"):
        reporter.line(
            f"Early stopping measures {metric}: the test images choose the length of the run, "
            "so its scores on them are too good."
        )
    position = trainer.learner.position
    if trainer.learner.ended is not None:
        reporter.line(
            f"Training has ended after epoch {position.epoch}: {trainer.learner.ended}. Scoring "
            "the run again."
        )
    elif position.epoch >= trainer.recipe.epochs:
        reporter.line(f"All {position.epoch} epochs are trained; scoring the run again.")
    elif not position.step:
        for doubt in protocol.first_doubts() if accelerator.is_main_process else ():
            reporter.line(f"Check the data: {doubt}.")
    else:
        reporter.line(f"Resuming at epoch {position.epoch + 1}, batch {position.batch + 1}.")


def _finish(
    run: RunDirectory,
    experiment: Experiment,
    trainer: Trainer,
    accelerator: Accelerator,
    reporter: Reporter,
) -> None:
    """Score the last epoch on the test images, or on the validation images if there are none."""
    recipe, protocol, model = experiment.recipe, experiment.protocol, trainer.learner.result
    split = protocol.scored_split
    epoch = trainer.learner.position.epoch
    latest = trainer.latest if trainer.latest is not None and trainer.latest[0] == split else None
    if epoch < recipe.epochs:  # states of each image are kept in the planned last epoch only
        latest = None
    results = trainer.evaluate(split, is_last=True) if latest is None else latest[1]
    if not accelerator.is_main_process:
        return
    if latest is None:
        trainer.track("scores", {}, (split, results))
    reporter.line(f"{protocol.name} {split}, epoch {epoch}: {describe(results, model)}")
    scored = Scored(split, "last", epoch)
    write_scores(run, recipe, protocol, model, results, scored, trainer.image_states)
    write_pictures(run.pictures, protocol, split, model)
    bad = {str(index): error for index, error in trainer.feed.bad.errors.items()}
    manifest.note_finished(run.manifest_file, trainer.learner.skipped.total, bad)


def _how_to_resume(run: RunDirectory) -> str:
    return f"Stopped and saved. Resume with: {run.resume_command()}"
