"""What a run trains: network, optimizer, moving average and position, with their checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
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
from taskprism.backbones import set_trainable
from taskprism.data.sample import Batch
from taskprism.errors import CheckpointError, DivergenceError, InputError
from taskprism.layers import synchronize_batch_norm
from taskprism.losses import GradientBalancing
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import (
    all_finite,
    check_finite_model,
    load_image_statistics,
    load_weights,
)
from taskprism.progress import Reporter
from taskprism.recipes.schema import BackboneSettings
from taskprism.scoring.selection import Selection
from taskprism.training.bad_samples import BadSamples
from taskprism.training.callbacks import Callback, callback_states, restore_callbacks
from taskprism.training.compiling import compile_model
from taskprism.training.experiment import Experiment
from taskprism.training.optimizers import (
    create_optimizer,
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
    check_sharding,
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
    rate_factors,
)


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
        callbacks: Called by the loop; their states are saved.
        ended: Why training ended before the last epoch; None if it did not.
        label_statistics: Sums over the training labels, for tasks whose loss needs them.
    """

    def __init__(
        self, experiment: Experiment, accelerator: Accelerator, reporter: Reporter
    ) -> None:
        recipe = experiment.recipe
        self.accelerator = accelerator
        experiment.model.check_input_size(experiment.protocol.input_size)
        if recipe.backbone != BackboneSettings():  # what you froze yourself stays frozen
            part, keeps_statistics = recipe.backbone.trainable, recipe.backbone.freeze_batch_norm
            set_trainable(experiment.model, part, keeps_statistics)
        # FSDP needs parameters in the usual memory layout.
        self.model = (
            experiment.model.to(accelerator.device)
            if recipe.fsdp
            else place_model(experiment.model, accelerator.device)
        )
        if recipe.sync_batch_norm and accelerator.num_processes > 1:
            synchronize_batch_norm(self.model)
        compile_model(self.model, recipe, accelerator.device)
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
        self.callbacks: list[Callback] = []
        self.unknown_callbacks: list[str] = []
        self.ended: str | None = None
        self.label_statistics: dict[str, Tensor] = {}

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
        notes += [
            f"The checkpoint has the state of the callback {key}, which is not given."
            for key in self.unknown_callbacks
        ]
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
            callbacks=callback_states(self.callbacks),
            ended=self.ended,
            label_statistics=self.label_statistics or None,
        )

    def _load(self, state: TrainingState, folder: Path) -> None:
        if self.average is not None and state.average is not None and state.weights is not None:
            self.model.load_state_dict(state.weights)
            self.average.load_state_dict(state.average)
            for model in (self.model, self.average.module):
                load_image_statistics(model, folder)
        elif self.sharded is None:
            load_weights(self.model, folder)
        else:
            load_weights(self.sharded.whole, folder)
            load_image_statistics(self.model, folder)
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
        self.label_statistics = state.label_statistics or {}
        self.unknown_callbacks = restore_callbacks(self.callbacks, state.callbacks or {})
        self.ended = state.ended
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
        if values.is_floating_point() and not all_finite(values):
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
