"""The protocol ``shards``: a packed protocol, read from its tar files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import ValidationError
from torch.utils.data import Dataset
from torchvision import tv_tensors

from taskprism.atomic import write_json
from taskprism.data.folder import FolderProtocol
from taskprism.data.folder_config import FolderConfig, explain
from taskprism.data.folder_files import FolderFiles
from taskprism.data.protocol import (
    PROTOCOLS,
    Protocol,
    Split,
    Transform,
    register_protocol,
)
from taskprism.data.sample import Sample
from taskprism.data.shards.encoding import as_target, decode
from taskprism.data.shards.index import FILE, Entry, Index, Shard, read_index
from taskprism.errors import CheckpointError, DataError, InputError
from taskprism.options import Size
from taskprism.stores.paths import AnyPath, StorePath, as_path, store_errors
from taskprism.tasks import Task, task_from_config
from taskprism.tasks.target import DenseTarget, ValidMask

#: File next to the index: tar files whose hashes were right, with their sizes and times.
VERIFIED = ".verified.json"


class ShardDataset(Dataset[Sample]):
    """The samples of some shards, in the order in which they were packed.

    Args:
        folder: Folder of the tar files, which may be on an object store.
        shards: The tar files to read.
        tasks: Tasks to read; those without a label in a sample are absent from it.
        transform: Applied last.

    Raises:
        DataError: A tar file is missing or has another size than when it was packed.
    """

    def __init__(
        self,
        folder: AnyPath,
        shards: Sequence[Shard],
        tasks: Sequence[Task],
        transform: Transform | None = None,
    ) -> None:
        self.folder = folder
        self.tasks = tuple(tasks)
        self.transform = transform
        self._entries = [(shard.file, entry) for shard in shards for entry in shard.samples]
        for shard in shards:
            path = folder / shard.file
            size = _size(path)
            if size != shard.size:
                found = "is missing" if size is None else f"has {size} bytes"
                raise DataError(
                    f"{path} {found}; {shard.size} bytes were packed. Copy it again, or pack again."
                )

    @property
    def names(self) -> list[str]:
        """Names of the samples."""
        return [entry.name for _, entry in self._entries]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Sample:
        file, entry = self._entries[index]
        wanted = [task for task in self.tasks if task.name in entry.members]
        parts = self._read(file, entry, ["image", *(task.name for task in wanted)])
        targets: dict[str, DenseTarget] = {}
        valid: dict[str, ValidMask] = {}
        for task in wanted:
            targets[task.name], valid[task.name] = as_target(task, *parts[task.name])
        image = tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(parts["image"][0])))
        sample = Sample(name=entry.name, image=image, targets=targets, valid=valid)
        return self.transform(sample) if self.transform is not None else sample

    def _read(
        self, file: str, entry: Entry, names: Sequence[str]
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        path = self.folder / file
        if isinstance(path, StorePath):
            return _read_stored(path, entry, names)
        parts = {}
        try:
            # Open the file for each sample: threads and forked workers share nothing.
            with path.open("rb") as tar:
                for name in names:
                    member = entry.members[name]
                    tar.seek(member.offset)
                    parts[name] = member.storage, tar.read(member.size)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error}).") from None
        return {
            name: decode(storage, content, f"{path}, {name} of {entry.name}")
            for name, (storage, content) in parts.items()
        }


def _read_stored(
    path: StorePath, entry: Entry, names: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Members of a sample, which lie next to each other, with one request."""
    members = {name: entry.members[name] for name in names}
    start = min(member.offset for member in members.values())
    end = max(member.offset + member.size for member in members.values())
    try:
        content = path.read_range(start, end - start)
    except Exception as error:
        reason = store_errors(error)
        if reason is None:
            raise
        raise DataError(f"{path}: cannot be read ({reason}).") from error
    return {
        name: decode(
            member.storage,
            content[member.offset - start : member.offset - start + member.size],
            f"{path}, {name} of {entry.name}",
        )
        for name, member in members.items()
    }


def _size(path: AnyPath) -> int | None:
    """Bytes of a file; None if it is missing."""
    if isinstance(path, StorePath):
        try:
            return path.size()
        except FileNotFoundError:
            return None
    return path.stat().st_size if path.is_file() else None


class _Opened(NamedTuple):
    folder: AnyPath
    index: Index
    packed: Protocol


@register_protocol
@dataclass(frozen=True, kw_only=True)
class ShardsProtocol(Protocol):
    """A protocol packed by ``taskprism data pack``; ``root`` is the folder.

    It has the packed protocol's name, tasks, input size, transforms, splits and license, so that
    scores are comparable.

    Attributes:
        change: Options of the packed protocol to change, if they do not affect labels:
            ``{"augmentation": "atrc"}``.

    Example:
        >>> import tempfile
        >>> from taskprism.data import create_protocol
        >>> from taskprism.data.shards import pack
        >>> small = {"train_length": 2, "val_length": 1, "test_length": 1, "input_size": (24, 32)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = pack(create_protocol("rooms", **small), folder)
        ...     packed = create_protocol(folder)
        ...     print(packed.name, len(packed.dataset("train")))
        rooms 2
    """

    name: str = "shards"
    tasks: tuple[Task, ...] = ()
    input_size: Size = (0, 0)  # that of the packed protocol
    license: str = field(default="that of the packed data", compare=False)
    change: Mapping[str, Any] = field(default_factory=dict)
    _content: _Opened | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.root is None:
            return  # for lists and descriptions
        folder = as_path(self.root)
        index = read_index(folder)
        tasks = self.tasks or tuple(task_from_config(config) for config in index.tasks)
        packed = _restore(index, folder, self.change)
        size = packed.input_size if self.input_size == (0, 0) else self.input_size
        packed = replace(packed, tasks=tasks, input_size=size)
        values = {
            "name": index.protocol,
            "tasks": tasks,
            "input_size": size,
            "license": index.license,
            "splits": tuple(index.splits),
            "_content": _Opened(folder, index, packed),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def scores_at_label_size(self) -> bool:
        """As the packed protocol."""
        return self._opened.packed.scores_at_label_size

    def dataset(self, split: Split, transform: Transform | None = None) -> ShardDataset:
        """Samples of a split at their own size.

        Raises:
            InputError: The protocol has no such split.
            DataError: A tar file is missing or has another size than when it was packed.
        """
        opened = self._opened
        self.check_split(split)
        return ShardDataset(opened.folder, opened.index.splits[split], self.tasks, transform)

    def train_transform(self) -> Transform:
        """Transform of the packed protocol."""
        return self._opened.packed.train_transform()

    def evaluation_transform(self) -> Transform:
        """Transform of the packed protocol."""
        return self._opened.packed.evaluation_transform()

    def fingerprint(self) -> str:
        """Hash of the index, which contains the hash of every tar file.

        Raises:
            DataError: A tar file is not the one that was packed.
        """
        opened = self._opened
        shards = [shard for shards in opened.index.splits.values() for shard in shards]
        _check_hashes(opened.folder, shards)
        return hashlib.sha256((self._opened.folder / FILE).read_bytes()).hexdigest()

    @property
    def _opened(self) -> _Opened:
        if self._content is None:
            raise DataError(
                "No data root given for protocol 'shards'. Pass the folder written by `taskprism "
                "data pack` as root=... to create_protocol, or set data.root in the recipe."
            )
        return self._content


def _check_hashes(folder: AnyPath, shards: Sequence[Shard]) -> None:
    """Check the hash of every tar file, once per file as long as its size and time stay.

    Of files on an object store, the size is checked.

    Raises:
        DataError: A file is missing or another one.
    """
    if isinstance(folder, StorePath):  # reading all of them would take as long as an epoch
        for shard in shards:
            if _size(folder / shard.file) != shard.size:
                raise DataError(f"{folder / shard.file} is not the file that was packed.")
        return
    record = folder / VERIFIED
    known = _read_verified(record)
    found: dict[str, list[Any]] = {}
    for shard in shards:
        path = folder / shard.file
        try:
            state = path.stat()
            found[shard.file] = [shard.sha256, state.st_size, state.st_mtime_ns]
            if known.get(shard.file) == found[shard.file]:
                continue
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error}). Copy it again.") from error
        if digest != shard.sha256:
            raise DataError(
                f"{path} is not the file that was packed (its sha256 is {digest}, not "
                f"{shard.sha256}). Copy it again, or pack again."
            )
    if found != known:
        with suppress(CheckpointError):  # the folder may be read-only
            write_json(record, found)


def _read_verified(record: Path) -> dict[str, Any]:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _restore(index: Index, folder: AnyPath, change: Mapping[str, Any]) -> Protocol:
    """The packed protocol without its data: for transforms and conventions."""
    if index.folder is None:
        kind = PROTOCOLS.find_saved(index.part or index.protocol)
        return kind.from_options({**index.options, **change})
    unknown = set(change) - set(FolderConfig.model_fields)
    if unknown:
        raise InputError(f"{index.protocol} has no key {', '.join(sorted(unknown))} to change.")
    try:
        config = FolderConfig.model_validate({**index.folder, **change})
    except ValidationError as error:
        raise explain(error, FolderConfig, str(folder / FILE)) from None
    return FolderProtocol(
        name=config.name,
        tasks=(),
        input_size=config.input_size,
        license=config.license,
        config=config,
        files=FolderFiles(config, folder, str(folder / FILE)),
    )
