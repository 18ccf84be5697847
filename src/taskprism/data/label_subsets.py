"""Training with fewer labels: one label per image, a random subset, or a published choice."""

from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from taskprism.checks import check_integer
from taskprism.data.protocol import SizedDataset, Transform
from taskprism.data.sample import Sample
from taskprism.errors import DataError, InputError

#: Choices of labels that need no file.
LABEL_CHOICES = ("all", "one", "random")
_KEY = "labels_weights"  # of the published files


class LabelSubset(Dataset[Sample]):
    """Samples of a data set with some of their labels.

    Which labels an image keeps depends on ``seed`` and the name of the image only: it is the same
    in every epoch, run and process.

    Args:
        dataset: Samples by number, without augmentation, so that ``transform`` sees what is kept.
        labels: ``"all"``; ``"one"``: one label of each image, each as likely as the others;
            ``"random"``: a random subset of each image's labels, at least one; or the path of a
            file that :func:`read_label_choice` reads.
        tasks: Names of the tasks to choose from; labels of other tasks are removed. In the order
            of the columns of the file, if ``labels`` is one.
        seed: Of the choice.
        transform: Applied last.

    Raises:
        InputError: ``labels`` is none of these, or ``seed`` is negative.
        DataError: The file cannot be read, or does not fit the data set and the tasks.

    Example:
        >>> from taskprism.data import LabelSubset, create_protocol
        >>> rooms = create_protocol("rooms", input_size=(32, 32), train_length=2)
        >>> names = ["depth", "edge", "normals"]
        >>> samples = LabelSubset(rooms.dataset("train"), "one", names)
        >>> [len(sample["targets"]) for sample in samples]
        [1, 1]
    """

    def __init__(
        self,
        dataset: SizedDataset,
        labels: str | Path,
        tasks: Sequence[str],
        seed: int = 0,
        transform: Transform | None = None,
    ) -> None:
        self.dataset = dataset
        self.labels = str(labels)
        self.tasks = list(tasks)
        self.seed = check_integer("LabelSubset", "seed", seed, 0)
        self.transform = transform
        self._kept: Tensor | None = None
        if self.labels not in LABEL_CHOICES:
            self._kept = read_label_choice(self.labels)
            rows, columns = self._kept.shape
            if (rows, columns) != (len(dataset), len(self.tasks)):
                raise DataError(
                    f"{self.labels} chooses among {columns} labels of {rows} images, but there are "
                    f"{len(dataset)} training images and {len(self.tasks)} tasks "
                    f"({', '.join(self.tasks)}). Name the tasks of its columns in "
                    "data.labels_tasks, and use the images that it was made for."
                )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        kept = self._choose(index, sample)
        targets = {name: sample["targets"][name] for name in kept}
        valid = {name: sample["valid"][name] for name in kept}
        sample = cast(Sample, {**sample, "targets": targets, "valid": valid})
        return sample if self.transform is None else self.transform(sample)

    def _choose(self, index: int, sample: Sample) -> list[str]:
        """Names of the labels that an image keeps."""
        found = [name for name in self.tasks if name in sample["targets"]]
        if self._kept is not None:
            chosen = self._kept[index].tolist()
            return [n for n, keep in zip(self.tasks, chosen, strict=True) if keep and n in found]
        if self.labels == "all" or len(found) < 2:
            return found
        text = f"{self.seed}/labels/{sample['name']}"
        draws = random.Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
        if self.labels == "one":
            return [draws.choice(found)]
        numbers = draws.randrange(1, 2 ** len(found))  # every subset but the empty one
        return [name for bit, name in enumerate(found) if numbers >> bit & 1]


def read_label_choice(path: str | Path) -> Tensor:
    """Which labels to keep, ``(images, tasks)`` boolean, from a published file.

    Args:
        path: A PyTorch file (``onelabel.pth``, ``randomlabels.pth`` of MTPSL) that holds a tensor
            of zeros and ones ``[images, tasks]``, alone or under the key ``labels_weights``; or a
            NumPy file (``.npy``) of such an array. No code in the file is run.

    Raises:
        InputError: There is no such file.
        DataError: It cannot be read, or holds something else.

    Example:
        >>> import tempfile
        >>> import torch
        >>> file = tempfile.mkdtemp() + "/onelabel.pth"
        >>> torch.save({"labels_weights": torch.eye(3)}, file)
        >>> read_label_choice(file).sum(dim=1).tolist()
        [1, 1, 1]
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"data.labels must be {', '.join(LABEL_CHOICES)} or the path of a file; there is no "
            f"file {str(path)!r}."
        )
    try:
        if file.suffix == ".npy":
            content = torch.from_numpy(np.load(file, allow_pickle=False))
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{file} cannot be read: {str(error).splitlines()[0] if str(error) else error!r}. "
            f"Expected a tensor of zeros and ones [images, tasks] (key {_KEY!r}), or an .npy array."
        ) from error
    if isinstance(content, dict):
        content = content.get(_KEY)
    if isinstance(content, np.ndarray):
        content = torch.from_numpy(content)
    is_choice = (
        isinstance(content, Tensor)
        and content.ndim == 2
        and bool(((content == 0) | (content == 1)).all())
    )
    if not is_choice:
        raise DataError(
            f"{file} does not say which labels to keep. Expected a tensor of zeros and ones "
            f"[images, tasks], alone or under the key {_KEY!r}."
        )
    return cast(Tensor, content).bool()
