"""Everything that changes while a network learns, and its way to disk and back."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from safetensors.torch import load_model
from torch import nn

from taskprism.atomic import write_folder
from taskprism.errors import DivergenceError
from taskprism.models.base import MultiTaskModel
from taskprism.scoring.selection import Selection
from taskprism.training.ema import create_average
from taskprism.training.experiment import Experiment
from taskprism.training.meter import LossMeter
from taskprism.training.network import LossNetwork
from taskprism.training.optimizers import create_optimizer
from taskprism.training.run_directory import CheckpointName, RunDirectory
from taskprism.training.state import Position, TrainingState
from taskprism.training.stepping import create_adversary, rate_factors


class Learner:
    """A network with its optimizer, moving average and place in the run.

    Args:
        experiment: Model and settings.
        accelerator: Prepares network and optimizer for devices and precision.

    Attributes:
        model: The bare model, in training.
        network: Model, criterion and adversary, wrapped for devices and processes.
        adversary: Discriminator of gradients, or None; no part of what is saved as a model.
        optimizer: Over all of it.
        average: Moving average of the model, or None.
        position: How far the run is.
        meter: Losses of the current epoch.
        selection: What the best evaluation is compared by.
    """

    def __init__(self, experiment: Experiment, accelerator: Accelerator) -> None:
        recipe = experiment.recipe
        self.accelerator = accelerator
        # Convolutions on a CPU take a third less time in this layout; values and shapes stay.
        on_cpu = accelerator.device.type == "cpu"
        layout = torch.channels_last if on_cpu else torch.contiguous_format
        placed = experiment.model.to(accelerator.device)
        self.model: MultiTaskModel = placed.to(memory_format=layout)
        self.adversary = create_adversary(recipe, self.model)
        network = LossNetwork(self.model, experiment.criterion(), self.adversary)
        factors = rate_factors(recipe, self.model, self.adversary)
        optimizer = create_optimizer(network, recipe.optimizer, factors)
        self.network, self.optimizer = accelerator.prepare(network, optimizer)
        decay = recipe.ema_decay
        self.average = create_average(self.model, decay) if decay is not None else None
        self.position = Position()
        self.meter = LossMeter()
        self.selection = Selection(self.model.tasks)

    @property
    def result(self) -> MultiTaskModel:
        """What is evaluated and saved: the moving average where there is one."""
        averaged = self.average.module if self.average is not None else self.model
        assert isinstance(averaged, MultiTaskModel)
        return averaged

    def share_buffers(self) -> None:
        """Give all processes the first one's running statistics, which the checkpoint holds."""
        if self.accelerator.num_processes > 1:
            for buffer in self.result.buffers():
                buffer.copy_(broadcast(buffer))

    def save(self, run: RunDirectory, name: CheckpointName) -> None:
        """Write a checkpoint; ``last`` holds what :meth:`restore` needs.

        Raises:
            CheckpointError: Writing failed; the previous checkpoint is untouched.
            DivergenceError: The weights are no longer finite; likewise.
        """
        if not self.accelerator.is_main_process:
            return
        check_finite(self.result)

        def fill(folder: Path) -> None:
            self.result.save_pretrained(folder)
            if name == "last":
                self._state(len(run.log)).save(folder)

        write_folder(run.checkpoint(name), fill)

    def restore(self, run: RunDirectory) -> None:
        """Go on from the last checkpoint; without one, from the start.

        The log forgets what the checkpoint does not know of.

        Raises:
            CheckpointError: The checkpoint is broken.
        """
        log_length = 0
        if run.has_checkpoint("last"):
            folder = run.find_checkpoint("last")
            state = TrainingState.load(folder)
            self._load(state, folder)
            log_length = state.log_length
        if self.accelerator.is_main_process:
            run.log.truncate(log_length)

    def _state(self, log_length: int) -> TrainingState:
        scaler = self.accelerator.scaler
        return TrainingState(
            position=self.position,
            optimizer=self.optimizer.state_dict(),
            meter=self.meter.state(),
            selection=self.selection.state(),
            log_length=log_length,
            weights=self.model.state_dict() if self.average is not None else None,
            average=self.average.state_dict() if self.average is not None else None,
            scaler=scaler.state_dict() if scaler is not None else None,
            adversary=self.adversary.state_dict() if self.adversary is not None else None,
        )

    def _load(self, state: TrainingState, folder: Path) -> None:
        if self.average is not None and state.average is not None and state.weights is not None:
            self.model.load_state_dict(state.weights)
            self.average.load_state_dict(state.average)
        else:
            load_model(self.model, folder / "model.safetensors")
        if self.accelerator.scaler is not None and state.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.scaler)
        if self.adversary is not None and state.adversary is not None:
            self.adversary.load_state_dict(state.adversary)
        self.optimizer.load_state_dict(state.optimizer)
        self.meter.restore(state.meter)
        self.selection.restore(state.selection)
        self.position = state.position


def check_finite(model: nn.Module) -> None:
    """Refuse weights that no run could go on from.

    Raises:
        DivergenceError: A parameter or buffer is NaN or infinite.
    """
    for name, values in model.state_dict().items():
        if values.is_floating_point() and not torch.isfinite(values).all():
            raise DivergenceError(
                f"The weights {name!r} are no longer finite, so they are not saved; the last "
                "checkpoint is from before. Lower optimizer.lr or set clip_norm."
            )
