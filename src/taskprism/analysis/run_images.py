"""Trained runs and the images that they were scored on."""

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
    """The network of a run, its protocol, and a split prepared for the network.

    Attributes:
        name: Name of the run in its recipe.
        model: Network after the last epoch, in evaluation mode.
        protocol: Protocol of the recipe.
        split: Split of the images.
        dataset: Images of the split.

    Example:
        >>> images = RunImages.open("runs/mti_net", "test")  # doctest: +SKIP
        >>> images.image(0).shape  # doctest: +SKIP
        torch.Size([3, 144, 192])
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
        root: str | Path | None = None,
        device: str | None = None,
    ) -> RunImages:
        """Load a run.

        Args:
            run_dir: A run directory.
            split: Split of the images; by default the split on which the run is scored.
            root: Folder of the data, if it has moved since training.
            device: Device of the model; by default a GPU if there is one.

        Raises:
            CheckpointError: ``run_dir`` is not a run directory with a last checkpoint.
            InputError: The protocol has no such split.
            DataError: The data are missing.
        """
        run = RunDirectory(run_dir)
        run.fetch()
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
        """Indices of the images with the given names, or of ``count`` images across the split.

        Raises:
            InputError: There is no image with such a name.
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
                f"{self.protocol.name} {self.split} has no image {', '.join(missing)}. The first "
                f"image is {self.dataset[0]['name']!r}."
            )
        return [found[name] for name in names]

    def image(self, index: int) -> Tensor:
        """Image ``(3, H, W)`` in [0, 1] as a plain tensor."""
        return self.dataset[index]["image"].as_subclass(Tensor)
