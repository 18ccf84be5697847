"""Trained runs with the images that they were scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from taskprism.data.protocol import Protocol, SizedDataset, Split
from taskprism.errors import InputError
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import load
from taskprism.scoring.evaluation import evenly_spaced
from taskprism.training.experiment import saved_protocol
from taskprism.training.run_directory import RunDirectory


@dataclass(frozen=True)
class RunImages:
    """A run's network, its protocol, and a split of it as the network sees it.

    Attributes:
        name: Of the run, as its recipe gives it.
        model: After the last epoch, in evaluation mode.
        protocol: As the recipe says.
        split: Which images.
        dataset: These images.
    """

    name: str
    model: MultiTaskModel
    protocol: Protocol
    split: Split
    dataset: SizedDataset

    @classmethod
    def open(
        cls,
        run_dir: str | Path,
        split: Split | None = None,
        root: Path | None = None,
        device: str | None = None,
    ) -> RunImages:
        """Load a run.

        Args:
            run_dir: A run directory.
            split: Which images; by default those on which the run is scored.
            root: Folder of the data, if it is no longer where the recipe says.
            device: Where the model goes; by default a GPU if there is one.

        Raises:
            CheckpointError: This is no run directory with a last checkpoint.
            InputError: The protocol has no such split.
            DataError: The data are gone.
        """
        run = RunDirectory(run_dir)
        recipe = run.recipe()
        folder = run.find_checkpoint("last")
        protocol = saved_protocol(recipe, run.path, root)
        split = protocol.scored_split if split is None else split
        protocol.check_split(split)
        dataset = protocol.dataset(split, protocol.evaluation_transform())
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(recipe.name, load(folder, device), protocol, split, dataset)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.dataset)

    def choose(self, count: int, names: Sequence[str] = ()) -> list[int]:
        """Indices of the images of these names, or of ``count`` images spread over the split.

        Raises:
            InputError: There is no image of such a name.
        """
        if not names:
            return evenly_spaced(len(self), count)
        found: dict[str, int] = {}
        for index in range(len(self)):
            if len(found) == len(set(names)):
                break
            name = self.dataset[index]["name"]
            if name in names:
                found[name] = index
        missing = [name for name in names if name not in found]
        if missing:
            raise InputError(
                f"{self.protocol.name} {self.split} has no image {', '.join(missing)}; the first "
                f"is called {self.dataset[0]['name']!r}."
            )
        return [found[name] for name in names]

    def image(self, index: int) -> Tensor:
        """Image ``(3, H, W)`` in [0, 1] as a plain tensor."""
        return self.dataset[index]["image"].as_subclass(Tensor)
