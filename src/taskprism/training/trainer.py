"""The training loop."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from taskprism.atomic import safe_name
from taskprism.data.protocol import Protocol, Split
from taskprism.data.sample import Batch
from taskprism.errors import CheckpointError, InputError
from taskprism.layers import has_batch_norm
from taskprism.losses import LabelCounts
from taskprism.models.base import MultiTaskModel
from taskprism.progress import Reporter
from taskprism.recipes.files import validate
from taskprism.recipes.schema import Recipe
from taskprism.scoring.evaluation import Results, describe, flat, score, split_loader
from taskprism.scoring.image_states import ImageStateRecorder, ImageStates
from taskprism.stores.lease import LeaseHeldError
from taskprism.tasks.statistics import LabelStatistics
from taskprism.training.adversarial import reversal_strength
from taskprism.training.callbacks import Callback, EarlyStopping, create_callbacks
from taskprism.training.experiment import (
    Experiment,
    build_experiment,
    initialize_experiment,
    record_objects,
)
from taskprism.training.feeding import EpochOrder, TrainingFeed, derive_seed
from taskprism.training.label_constants import sum_label_statistics
from taskprism.training.launch import create_accelerator, max_over_processes
from taskprism.training.learner import Learner, check_finite
from taskprism.training.optimizers import (
    describe_length,
    learning_rate_factor,
    set_learning_rate,
)
from taskprism.training.run_directory import (
    CheckpointName,
    Position,
    RunDirectory,
)
from taskprism.training.scores import draw_panels
from taskprism.training.sharding import (
    average_undivided,
    clip_gradient,
)
from taskprism.training.steps import (
    Losses,
    LossMeter,
    joined,
    turns,
)
from taskprism.training.stopping import StopRequest
from taskprism.training.tracking import Trackers

#: Finished epochs, split, and task -> metric -> value.
OnEvaluate = Callable[[int, Split, Results], None]


class Stopped(Exception):
    """Someone asked to stop, and the run is at a point from which it can be resumed.

    Args:
        by_interrupt: Ctrl-C asked, not another signal.
    """

    def __init__(self, by_interrupt: bool = True) -> None:
        super().__init__()
        self.by_interrupt = by_interrupt


class Trainer:
    """Trains a model; it can be stopped and resumed between any two steps.

    A batch goes through :meth:`_train_batch` (forward and backward) and :meth:`_optimizer_step`.

    Args:
        model: The network, with its tasks.
        protocol: The data; it has the tasks of the model.
        run: New folder for recipe, log and checkpoints; None writes nothing.
            (:func:`~taskprism.training.train` also writes manifest, scores and pictures there.)
        recipe: The settings.
        accelerator: Devices, processes, precision; by default those of the recipe and environment.
        reporter: Shows progress; by default on standard error.
        stop: Becomes true when the user asks to stop.
        on_evaluate: Called as ``on_evaluate(epoch, split, results)`` in the first process after
            each evaluation during training, when the checkpoint is written.
        callbacks: Your own code in the loop, before those of the recipe.
        settings: Without a ``recipe``, the keys of one that differ from the defaults:
            ``epochs=3, optimizer={"lr": 1e-3}, data={"batch_size": 4}``.

    Attributes:
        learner: Network, optimizer and position in the run.
        latest: Split and scores of the current weights, if they were evaluated.

    Raises:
        TaskprismError: A setting is wrong, model and protocol do not fit together, or the folder
            already holds a run.

    Example:
        >>> from taskprism import create_model
        >>> from taskprism.data import create_protocol
        >>> rooms = create_protocol(
        ...     "rooms", tasks=["depth"], input_size=(32, 32), train_length=2, test_length=1)
        >>> model = create_model("multi_task", rooms.tasks, backbone="test_resnet", neck_channels=8)
        >>> trainer = Trainer(model, rooms, reporter=Reporter(quiet=True), epochs=1)
        >>> trainer.train()
        >>> sorted(trainer.evaluate("test"))
        ['depth']
    """

    def __init__(
        self,
        model: MultiTaskModel,
        protocol: Protocol,
        run: RunDirectory | str | Path | None = None,
        recipe: Recipe | None = None,
        accelerator: Accelerator | None = None,
        reporter: Reporter | None = None,
        stop: StopRequest | None = None,
        on_evaluate: OnEvaluate | None = None,
        callbacks: Sequence[Callback] = (),
        **settings: Any,
    ) -> None:
        if recipe is None:
            recipe = validate({"name": model.name, **settings}, source="Trainer")
            recipe = record_objects(recipe, protocol, model)
            experiment = build_experiment(recipe, protocol, model)
            initialize_experiment(experiment, reporter or Reporter())
        elif settings:
            raise InputError(f"Put {', '.join(settings)} into the recipe, or give no recipe.")
        else:
            experiment = Experiment(recipe, protocol, model)
        self.run = run if isinstance(run, RunDirectory) or run is None else RunDirectory(run)
        folder = self.run.path if self.run is not None else Path()
        accelerator = accelerator or create_accelerator(recipe, folder)
        if self.run is not run and self.run is not None and accelerator.is_main_process:
            self.run.fetch()
            self.run.check_free()
            self.run.write_recipe(recipe)
        self.experiment = experiment
        self.recipe = recipe
        self.protocol = protocol
        self.accelerator = accelerator
        self.reporter = reporter or Reporter(quiet=not accelerator.is_main_process)
        # A request is false until someone asks to stop, so compare with None.
        self.stop = StopRequest() if stop is None else stop
        self.on_evaluate = on_evaluate
        train = experiment.training_images()
        self.order = EpochOrder(
            len(train),
            recipe.data.batch_size,
            recipe.seed,
            accelerator.process_index,
            accelerator.num_processes,
            fewest=1 if recipe.sync_batch_norm else 2,
        )
        skip = recipe.data.on_bad_sample == "skip"
        self.feed = TrainingFeed(train, experiment.tasks, self.order, recipe.data.workers, skip)
        if model.any_input_size:
            model.input_size = protocol.input_size  # saved with the model, for predictions
        self.learner = Learner(experiment, accelerator, self.reporter)
        self.learner.bad_samples = self.feed.bad
        self.callbacks = create_callbacks(callbacks, recipe.callbacks)
        if recipe.early_stopping.metric is not None:
            stopping = EarlyStopping(recipe.early_stopping, model.tasks, self.selection_split)
            self.callbacks.append(stopping)
        self.learner.callbacks = self.callbacks
        self._reason: str | None = None  # of a callback, to end after this epoch
        self.epoch_batches = len(self.order)  # more or less in an epoch resumed by more processes
        self.latest: tuple[Split, Results] | None = None
        self.image_states: ImageStates | None = None  # of these weights on the test images
        self.trackers = Trackers(recipe, folder, accelerator, self.reporter)

    @property
    def selection_split(self) -> Split:
        """Split that chooses the best epoch: validation images if there are some, else test."""
        return "val" if "val" in self.protocol.splits else "test"

    def train(self) -> None:
        """Train from the current position to the last epoch.

        Raises:
            Stopped: The user asked for it; everything is saved.
            DivergenceError: A loss or weight is no longer finite.
            CheckpointError: Something could not be written.
        """
        is_writer = self.run is not None and self.accelerator.is_main_process
        self._describe_batch_norm()
        owns_trackers = not self.trackers.is_started
        self.trackers.start()
        with self.run.lock.hold() if self.run is not None and is_writer else nullcontext():
            try:
                self._call("on_fit_start")
                while not self.is_finished:
                    started = time.monotonic()
                    self._epoch()
                    self._finish_epoch(started)
                self._call("on_fit_end")
                return
            except Stopped as stopped:
                # The frames below, and the loaders that they hold, are released before saving.
                by_interrupt = stopped.by_interrupt
            finally:
                if owns_trackers:
                    self.trackers.finish()
            self.feed.bad.share()
            self._save("last")
            raise Stopped(by_interrupt)

    @property
    def is_finished(self) -> bool:
        """Whether the last epoch is trained, or training has ended before."""
        learner = self.learner
        return learner.position.epoch >= self.recipe.epochs or learner.ended is not None

    def request_stop(self, reason: str) -> None:
        """End the training after the current epoch, in all processes; for callbacks.

        The run is then scored as after its last epoch. It is enough that one process asks.

        Args:
            reason: Why, for the log.
        """
        self._reason = reason

    def train_further(self, before: Recipe) -> str:
        """Continue a run whose planned length has changed, also one that has ended.

        Early stopping keeps its best value, and counts evaluations from here.

        Args:
            before: The recipe so far.

        Returns:
            Line that says what the learning rate will be.
        """
        learner, recipe = self.learner, self.recipe
        if learner.ended is not None:
            learner.ended = None
            self._save("last")  # a run that is stopped before its next save goes on, too
        for callback in self.callbacks:
            if isinstance(callback, EarlyStopping):
                callback.waited = 0
        base = learner.optimizer.param_groups[-1]["base_lr"]
        steps = -(-self.epoch_batches // recipe.accumulate)
        return describe_length(
            recipe.schedule, base, before.epochs, recipe.epochs, learner.position.epoch, steps
        )

    def _call(self, hook: str, *arguments: Any) -> None:
        """Call a method of every callback."""
        for callback in self.callbacks:
            getattr(callback, hook)(self, *arguments)

    def _end_if_requested(self, epoch: int) -> None:
        """End the training in all processes if a callback asked for it in one."""
        if not self.callbacks:
            return
        asked = float(self._reason is not None)
        if self.accelerator.num_processes > 1:
            asked = max_over_processes(asked, self.accelerator)
        if asked and epoch < self.recipe.epochs:
            self.learner.ended = self._reason or "a callback of another process asked for it"
            self.reporter.line(f"Stopping after epoch {epoch}: {self.learner.ended}.")
        self._reason = None

    def _describe_batch_norm(self) -> None:
        """Say what several processes do not share."""
        processes = self.accelerator.num_processes
        if processes > 1 and has_batch_norm(self.learner.model):
            images = (
                "all processes"
                if self.recipe.sync_batch_norm
                else "one process (set sync_batch_norm: true to train exactly as one process would)"
            )
            self.reporter.line(
                f"Training with {processes} processes: batch norm uses the images of {images}."
            )

    def _set_label_statistics(self) -> None:
        """Set the constants of losses that come from all training labels.

        They are counted once, so that a resumed run has the same.
        """
        learner = self.learner
        tasks = learner.criterion.uncounted_tasks
        if any(task.name not in learner.label_statistics for task in tasks):
            learner.label_statistics = sum_label_statistics(
                self.experiment.plain_training_images(),
                tasks,
                self.accelerator,
                self.reporter,
                skip_bad=self.recipe.data.on_bad_sample == "skip",
            )
        learner.criterion.set_label_statistics(learner.label_statistics)

    def _epoch(self) -> None:
        """Train on every image once, or on those that a stopped run has left."""
        self._set_label_statistics()
        position = self.learner.position
        start, images = position.batch, position.images
        if start and not images:  # a checkpoint of an earlier version
            images = start * self.order.size
        batches = start + self.order.batches_after(images)
        self.epoch_batches = batches
        fed = self.feed.epoch(position.epoch, images)
        title = f"epoch {position.epoch + 1}/{self.recipe.epochs}"
        self._call("on_epoch_start", position.epoch + 1)
        self.learner.network.train()
        self.learner.optimizer.zero_grad()
        watched = self._watched_labels() if position.epoch == start == 0 else []
        for number, group in self._groups(self.reporter.track(fed, title, batches, start), start):
            size = len(group)
            for place, batch in enumerate(group, number - start):
                if place * self.recipe.data.batch_size < _WATCHED:
                    _watch(watched, batch)
            self._train_group(group, number)
            position.batch = number + size
            position.images = images + (position.batch - start) * self.order.size
            if position.batch == batches:  # images that fill no batch are left out
                position.images = self.order.length
            self._stop_if_asked()  # between two groups nothing is pending
        for labels in watched:
            for doubt in labels.task.doubts(labels):
                self.reporter.line(f"Check the labels of {labels.task.name}: {doubt}.")

    def _watched_labels(self) -> list[LabelStatistics]:
        """Statistics of the first labels, to report implausible ones after the first epoch."""
        return [LabelStatistics(task) for task in self.learner.model.all_tasks]

    def _groups(self, fed: Iterable[Batch], start: int) -> Iterator[tuple[int, list[Batch]]]:
        """Batches of each optimizer step, with the number of the first.

        A group is read before its first batch is used, because the loss of a task is the mean over
        all labels of the group; its batches wait in the memory of the CPU.
        """
        group: list[Batch] = []
        for number, batch in enumerate(fed, start):
            group.append(batch)
            if (number + 1) % self.recipe.accumulate == 0 or number + 1 == self.epoch_batches:
                yield number + 1 - len(group), group
                group = []

    def _train_group(self, group: list[Batch], first: int) -> None:
        """Forward and backward of each batch, and a step of the optimizer.

        Once for all tasks together, or once per task. Without any label nothing changes. Batches
        are removed from ``group`` once they are used.
        """
        learner, size = self.learner, len(group)
        counts = learner.criterion.count_labels(
            [(batch.targets, batch.valid) for batch in group],
            self.accelerator.device,
            [batch.weights for batch in group],
        )
        labeled = frozenset().union(*(count.labeled for count in counts))
        passes = turns(self.recipe, learner.model, labeled)
        if not passes:
            return
        for place, count in enumerate(counts):
            batch = group.pop(0)
            learner.skipped.start_batch(batch.names, place == 0)
            if not learner.skipped.group_is_skipped:
                batch = batch.to(self.accelerator.device)
                self._train_batch(batch, first + place, count, passes, size, place)
        if learner.average is not None and not learner.skipped.in_row:
            learner.average.update_parameters(learner.model)

    def _train_batch(
        self,
        batch: Batch,
        number: int,
        counts: LabelCounts,
        passes: list[list[str] | None],
        group_size: int,
        place: int,
    ) -> None:
        """Forward and backward of one batch, and an optimizer step at the end of its group."""
        recipe, learner, is_last = self.recipe, self.learner, place + 1 == group_size
        epoch, rank = learner.position.epoch, self.accelerator.process_index
        torch.manual_seed(derive_seed(recipe.seed, "step", epoch, number, rank))  # for dropout
        # By name: every number of processes draws the same views.
        seeds = [derive_seed(recipe.seed, "view", epoch, name) for name in batch.names]
        reversal = reversal_strength(epoch, recipe.epochs)
        done: list[Losses] = []
        for tasks in passes:
            if place == 0:
                learner.skipped.keep_buffers()
            losses = learner.backward(batch, (tasks, reversal, seeds, counts), group_size, is_last)
            if losses is None:
                self._skip_step()
                continue
            learner.pending.add(losses["labeled"], counts)
            done.append(losses)
            if is_last:
                self._optimizer_step(number)
        if done:
            losses = joined(done, learner.model)
            learner.meter.add(losses, counts)
            if self.callbacks:
                named = {"total": losses["total"], **losses["final"]}
                named = {name: loss.detach() for name, loss in named.items()}
                self._call("on_batch_end", batch, MappingProxyType(named))

    def _optimizer_step(self, number: int) -> None:
        """Optimizer step; parameters without a gradient do not change."""
        recipe, learner = self.recipe, self.learner
        if learner.sharded is not None:
            average_undivided(learner.network.parameters(), self.accelerator)
        if recipe.clip_norm is not None:
            parameters = learner.network.parameters()
            norm = (
                self.accelerator.clip_grad_norm_(parameters, recipe.clip_norm)
                if learner.sharded is None
                else clip_gradient(parameters, recipe.clip_norm)
            )
            if norm is not None and learner.skipped.refuses_gradient(norm):
                self._skip_step()
                return
        set_learning_rate(learner.optimizer, self._rate_factor(number // recipe.accumulate))
        learner.optimizer.step()
        learner.optimizer.zero_grad()  # gradients become None: not even momentum moves the others
        learner.position.step += 1
        learner.skipped.took_step()
        losses = learner.pending.take()
        if not self.accelerator.optimizer_step_was_skipped:  # by the gradient scaler of fp16
            learner.balancing.finish_step(losses)
        self._call("on_step_end", learner.position.step)

    def _skip_step(self) -> None:
        """Forget the gradients and losses of the current step, and leave out its other batches."""
        self.learner.optimizer.zero_grad()
        self.learner.pending.take()
        self.learner.skipped.group_is_skipped = self.recipe.accumulate > 1

    def _rate_factor(self, step: int) -> float:
        steps = -(-self.epoch_batches // self.recipe.accumulate)
        epoch = self.learner.position.epoch
        return learning_rate_factor(self.recipe.schedule, self.recipe.epochs, epoch, step, steps)

    def _finish_epoch(self, started: float) -> None:
        """Evaluate if it is due, log, and save."""
        learner = self.learner
        learner.share_buffers()
        self.feed.bad.share()
        check_finite(learner.result)
        epoch = learner.position.epoch + 1
        due = epoch % self.recipe.evaluate_every == 0 or epoch == self.recipe.epochs
        seconds = time.monotonic() - started
        split, is_last = self.selection_split, epoch == self.recipe.epochs
        self.latest = (split, self.evaluate(split, is_last)) if due else None
        learner.position = Position(epoch, step=learner.position.step)
        values = self._log(seconds)
        learner.balancing.finish_epoch(learner.meter.per_task())
        learner.meter = LossMeter()
        if self.latest is not None:
            self._call("on_evaluation_end", epoch, *copy.deepcopy(self.latest))
        self._call("on_epoch_end", epoch, MappingProxyType(values))
        self._end_if_requested(epoch)
        if self.latest is not None and learner.selection.improves(self.latest[1], epoch):
            self._save("best")
        self._save("last")
        is_writer = self.accelerator.is_main_process
        if self.on_evaluate is not None and self.latest is not None and is_writer:
            self.on_evaluate(epoch, *self.latest)

    def _save(self, name: CheckpointName) -> None:
        if self.run is None:
            return
        self.learner.save(self.run, name)
        if name == "last" and self.accelerator.is_main_process:
            try:
                self.run.upload()
            except LeaseHeldError:
                raise
            except CheckpointError as error:  # training goes on while the network is away
                self.reporter.line(f"{error} It is uploaded with the next save.")

    def evaluate(self, split: Split, is_last: bool = False) -> Results:
        """Metrics of the trained model over a split.

        Args:
            split: Which images.
            is_last: Training has ended; the metrics' states of each image are kept as well if this
                is the split that scores the run.

        Raises:
            Stopped: The user asked for it.
        """
        data, accelerator, model = self.recipe.data, self.accelerator, self.learner.result
        place = accelerator.process_index, accelerator.num_processes
        loader = split_loader(self.protocol, split, model, data.batch_size, data.workers, *place)
        batches = self.reporter.track(loader, f"scoring {split}")
        check = self._stop_check(loader)
        is_result = is_last and split == self.protocol.scored_split
        recorder = ImageStateRecorder(model.tasks) if is_result else None
        results = score(model, batches, accelerator.device, accelerator.autocast, check, recorder)
        self.image_states = recorder.gathered() if recorder is not None else None
        return results

    def _log(self, seconds: float) -> dict[str, float]:
        """Write the finished epoch to the log, the trackers and the screen.

        Returns:
            Name -> value, as trackers get them.
        """
        position, meter = self.learner.position, self.learner.meter
        final, initial = meter.means("final"), meter.means("initial")
        losses = {**initial, **final}
        rate = self.learner.optimizer.param_groups[-1]["lr"]
        tracked = {"loss/total": meter.total, "lr": rate}
        tracked |= {f"loss/{name}": loss for name, loss in losses.items()}
        extra, linked = meter.means("adversarial"), meter.consistency
        words = [f"epoch {position.epoch}/{self.recipe.epochs}", f"loss {meter.total:.4g}"]
        words += [f"{name} {loss:.4g}" for name, loss in final.items()]
        words += [f"consistency {linked:.4g}"] if linked is not None else []
        skipped = self.learner.skipped.take_epoch()
        words += [f"{skipped} step(s) skipped"] if skipped else []
        self.reporter.line("  ".join([*words, f"({seconds:.1f} s)"]))
        bad = self.feed.bad.finish_epoch(self.reporter)
        entries = [
            {"event": "train", "lr": rate, "total": meter.total, "losses": losses}
            | {"initial_losses": initial, "seconds": round(seconds, 3)}
            | {"skipped_steps": skipped}
            | ({"adversarial_losses": extra} if extra else {})
            | ({"consistency_loss": linked} if linked is not None else {})
            | ({"bad_samples": bad} if bad else {})
        ]
        if self.latest is not None:
            split, results = self.latest
            line = describe(results, self.learner.model)
            self.reporter.line(f"  {self.protocol.name} {split}: {line}")
            entries.append({"event": "evaluate", "split": split, "metrics": results})
        if self.run is not None and self.accelerator.is_main_process:
            for entry in entries:
                place = {"epoch": position.epoch, "step": position.step}
                self.run.log.append({"event": entry.pop("event"), **place, **entry})
        self.track("epochs", tracked, self.latest)
        return tracked | ({} if self.latest is None else flat(self.latest[1], (self.latest[0],)))

    def track(
        self, stream: str, numbers: Mapping[str, float], scores: tuple[Split, Results] | None
    ) -> None:
        """Send numbers to the trackers, and where there are scores, these and some panels.

        Args:
            stream: See :meth:`~taskprism.training.tracking.Trackers.log`.
            numbers: By name.
            scores: Split and metrics of the current weights, or None.
        """
        step = self.learner.position.step
        if scores is None:
            self.trackers.log(stream, numbers, step)
            return
        split, results = scores

        def draw() -> dict[str, np.ndarray]:
            panels = draw_panels(self.protocol, split, self.learner.result, _TRACKED_PANELS)
            return {f"{split}/panels/{safe_name(name)}": each for name, each in panels.values()}

        self.trackers.log(stream, {**numbers, **flat(results, (split,))}, step, draw)

    def _stop_check(self, loader: Sized) -> Callable[[], None]:
        """Check to call after each batch of an evaluation.

        Shares of processes may differ by one batch; all check after as many as the smallest has.
        """
        accelerator = self.accelerator
        common = len(loader)
        if accelerator.num_processes > 1:
            common = int(-max_over_processes(-common, accelerator))
        done = 0

        def check() -> None:
            nonlocal done
            done += 1
            if done <= common:
                self._stop_if_asked()

        return check

    def _stop_if_asked(self) -> None:
        """Stop all processes together: a signal may reach them at different steps."""
        asked = 0 if not self.stop else 2 if self.stop.by_interrupt else 1
        if self.accelerator.num_processes > 1:
            asked = int(max_over_processes(asked, self.accelerator))
        if asked:
            raise Stopped(by_interrupt=asked == 2)


_WATCHED = 256  # images per process
_TRACKED_PANELS = 3  # images of an evaluation that trackers get


def _watch(watched: list[LabelStatistics], batch: Batch) -> None:
    """Add the labels of a batch; an image without a label of a task has no valid pixel."""
    for labels in watched:
        task = labels.task.name
        for name, target, valid in zip(
            batch.names, batch.targets[task], batch.valid[task], strict=True
        ):
            if valid.any():
                labels.add(name, target, valid)
