"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from taskprism.atomic import write_folder
from taskprism.data.protocol import Protocol, Split
from taskprism.data.sample import Batch
from taskprism.errors import CheckpointError, DivergenceError, InputError
from taskprism.layers import has_batch_norm, synchronize_batch_norm
from taskprism.losses import GradientBalancing, LabelCounts
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import check_finite_model, load_weights
from taskprism.progress import Reporter
from taskprism.recipes.files import validate
from taskprism.recipes.schema import Recipe
from taskprism.scoring.evaluation import Results, describe, flat, score, split_loader
from taskprism.scoring.image_states import ImageStateRecorder, ImageStates
from taskprism.scoring.selection import Selection
from taskprism.stores.lease import LeaseHeldError
from taskprism.tasks.statistics import LabelStatistics
from taskprism.training.adversarial import reversal_strength
from taskprism.training.bad_samples import BadSamples
from taskprism.training.experiment import Experiment, build_experiment, record_objects
from taskprism.training.feeding import EpochOrder, TrainingFeed, derive_seed
from taskprism.training.launch import create_accelerator, max_over_processes
from taskprism.training.optimizers import (
    create_optimizer,
    learning_rate_factor,
    set_learning_rate,
)
from taskprism.training.run_directory import (
    STATE_FILE,
    CheckpointName,
    Position,
    RunDirectory,
    TrainingState,
    state_error,
)
from taskprism.training.sharding import (
    ShardedModel,
    average_undivided,
    check_sharding,
    clip_gradient,
    divided_optimizer_state,
    whole_optimizer_state,
)
from taskprism.training.skipping import SkippedSteps
from taskprism.training.steps import (
    Losses,
    LossMeter,
    LossNetwork,
    StepLosses,
    create_adversary,
    joined,
    rate_factors,
    turns,
)
from taskprism.training.stopping import StopRequest

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
        **settings: Any,
    ) -> None:
        if recipe is None:
            recipe = validate({"name": model.name, **settings}, source="Trainer")
            recipe = record_objects(recipe, protocol, model)
            experiment = build_experiment(recipe, protocol, model)
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
        self.epoch_batches = len(self.order)  # more or less in an epoch resumed by more processes
        self.latest: tuple[Split, Results] | None = None
        self.image_states: ImageStates | None = None  # of these weights on the test images

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
        with self.run.lock.hold() if self.run is not None and is_writer else nullcontext():
            try:
                while self.learner.position.epoch < self.recipe.epochs:
                    started = time.monotonic()
                    self._epoch()
                    self._finish_epoch(started)
                return
            except Stopped as stopped:
                # The frames below, and the loaders that they hold, are released before saving.
                by_interrupt = stopped.by_interrupt
            self.feed.bad.share()
            self._save("last")
            raise Stopped(by_interrupt)

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

    def _epoch(self) -> None:
        """Train on every image once, or on those that a stopped run has left."""
        position = self.learner.position
        start, images = position.batch, position.images
        if start and not images:  # a checkpoint of an earlier version
            images = start * self.order.size
        batches = start + self.order.batches_after(images)
        self.epoch_batches = batches
        fed = self.feed.epoch(position.epoch, images)
        title = f"epoch {position.epoch + 1}/{self.recipe.epochs}"
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
            learner.meter.add(joined(done, learner.model), counts)

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
        self._log(seconds)
        learner.balancing.finish_epoch(learner.meter.per_task())
        learner.meter = LossMeter()
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

    def _log(self, seconds: float) -> None:
        """Write the finished epoch to the log, the trackers and the screen."""
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
            tracked |= flat(results, (split,))
            line = describe(results, self.learner.model)
            self.reporter.line(f"  {self.protocol.name} {split}: {line}")
            entries.append({"event": "evaluate", "split": split, "metrics": results})
        if self.run is not None and self.accelerator.is_main_process:
            for entry in entries:
                place = {"epoch": position.epoch, "step": position.step}
                self.run.log.append({"event": entry.pop("event"), **place, **entry})
        self.accelerator.log(tracked, step=position.step)

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


def _forward(network: nn.Module, batch: Batch, *arguments: Any) -> Losses:
    try:
        return network(batch.images, batch.targets, batch.valid, *arguments)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        height, width = batch.images.shape[-2:]
        raise InputError(
            f"Batch normalization cannot train on one value per channel: {len(batch)} image(s) of "
            f"{height} x {width} pixels give feature maps of 1 x 1. Increase data.batch_size or "
            "data.options.input_size."
        ) from error


_WATCHED = 256  # images per process


def _watch(watched: list[LabelStatistics], batch: Batch) -> None:
    """Add the labels of a batch; an image without a label of a task has no valid pixel."""
    for labels in watched:
        task = labels.task.name
        for name, target, valid in zip(
            batch.names, batch.targets[task], batch.valid[task], strict=True
        ):
            if valid.any():
                labels.add(name, target, valid)


class Learner:
    """A network with its optimizer, moving average and position in the run.

    Args:
        experiment: Model and settings.
        accelerator: Prepares network and optimizer for devices and precision.

    Attributes:
        model: The bare model, in training.
        network: Model, criterion and adversary, wrapped for devices and processes.
        adversary: Discriminator of gradients, or None; it is not saved with the model.
        consistency: Loss that links tasks, or None; it is not saved with the model.
        criterion: Loss of all tasks.
        balancing: Combines the losses of the tasks.
        optimizer: Updates network, adversary, consistency loss and balancing.
        average: Moving average of the model, or None.
        sharded: Divides the model among processes, or None.
        position: Position in the run.
        meter: Losses of the current epoch.
        pending: Losses since the last step of the optimizer.
        selection: Chooses the best evaluation.
        skipped: Counts the steps that are skipped.
        bad_samples: Images that could not be read.
    """

    def __init__(
        self, experiment: Experiment, accelerator: Accelerator, reporter: Reporter
    ) -> None:
        recipe = experiment.recipe
        self.accelerator = accelerator
        # FSDP needs parameters in the usual memory layout.
        self.model = (
            experiment.model.to(accelerator.device)
            if recipe.fsdp
            else place_model(experiment.model, accelerator.device)
        )
        if recipe.sync_batch_norm and accelerator.num_processes > 1:
            synchronize_batch_norm(self.model)
        self.adversary = create_adversary(recipe, self.model)
        self.criterion = experiment.criterion().to(accelerator.device)
        self.balancing = self.criterion.balancing
        self.consistency = experiment.consistency()
        if self.consistency is not None:
            self.consistency.to(accelerator.device)
        self.sharded: ShardedModel | None = None
        if recipe.fsdp:
            check_sharding(recipe, accelerator, self.balancing)
            self.sharded = ShardedModel(self.model, accelerator)
        network = LossNetwork(
            self.model, self.criterion, self.adversary, self.consistency, recipe.consistency.weight
        )
        factors = rate_factors(recipe, self.model, self.adversary, self.consistency)
        optimizer = create_optimizer(network, recipe.optimizer, factors)
        if self.sharded is None:
            self.network, self.optimizer = accelerator.prepare(network, optimizer)
        else:
            for group in optimizer.param_groups:  # divided and whole parameters are mixed
                group["foreach"] = False
            self.network, self.optimizer = network, accelerator.prepare(optimizer)
        decay = recipe.ema_decay
        self.average = create_average(self.model, decay) if decay is not None else None
        self.position = Position()
        self.meter = LossMeter()
        self.pending = StepLosses()
        self.selection = Selection(self.model.tasks)
        most = recipe.max_skipped_steps
        self.skipped = SkippedSteps(most, network, accelerator, reporter)
        self.bad_samples = BadSamples()

    @property
    def result(self) -> MultiTaskModel:
        """The model that is evaluated and saved: the moving average if there is one.

        Of a divided model it is a copy as of the last :meth:`gather`.
        """
        if self.sharded is not None:
            return self.sharded.whole
        averaged = self.average.module if self.average is not None else self.model
        assert isinstance(averaged, MultiTaskModel)
        return averaged

    def gather(self) -> None:
        """Bring :attr:`result` up to date; all processes call this together."""
        if self.sharded is not None:
            self.sharded.gather()

    def backward(
        self, batch: Batch, arguments: tuple[Any, ...], batches: int, is_last: bool
    ) -> Losses | None:
        """Forward and backward pass of a batch; with the last one, gradients are averaged.

        Args:
            batch: On the device.
            arguments: Further arguments of :meth:`LossNetwork.forward`: the tasks of this pass, the
                strength of the reversal, seeds and counted labels.
            batches: Number of batches that are accumulated for one step of the optimizer.
            is_last: This is the last of them: average the gradients of all processes.

        Returns:
            None if the losses are not finite, so that the step must be skipped.

        Raises:
            DivergenceError: Too many steps in a row were skipped.
        """
        if isinstance(self.balancing, GradientBalancing):
            losses = self._balance_gradients(self.balancing, batch, arguments, batches)
            if is_last and losses is not None:
                average_gradients(self.network.parameters(), self.accelerator)
            return losses
        with nullcontext() if is_last else self.accelerator.no_sync(self.network):
            # The wrapper of data parallelism includes autocast.
            with nullcontext() if self.sharded is None else self.accelerator.autocast():
                losses = _forward(self.network, batch, *arguments)
            if self.skipped.refuses(losses):
                return None
            self.accelerator.backward(losses["total"] / batches)
        return losses

    def _balance_gradients(
        self, balancing: GradientBalancing, batch: Batch, arguments: tuple[Any, ...], batches: int
    ) -> Losses | None:
        """Passes of a balancing that runs backward itself: past the hooks of data parallelism."""
        accelerator = self.accelerator
        network = accelerator.unwrap_model(self.network)
        with balancing.watch(self.model, batch.images) as shared:
            losses = _forward(network, batch, *arguments)
        if self.skipped.refuses(losses):
            return None
        if losses["labeled"]:
            reduce = _add_up if accelerator.num_processes > 1 else None
            scale = 1.0
            if accelerator.scaler is not None:
                one = torch.ones((), device=accelerator.device)
                scale = accelerator.scaler.scale(one).item()
            balancing.backward(losses["labeled"], shared, reduce, scale / batches)
        return losses

    def share_buffers(self) -> None:
        """Copy the running statistics of the first process, which are saved, to all processes."""
        if self.accelerator.num_processes > 1:
            averaged = [] if self.average is None else [self.average]
            for module in (self.model, *averaged):
                for buffer in module.buffers():
                    buffer.copy_(broadcast(buffer))
        self.gather()

    def save(self, run: RunDirectory, name: CheckpointName) -> None:
        """Write a checkpoint; ``last`` holds what :meth:`restore` needs.

        Raises:
            CheckpointError: Writing failed; the previous checkpoint is untouched.
            DivergenceError: The weights are no longer finite; the previous one is untouched.
        """
        self.gather()
        optimizer = self.optimizer.state_dict() if name == "last" else {}
        if self.sharded is not None and name == "last":
            optimizer = whole_optimizer_state(optimizer)
        if not self.accelerator.is_main_process:
            return
        check_finite(self.result)

        def fill(folder: Path) -> None:
            self.result.save_pretrained(folder)
            if name == "last":
                self._state(len(run.log), optimizer).save(folder)

        write_folder(run.checkpoint(name), fill)

    def restore(self, run: RunDirectory) -> list[str]:
        """Continue from the last checkpoint; without one, from the start.

        Log entries after the checkpoint are deleted.

        Returns:
            What was found damaged and does not stop the run.

        Raises:
            CheckpointError: The checkpoint is damaged; the message names its file.
        """
        log_length = 0
        if run.has_checkpoint("last"):
            folder = run.find_checkpoint("last")
            state = TrainingState.load(folder)
            try:
                self._load(state, folder)
            except CheckpointError as error:
                raise CheckpointError(f"{error} {_instead(run)}") from error
            except Exception as error:  # a damaged state can raise nearly anything
                raise state_error(folder / STATE_FILE, error) from error
            log_length = state.log_length
        if not self.accelerator.is_main_process:
            return []
        lost = log_length - len(run.log)
        notes = [f"{run.log.path} lacks {lost} earlier line(s)."] if lost > 0 else []
        damaged = run.log.truncate(log_length)
        if damaged:
            lines = ", ".join(map(str, damaged))
            notes.append(f"{run.log.path}: damaged line(s) {lines} are kept as text.")
        return notes

    def _state(self, log_length: int, optimizer: dict[str, Any]) -> TrainingState:
        scaler = self.accelerator.scaler
        return TrainingState(
            position=self.position,
            optimizer=optimizer,
            meter=self.meter.state(),
            selection=self.selection.state(),
            log_length=log_length,
            weights=self.model.state_dict() if self.average is not None else None,
            average=self.average.state_dict() if self.average is not None else None,
            scaler=scaler.state_dict() if scaler is not None else None,
            adversary=self.adversary.state_dict() if self.adversary is not None else None,
            balancing=self.balancing.state_dict() or None,
            consistency=self.consistency.state_dict() if self.consistency is not None else None,
            skipped=self.skipped.state(),
            bad_samples=self.bad_samples.state(),
        )

    def _load(self, state: TrainingState, folder: Path) -> None:
        if self.average is not None and state.average is not None and state.weights is not None:
            self.model.load_state_dict(state.weights)
            self.average.load_state_dict(state.average)
        elif self.sharded is None:
            load_weights(self.model, folder)
        else:
            load_weights(self.sharded.whole, folder)
            self.sharded.scatter()
        if self.accelerator.scaler is not None and state.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.scaler)
        if self.adversary is not None and state.adversary is not None:
            self.adversary.load_state_dict(state.adversary)
        if self.consistency is not None and state.consistency is not None:
            self.consistency.load_state_dict(state.consistency)
        if state.balancing is not None:
            self.balancing.load_state_dict(state.balancing)
        optimizer = state.optimizer
        if self.sharded is not None:
            optimizer = divided_optimizer_state(optimizer, self.optimizer.param_groups)
        self.optimizer.load_state_dict(optimizer)
        for parameter, values in self.optimizer.state.items():
            for name, value in values.items():
                if isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape:
                    raise ValueError(f"the optimizer's {name} has the shape {tuple(value.shape)}")
        self.meter.restore(state.meter)
        self.selection.restore(state.selection)
        if state.skipped is not None:
            self.skipped.restore(state.skipped)
        if state.bad_samples is not None:
            self.bad_samples.restore(state.bad_samples)
        self.position = state.position
        check_finite_model(self.result, folder)


def _instead(run: RunDirectory) -> str:
    """What can be done with a run whose last checkpoint is damaged."""
    if run.has_checkpoint("best"):
        return (
            f"The run cannot be resumed; `taskprism evaluate {run.place} --checkpoint best` scores "
            "its best weights. Start a new run in another --out to train further."
        )
    return "The run cannot be resumed. Start a new one in another --out."


def _add_up(values: Tensor) -> Tensor:
    """Sum over all processes."""
    total = values.clone()
    dist.all_reduce(total)
    return total


_MESSAGE = 2**23  # numbers in one message to other processes


def average_gradients(parameters: Iterable[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace every gradient by its mean over processes, in few messages.

    All processes must have gradients of the same parameters.
    """
    if accelerator.num_processes == 1:
        return
    gradients = [each.grad for each in parameters if each.grad is not None]
    while gradients:
        bucket = [gradients.pop(0)]
        while gradients and sum(map(Tensor.numel, bucket)) + gradients[0].numel() <= _MESSAGE:
            bucket.append(gradients.pop(0))
        flat = torch.cat([each.flatten() for each in bucket])
        dist.all_reduce(flat)
        means = (flat / accelerator.num_processes).split([each.numel() for each in bucket])
        for each, mean in zip(bucket, means, strict=True):
            each.copy_(mean.view_as(each))


def place_model(model: MultiTaskModel, device: torch.device) -> MultiTaskModel:
    """Move a model to a device, in the memory layout in which it is trained and scored.

    Convolutions on a CPU take a third less time in this layout; values and shapes stay.
    """
    layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    return model.to(device).to(memory_format=layout)


def check_finite(model: nn.Module) -> None:
    """Check that all weights are finite.

    Raises:
        DivergenceError: A parameter or buffer is NaN or infinite.
    """
    for name, values in model.state_dict().items():
        if values.is_floating_point() and not torch.isfinite(values).all():
            raise DivergenceError(
                f"The weights {name!r} are no longer finite, so they are not saved; the last "
                "checkpoint is still finite. Lower optimizer.lr or set clip_norm."
            )


def create_average(model: nn.Module, decay: float) -> AveragedModel:
    """Copy of ``model`` whose ``update_parameters(model)`` keeps an exponential moving average.

    After the first update it equals the model, then ``average = decay * average + (1 - decay) *
    weights``. Buffers (running statistics of normalization) are those of the model itself.
    """
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
