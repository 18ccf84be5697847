"""What a checkpoint holds beside the model: everything that the next step depends on."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch

from taskprism.errors import CheckpointError

STATE_FILE = "training_state.pt"


@dataclass
class Position:
    """How far a run is.

    Attributes:
        epoch: Finished epochs.
        batch: Batches done of the epoch after those.
        step: Optimizer steps since the start.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0


@dataclass
class TrainingState:
    """Contents of ``training_state.pt``; plain values and tensors only.

    There is no state of random generators: every random number is seeded by its place in the run
    (:mod:`taskprism.training.randomness`).

    Attributes:
        position: How far the run is.
        optimizer: Its ``state_dict``.
        meter: Losses of the unfinished epoch.
        selection: What the best evaluation is compared by.
        log_length: Lines of the log that belong to finished work.
        weights: Of the model in training, where the checkpoint's model is their moving average.
        average: ``state_dict`` of the moving average, where there is one.
        scaler: ``state_dict`` of the gradient scaler of fp16, where there is one.
        adversary: ``state_dict`` of the discriminator of gradients, where there is one.
    """

    position: Position
    optimizer: dict[str, Any]
    meter: dict[str, Any]
    selection: dict[str, Any]
    log_length: int
    weights: dict[str, Any] | None = None
    average: dict[str, Any] | None = None
    scaler: dict[str, Any] | None = None
    adversary: dict[str, Any] | None = None

    def save(self, folder: Path) -> None:
        """Write into a checkpoint's folder."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        torch.save({**fields, "position": asdict(self.position)}, folder / STATE_FILE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read from a checkpoint's folder; no code in the file is run.

        Raises:
            CheckpointError: The file is missing or broken.
        """
        file = folder / STATE_FILE
        try:
            content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            content["position"] = Position(**content["position"])
            return cls(**content)
        except (OSError, RuntimeError, EOFError, TypeError, KeyError, pickle.PickleError) as error:
            raise CheckpointError(
                f"{file} cannot be read ({error}). The run cannot be resumed from it; start a new "
                "one in another --out."
            ) from error
