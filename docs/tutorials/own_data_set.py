"""Your own data set in Python: images of discs with class and depth."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

import taskprism
from taskprism.data import Protocol, Sample, Split, Transform
from taskprism.tasks import (
    ClassMap,
    Depth,
    DepthMap,
    SemanticSegmentation,
    Task,
    ValidMask,
)


class Discs(Dataset):
    """Images with one bright disc, which is class 1 and 1 m away; the ground is 2 m away."""

    def __init__(self, seeds: range, transform: Transform | None) -> None:
        self.seeds = seeds
        self.transform = transform

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(self.seeds[index])
        row, column = rng.uniform(16, 48, 2)
        rows, columns = np.mgrid[:64, :64]
        disc = torch.from_numpy((rows - row) ** 2 + (columns - column) ** 2 < 144)[None]
        image = disc * 0.6 + 0.2 + torch.from_numpy(rng.normal(0, 0.05, (3, 64, 64)))
        valid = ValidMask(torch.ones_like(disc))
        sample = Sample(
            name=f"disc{self.seeds[index]}",
            image=tv_tensors.Image(image.clamp(0, 1).float()),
            targets={"semseg": ClassMap(disc.long()), "depth": DepthMap(2 - disc.float())},
            valid={"semseg": valid, "depth": valid},
        )
        return self.transform(sample) if self.transform else sample


@taskprism.register_protocol
@dataclass(frozen=True, kw_only=True)
class DiscsProtocol(Protocol):
    """Discs on a plain ground."""

    name: str = "tutorial_discs"
    tasks: tuple[Task, ...] = (
        SemanticSegmentation(channels=2, class_names=("ground", "disc")),
        Depth(),
    )
    input_size: tuple[int, int] = (64, 64)
    license: str = "Apache-2.0"

    def dataset(self, split: Split, transform: Transform | None = None) -> Discs:
        self.check_split(split)
        return Discs(range(8) if split == "train" else range(100, 104), transform)


if __name__ == "__main__":
    import tempfile
    from pathlib import Path

    from taskprism.training import Recipe, train

    protocol = DiscsProtocol()
    model = taskprism.create_model("multi_task", protocol.tasks, backbone="test_resnet")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(Recipe(epochs=1), run, protocol=protocol, model=model)
        print((run / "metrics.json").read_text()[:200])
