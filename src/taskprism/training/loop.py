"""The training loop."""

from __future__ import annotations

import time
from contextlib import nullcontext

import torch
from accelerate import Accelerator

from taskprism.data.protocol import Split
from taskprism.data.sample import Batch
from taskprism.errors import DivergenceError
from taskprism.progress import Reporter
from taskprism.scoring.evaluation import Results, describe, flat, score, split_loader
from taskprism.scoring.image_states import ImageStateRecorder, ImageStates
from taskprism.training.adversarial import reversal_strength
from taskprism.training.experiment import Experiment
from taskprism.training.feeding import EpochOrder, TrainingFeed
from taskprism.training.interrupt import StopRequest
from taskprism.training.learner import Learner, check_finite
from taskprism.training.meter import LossMeter
from taskprism.training.network import Losses
from taskprism.training.optimizers import set_learning_rate
from taskprism.training.randomness import derive_seed
from taskprism.training.run_directory import RunDirectory
from taskprism.training.schedules import learning_rate_factor
from taskprism.training.state import Position
from taskprism.training.stepping import joined, turns


class Stopped(Exception):
    """The user asked to stop, and the run is where it can go on from."""


class Trainer:
    """Trains one model as its recipe says, and can stop and go on anywhere between two steps.

    Args:
        experiment: What to train on what.
        run: Where everything is written.
        accelerator: Devices, processes, precision.
        reporter: Progress for people.
        stop: Becomes true when the user wants to stop.
    """

    def __init__(
        self,
        experiment: Experiment,
        run: RunDirectory,
        accelerator: Accelerator,
        reporter: Reporter,
        stop: StopRequest,
    ) -> None:
        self.recipe = experiment.recipe
        self.protocol = experiment.protocol
        self.run = run
        self.accelerator = accelerator
        self.reporter = reporter
        self.stop = stop
        train = self.protocol.dataset("train", self.protocol.train_transform())
        self.order = EpochOrder(
            len(train),
            self.recipe.data.batch_size,
            self.recipe.seed,
            accelerator.process_index,
            accelerator.num_processes,
        )
        self.feed = TrainingFeed(train, experiment.tasks, self.order, self.recipe.data.workers)
        self.learner = Learner(experiment, accelerator)
        self.latest: tuple[Split, Results] | None = None  # scores of the weights as they are now
        self.image_states: ImageStates | None = None  # of these weights on the test images

    @property
    def selection_split(self) -> Split:
        """Where the best epoch is chosen: validation images, or test images where none exist."""
        return "val" if "val" in self.protocol.splits else "test"

    def train(self) -> None:
        """Train from the current position to the last epoch.

        Raises:
            Stopped: The user asked for it; everything is saved.
            DivergenceError: A loss or weight is no longer finite.
            CheckpointError: Something could not be written.
        """
        try:
            while self.learner.position.epoch < self.recipe.epochs:
                started = time.monotonic()
                self._epoch()
                self._finish_epoch(started)
            return
        except Stopped:
            pass  # left here, so that the frames below, and the loaders they hold, are gone
        self.learner.save(self.run, "last")
        raise Stopped

    def _epoch(self) -> None:
        """Go through the images once, or through what a stopped run left of them."""
        position, group = self.learner.position, self.recipe.accumulate
        batches, start = len(self.order), position.batch
        fed = self.feed.epoch(position.epoch, start)
        title = f"epoch {position.epoch + 1}/{self.recipe.epochs}"
        self.learner.network.train()
        self.learner.optimizer.zero_grad()
        for number, batch in enumerate(self.reporter.track(fed, title, batches, start), start):
            group_start = number - number % group
            group_size = min(group, batches - group_start)
            is_last = number + 1 == group_start + group_size
            self._descend(batch, number, group_size, is_last)
            if is_last:  # between two groups nothing is pending, so the run can stop here
                position.batch = number + 1
                self._stop_if_asked()

    def _descend(self, batch: Batch, number: int, group_size: int, is_last: bool) -> None:
        """One batch: forward, the backward pass, and the optimizer's step at the end of a group.

        Once for all tasks together, or for one after the other.
        """
        recipe, learner, accelerator = self.recipe, self.learner, self.accelerator
        epoch, rank = learner.position.epoch, accelerator.process_index
        torch.manual_seed(derive_seed(recipe.seed, "step", epoch, number, rank))  # for dropout
        batch = batch.to(accelerator.device)
        reversal = reversal_strength(epoch, recipe.epochs)
        done: list[Losses] = []
        for tasks in turns(recipe, learner.model, batch, accelerator):
            # Gradients of several processes are averaged once per group.
            with nullcontext() if is_last else accelerator.no_sync(learner.network):
                losses: Losses = learner.network(
                    batch.images, batch.targets, batch.valid, tasks, reversal
                )
                _check_losses(losses, batch)
                accelerator.backward(losses["total"] / group_size)
            done.append(losses)
            if is_last:
                self._step(number)
        if done:
            learner.meter.add(joined(done, learner.model), batch.valid, accelerator)
        if is_last and learner.average is not None:
            learner.average.update_parameters(learner.model)

    def _step(self, number: int) -> None:
        """Let the optimizer follow the gradients; parameters that have none stay as they are."""
        recipe, learner = self.recipe, self.learner
        if recipe.clip_norm is not None:
            self.accelerator.clip_grad_norm_(learner.network.parameters(), recipe.clip_norm)
        set_learning_rate(learner.optimizer, self._rate_factor(number // recipe.accumulate))
        learner.optimizer.step()
        learner.optimizer.zero_grad()  # sets gradients to None: not even momentum moves the others
        learner.position.step += 1

    def _rate_factor(self, step: int) -> float:
        steps = -(-len(self.order) // self.recipe.accumulate)
        epoch = self.learner.position.epoch
        return learning_rate_factor(self.recipe.schedule, self.recipe.epochs, epoch, step, steps)

    def _finish_epoch(self, started: float) -> None:
        """Evaluate where it is due, log, and save."""
        learner = self.learner
        learner.share_buffers()
        check_finite(learner.result)
        epoch = learner.position.epoch + 1
        due = epoch % self.recipe.evaluate_every == 0 or epoch == self.recipe.epochs
        seconds = time.monotonic() - started
        split, is_last = self.selection_split, epoch == self.recipe.epochs
        self.latest = (split, self.evaluate(split, is_last)) if due else None
        learner.position = Position(epoch, 0, learner.position.step)
        self._log(seconds)
        learner.meter = LossMeter()
        if self.latest is not None and learner.selection.improves(self.latest[1], epoch):
            learner.save(self.run, "best")
        learner.save(self.run, "last")

    def evaluate(self, split: Split, is_last: bool = False) -> Results:
        """Metrics of the result model over a split.

        Args:
            split: Which images.
            is_last: Training is over, so that states of the single test images are kept as well.

        Raises:
            Stopped: The user asked for it.
        """
        data, accelerator, model = self.recipe.data, self.accelerator, self.learner.result
        place = accelerator.process_index, accelerator.num_processes
        loader = split_loader(self.protocol, split, model, data.batch_size, data.workers, *place)
        batches = self.reporter.track(loader, f"scoring {split}")
        # Shares of processes differ in length, so that only a single one can stop amid them.
        check = self._stop_if_asked if accelerator.num_processes == 1 else None
        recorder = ImageStateRecorder(model.tasks) if is_last and split == "test" else None
        results = score(model, batches, accelerator.device, accelerator.autocast, check, recorder)
        self.image_states = recorder.gathered() if recorder is not None else None
        return results

    def _log(self, seconds: float) -> None:
        """Tell the log, the trackers and the user about the epoch that just ended."""
        position, meter = self.learner.position, self.learner.meter
        final, initial = meter.means("final"), meter.means("initial")
        losses = {**initial, **final}
        rate = self.learner.optimizer.param_groups[-1]["lr"]
        tracked = {"loss/total": meter.total, "lr": rate}
        tracked |= {f"loss/{name}": loss for name, loss in losses.items()}
        words = [f"epoch {position.epoch}/{self.recipe.epochs}", f"loss {meter.total:.4g}"]
        words += [f"{name} {loss:.4g}" for name, loss in final.items()]
        self.reporter.line("  ".join([*words, f"({seconds:.1f} s)"]))
        extra = meter.means("adversarial")
        entries = [
            {"event": "train", "lr": rate, "total": meter.total, "losses": losses}
            | {"initial_losses": initial, "seconds": round(seconds, 3)}
            | ({"adversarial_losses": extra} if extra else {})
        ]
        if self.latest is not None:
            split, results = self.latest
            tracked |= flat(results, (split,))
            line = describe(results, self.learner.model)
            self.reporter.line(f"  {self.protocol.name} {split}: {line}")
            entries.append({"event": "evaluate", "split": split, "metrics": results})
        if self.accelerator.is_main_process:
            for entry in entries:
                place = {"epoch": position.epoch, "step": position.step}
                self.run.log.append({"event": entry.pop("event"), **place, **entry})
        self.accelerator.log(tracked, step=position.step)

    def _stop_if_asked(self) -> None:
        """Stop together: a signal may reach processes at different steps."""
        asked = bool(self.stop)
        if self.accelerator.num_processes > 1:
            flag = torch.tensor(float(asked), device=self.accelerator.device)
            asked = bool(self.accelerator.reduce(flag, "sum").item())
        if asked:
            raise Stopped


def _check_losses(losses: Losses, batch: Batch) -> None:
    if torch.isfinite(losses["total"]):
        return
    parts = {**losses["initial"], **losses["final"]}
    bad = [name for name, loss in parts.items() if not torch.isfinite(loss)] or list(parts)
    raise DivergenceError(
        f"The loss is {losses['total'].item()} for task(s) {', '.join(bad)} on the images "
        f"{', '.join(batch.names)}. Nothing was saved since the last checkpoint. Check these "
        "labels, lower optimizer.lr, or set clip_norm."
    )
