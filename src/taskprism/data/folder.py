"""A folder of labeled images, described by one YAML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from taskprism.data import transforms
from taskprism.data.augmentation import AugmentationSteps
from taskprism.data.encoding import TargetDecoder
from taskprism.data.files import Orientation, exif_orientation, read_image, read_stored
from taskprism.data.folder_config import Augmentation, Fit, FolderConfig, TaskConfig, load_config
from taskprism.data.folder_files import FolderFiles
from taskprism.data.protocol import ExtraChannel, Protocol, SizedDataset, Split, Transform
from taskprism.data.sample import Sample
from taskprism.errors import DataError, TaskprismError
from taskprism.stores.paths import AnyPath, as_path, is_url
from taskprism.tasks import Task, create_task
from taskprism.tasks.statistics import count_files, shown_names
from taskprism.tasks.target import DenseTarget, ValidMask


class MemoryCache(Dataset[Sample]):
    """Samples of ``dataset`` after ``prepare``, kept in memory, and then ``transform``.

    At 192 x 256 a sample with five labels takes about 2 MB. Each loader process keeps its own.

    Args:
        dataset: Samples by number, without randomness.
        prepare: A deterministic transform to a smaller size, such as ``Resize``.
        transform: Applied at every access; may be random.

    Example:
        >>> samples = [{"name": "a", "targets": {}, "valid": {}}]
        >>> cached = MemoryCache(samples, prepare=lambda sample: sample)
        >>> cached[0]["name"], len(cached)
        ('a', 1)
    """

    def __init__(
        self,
        dataset: SizedDataset,
        prepare: Transform,
        transform: Transform | None = None,
    ) -> None:
        self.dataset = dataset
        self.prepare = prepare
        self.transform = transform
        self._kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        if index not in self._kept:
            self._kept[index] = self.prepare(self.dataset[index])
        kept = self._kept[index]
        # Transforms make new tensors; the dictionaries are copied so that none can change the kept.
        sample = cast(
            Sample, {**kept, "targets": dict(kept["targets"]), "valid": dict(kept["valid"])}
        )
        return self.transform(sample) if self.transform is not None else sample


def fit_to(size: tuple[int, int], fit: Fit) -> Transform:
    """Transform to ``size``: stretch as in the papers, or pad, which keeps the aspect ratio."""
    return transforms.Resize(size) if fit == "stretch" else transforms.ResizeAndPad(size)


def training_transform(size: tuple[int, int], fit: Fit, augmentation: Augmentation) -> Transform:
    """Fit to ``size``, then augment, so that the random part processes fewer pixels.

    A list of steps is applied to the sample at its own size, and the result fitted to ``size``.
    """
    if augmentation.transforms:
        return AugmentationSteps(augmentation.transforms, fit_to(size, fit), size)
    return transforms.Compose([fit_to(size, fit), *augmentation.steps()])


_SAME_SHAPE = (2, 3, 4)  # EXIF tags that mirror or turn upside down


class FolderDataset(Dataset[Sample]):
    """Images and labels of some names, at their own size, after ``transform``.

    If a label file does not exist, the image has no label for the task.
    """

    def __init__(
        self,
        files: FolderFiles,
        names: Sequence[str],
        decoders: Mapping[str, TargetDecoder],
        transform: Transform | None = None,
    ) -> None:
        self.files = files
        self.names = list(names)
        self.decoders = dict(decoders)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]
        image = self._image(name)
        targets: dict[str, DenseTarget] = {}
        valid: dict[str, ValidMask] = {}
        for task, decoder in self.decoders.items():
            path = self.files.label(task, name)
            if not self.files.exists(path):
                continue
            targets[task], valid[task] = decoder(path, self.files.confidence(task, name))
            if targets[task].shape[-2:] != image.shape[-2:]:
                raise DataError(
                    f"{path} is {_size(targets[task])} pixels (width x height), but its image "
                    f"{self.files.image(name)} is {_size(image)}. {self._advice(name, task)}"
                )
        sample = Sample(name=name, image=image, targets=targets, valid=valid)
        if self.files.config.loss_weight != 1:
            sample["weight"] = self.files.config.loss_weight
        return self.transform(sample) if self.transform is not None else sample

    def _image(self, name: str) -> tv_tensors.Image:
        """RGB, and the further channels of ``inputs``."""
        rgb = read_image(self.files.image(name), self.files.config.orientation)
        if not self.files.config.inputs:
            return rgb
        maps = [rgb.as_subclass(Tensor)]
        for key, config in self.files.config.inputs.items():
            path = self.files.input(key, name)
            stored = read_stored(path, config.key, self.files.config.orientation).values
            values = stored[..., None] if stored.ndim == 2 else stored
            if config.layout == "chw" and stored.ndim == 3:
                values = np.moveaxis(values, 0, -1)
            expected = (*rgb.shape[-2:], config.channels)
            if values.shape != expected:
                raise DataError(
                    f"{path} has the shape {values.shape}, but inputs.{key} of "
                    f"{self.files.source} needs {expected} (height, width, channels): the size of "
                    f"the image {self.files.image(name)} and the key 'channels'."
                )
            scaled = values.astype(np.float32) * config.scale + config.offset
            finite = np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
            maps.append(torch.from_numpy(finite).movedim(-1, 0))
        return tv_tensors.Image(torch.cat(maps))

    def stored(self, task: str) -> str:
        """What the first label file of a task is: ``"16-bit grayscale PNG"``; else ``""``."""
        for name in self.names:
            path = self.files.label(task, name)
            if self.files.exists(path):
                return read_stored(path, self.decoders[task].config.encoding.key).description
        return ""

    def doubts(self, names: Sequence[str]) -> list[str]:
        """What is implausible about the stored numbers of the images of these names."""
        found = self._turned(names)
        for task, decoder in self.decoders.items():
            paths = ((name, self.files.label(task, name)) for name in names)
            labels = {name: path for name, path in paths if self.files.exists(path)}
            odd = [name for name, path in labels.items() if decoder.is_off_unit(path)]
            if odd:
                found.append(
                    f"{task}: {count_files(odd)} have vectors that are not of unit length before "
                    f"they are normalized. Check tasks.{task}.encoding.scale and offset, and list "
                    f"values without a normal in tasks.{task}.ignore"
                )
            merged = [name for name, path in labels.items() if decoder.merges_colors(path)]
            if merged:
                found.append(
                    f"{task}: {count_files(merged)} have more colors than the channel of "
                    f"tasks.{task}.encoding.order has values, so classes are merged. List the "
                    f"colors in tasks.{task}.colors instead"
                )
        return found

    def _turned(self, names: Sequence[str]) -> list[str]:
        """Images that an EXIF tag turns, although the size of the labels fits without it too."""
        config = self.files.config
        if "orientation" in config.model_fields_set:
            return []
        turned = []
        for name in names:
            try:
                tag = exif_orientation(self.files.image(name))
                height, width = read_image(self.files.image(name)).shape[-2:] if tag > 1 else (0, 1)
            except TaskprismError:
                continue  # reading the sample has reported it
            if tag in _SAME_SHAPE or (tag > 1 and height == width):
                turned.append(name)
        if not turned:
            return []
        shown = ", ".join(turned[:3]) + ", ..." * (len(turned) > 3)
        return [
            f"{len(turned)} images ({shown}) have an EXIF tag that turns or mirrors them, and "
            "labels fit both ways. Look at the pictures, then set orientation: exif (labels "
            "were drawn on the turned image) or orientation: stored"
        ]

    def _advice(self, name: str, task: str) -> str:
        """What to do about a label of another size than its image."""
        used = self.files.config.orientation
        other: Orientation = "stored" if used == "exif" else "exif"
        image = read_image(self.files.image(name), other)
        key = self.decoders[task].config.encoding.key
        label = read_stored(self.files.label(task, name), key, other)
        if label.values.shape[:2] == image.shape[-2:]:
            return (
                f"They fit with the key 'orientation: {other}' of {self.files.source} (the image "
                "has an EXIF tag that turns it)."
            )
        return "Labels must have the size of their image (after its EXIF rotation)."


def _size(tensor: Any) -> str:
    return f"{tensor.shape[-1]}x{tensor.shape[-2]}"


@dataclass(frozen=True, kw_only=True)
class FolderProtocol(Protocol):
    """Images and labels in a folder; see :mod:`taskprism.data.folder_config` for the YAML.

    Attributes:
        config: The YAML's content.
        files: Where the files are.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("a", "b"):
        ...     Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(folder / f"{name}_rgb.png")
        ...     Image.fromarray(np.full((8, 8), 2000, np.uint16)).save(folder / f"{name}_depth.png")
        >>> _ = (folder / "data.yaml").write_text('''
        ... name: desk
        ... root: .
        ... image: "{name}_rgb.png"
        ... input_size: [8, 8]
        ... splits: {train: [a], test: [b]}
        ... tasks: {depth: {path: "{name}_depth.png", encoding: {scale: 0.001}}}
        ... ''')
        >>> protocol = FolderProtocol.from_yaml(folder / "data.yaml")
        >>> protocol.dataset("train")[0]["targets"]["depth"].max().item()
        2.0
    """

    config: FolderConfig = field(repr=False)
    files: FolderFiles = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "splits", tuple(self.config.splits))

    @classmethod
    def from_yaml(
        cls, path: str | AnyPath, root: str | AnyPath | None = None, **options: Any
    ) -> Self:
        """Read a data YAML.

        Args:
            path: The file, or its URL.
            root: Folder of the data, or its URL; overrides the YAML's own.
            options: Top-level keys of the YAML to replace, such as ``input_size`` or ``cache``.

        Raises:
            DataError: The YAML has an invalid key or value, or the folder does not exist.
        """
        path = as_path(path)
        config = load_config(path, options)
        if root is None and config.root is None:
            raise DataError(
                f"No data root given for protocol {config.name!r} ({path}). Pass root=... to "
                "create_protocol, set data.root in the recipe, or the key 'root' in the YAML ('.' "
                "is the folder of the YAML)."
            )
        folder = as_path(root) if root is not None else _beside(path, str(config.root))
        files = FolderFiles(config, folder, str(path))
        return cls(
            name=config.name,
            tasks=tuple(_make_task(name, task, files) for name, task in config.tasks.items()),
            input_size=config.input_size,
            root=str(folder),
            license=config.license,
            config=config,
            files=files,
        )

    @property
    def extra_channels(self) -> tuple[ExtraChannel, ...]:
        """Channels of ``inputs``."""
        return tuple(
            ExtraChannel(key, one.mean, one.std)
            for key, one in self.config.inputs.items()
            for _ in range(one.channels)
        )

    def dataset(self, split: Split, transform: Transform | None = None) -> SizedDataset:
        """Samples of a split at their own size, or at ``input_size`` with ``cache: true``.

        Raises:
            InputError: The protocol has no such split.
            DataError: A list or image is missing, or a task has no label file at all.
        """
        self.check_split(split)
        names = self.files.names(split)
        others = [n for s in self.config.splits if s != split for n in self.files.names(s)]
        self.files.check_labels(names + others, [task.name for task in self.tasks])
        if not self.config.cache:
            return self._files_dataset(names, transform)
        return MemoryCache(self._files_dataset(names), self.evaluation_transform(), transform)

    def _files_dataset(
        self, names: Sequence[str], transform: Transform | None = None
    ) -> FolderDataset:
        decoders = {task.name: self.decoder(task) for task in self.tasks}
        return FolderDataset(self.files, names, decoders, transform)

    def train_transform(self) -> Transform:
        """``fit`` to ``input_size``, then the YAML's ``augmentation``."""
        return training_transform(self.input_size, self.config.fit, self.config.augmentation)

    def evaluation_transform(self) -> Transform:
        """``fit`` to ``input_size``."""
        return fit_to(self.input_size, self.config.fit)

    def doubts(self, samples: int | None = None) -> list[str]:
        """Names that are listed twice in a split, and what label files show before decoding."""
        found: list[str] = []
        for split in self.splits:
            names = self.files.names(split)
            repeated = self.files.repeated(split)
            if repeated:
                found.append(
                    f"{len(repeated)} name(s) are listed more than once in splits.{split}: "
                    f"{shown_names(repeated)}. Each is used once; remove the repetitions"
                )
            found += self._files_dataset(names).doubts(names[:samples])
        return found

    def first_doubts(self) -> list[str]:
        """Names in more than one split too, whose images ``data check`` finds to be equal."""
        splits = Counter(name for split in self.splits for name in self.files.names(split))
        shared = [name for name, count in splits.items() if count > 1]
        found = super().first_doubts()
        if shared:
            found.append(
                f"{len(shared)} image(s) are in more than one split ({shown_names(shared)}), which "
                "makes scores too good. Remove them from all but one of 'splits'"
            )
        return found

    def fingerprint(self) -> str:
        """Hash of the YAML and of every file's relative path and size."""
        return self.files.fingerprint()

    def remarks(self) -> list[str]:
        """Files that are left out, and images without labels."""
        return self.files.left_out()

    def decoder(self, task: Task) -> TargetDecoder:
        """What reads the label files of a task."""
        return TargetDecoder(
            task,
            self.config.tasks[task.name],
            self.files.value_map(task.name),
            self.files.source,
            self.files.color_map(task.name),
            self.config.orientation,
        )


def _beside(yaml: AnyPath, root: str) -> AnyPath:
    """Data root that a YAML names: a URL, or a folder relative to the YAML."""
    return as_path(root) if is_url(root) else yaml.parent / root


def _make_task(name: str, config: TaskConfig, files: FolderFiles) -> Task:
    """The task of the key ``tasks.<name>``."""
    fields: dict[str, Any] = {**config.options, "name": name}
    classes = files.classes(name)
    if classes is not None:
        fields["channels"] = classes.count
        fields |= {"class_names": classes.names} if classes.names else {}
    if config.loss_weight is not None:
        fields["loss_weight"] = config.loss_weight
    try:
        return create_task(config.kind or name, **fields)
    except TaskprismError as error:
        hint = "" if config.kind else f" (without a key 'kind', {name!r} is the kind)"
        raise DataError(f"{files.source}, tasks.{name}: {error}{hint}") from error
