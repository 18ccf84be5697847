"""Write a protocol's samples into tar files."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from taskprism.atomic import missing_folders, remove_empty, write_text
from taskprism.data.folder import FolderProtocol
from taskprism.data.joint import JointProtocol
from taskprism.data.protocol import PROTOCOLS, Protocol, SizedDataset, Split
from taskprism.data.shards.encoding import ENDINGS, encode
from taskprism.data.shards.index import FILE, FORMAT, Entry, Index, Member, Shard
from taskprism.data.shards.protocol import ShardsProtocol
from taskprism.errors import DataError, InputError, TaskprismError

Encoded = tuple[str, dict[str, tuple[str, bytes]]]
_NOT_OPTIONS = ("name", "root", "tasks", "license", "config", "files", "variant", "test_root")


class _EncodedDataset(Dataset[Encoded]):
    """Encoded samples, so that the processes of a loader share the work."""

    def __init__(self, dataset: SizedDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Encoded:
        sample = self.dataset[index]
        image = sample["image"].as_subclass(Tensor).numpy()
        parts = {"image": encode(image, np.ones(image.shape[1:], dtype=bool))}
        for name, target in sample["targets"].items():
            valid = sample["valid"][name].as_subclass(Tensor).numpy()[0]
            try:
                parts[name] = encode(target.as_subclass(Tensor).numpy(), valid)
            except TaskprismError as error:
                raise DataError(f"{name} of {sample['name']}: {error}") from None
        return sample["name"], parts


def pack(
    protocol: Protocol,
    out: str | Path,
    shard_bytes: int = 1_000_000_000,
    workers: int = 0,
    on_sample: Callable[[Split], None] | None = None,
) -> Index:
    """Pack all splits of a protocol, untransformed and at their own size.

    Equal data give equal bytes. ``index.json`` is written last, so a folder without it was not
    packed completely.

    Args:
        protocol: Protocol to pack.
        out: Folder for the tar files; created if it does not exist.
        shard_bytes: A tar file ends with the sample that reaches this number of bytes.
        workers: Processes that read and encode; 0 uses the current one.
        on_sample: Called after each sample, for progress bars.

    Raises:
        InputError: The protocol is joint, or is packed already.
        DataError: ``out`` contains shards already or cannot be written, or the data are invalid;
            no new file is left.
    """
    if isinstance(protocol, (JointProtocol, ShardsProtocol)):
        raise InputError(
            f"{protocol.name} cannot be packed. Pack each of its data sets, and give the folders "
            "of tars as a list of protocols."
        )
    if protocol.in_channels != 3:
        raise InputError(
            f"{protocol.name} cannot be packed: its images have {protocol.in_channels} channels, "
            "and shards hold RGB images. Train on the folder."
        )
    if isinstance(protocol, FolderProtocol) and protocol.config.loss_weight != 1:
        raise InputError(
            f"{protocol.files.source} has a loss_weight, which packed shards do not keep. Remove "
            "it there, and set data.options.weights in the recipe instead."
        )
    if shard_bytes < 1:
        raise InputError(f"shard_bytes is {shard_bytes}. Give a positive number.")
    out = Path(out)
    if (out / FILE).exists():
        raise DataError(f"{out} contains packed shards already. Choose another folder.")
    if isinstance(protocol, FolderProtocol):  # a cache would resize samples to the input size
        uncached = protocol.config.model_copy(update={"cache": False})
        protocol = dataclasses.replace(protocol, config=uncached)
    written: list[Path] = []
    created = missing_folders(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        splits: dict[Split, list[Shard]] = {}
        for split in protocol.splits:
            loader = DataLoader(
                _EncodedDataset(protocol.dataset(split)),
                batch_size=None,
                num_workers=workers,
                collate_fn=_identity,
            )
            shards = _write(split, iter(loader), out, shard_bytes, written, on_sample)
            splits[split] = list(shards)
        index = _index(protocol, splits)
        write_text(out / FILE, index.model_dump_json(exclude_defaults=True))
    except BaseException as error:  # Ctrl-C too leaves nothing
        for path in written:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        remove_empty(created)
        if isinstance(error, OSError):
            raise DataError(
                f"Could not write the shards to {out}: {error}. Free some space or choose another "
                "folder; nothing was left there."
            ) from error
        raise
    return index


def _index(protocol: Protocol, splits: dict[Split, list[Shard]]) -> Index:
    return Index(
        format=FORMAT,
        protocol=protocol.name,
        options=_options(protocol),
        folder=_folder(protocol),
        tasks=[task.to_config() for task in protocol.tasks],
        license=protocol.license,
        splits=splits,
        part=_part(protocol),
    )


def _identity(sample: Any) -> Any:
    return sample


def _options(protocol: Protocol) -> dict[str, Any]:
    if isinstance(protocol, FolderProtocol):
        return {}
    fields = [f.name for f in dataclasses.fields(protocol) if f.name not in _NOT_OPTIONS]
    return json.loads(json.dumps({name: getattr(protocol, name) for name in fields}))


def _part(protocol: Protocol) -> str | None:
    """What finds the class again, if the protocol's name does not."""
    if isinstance(protocol, FolderProtocol):
        return None
    name = PROTOCOLS.name_of(type(protocol))
    return None if name == protocol.name else name


def _folder(protocol: Protocol) -> dict[str, Any] | None:
    if not isinstance(protocol, FolderProtocol):
        return None
    return protocol.config.model_dump(mode="json", exclude={"root"})


def _write(
    split: Split,
    samples: Iterator[Encoded],
    out: Path,
    shard_bytes: int,
    written: list[Path],
    on_sample: Callable[[Split], None] | None,
) -> Iterator[Shard]:
    """Shards of a split, each under a temporary name until it is complete.

    Every file is added to ``written`` before it is opened.
    """
    number = count = 0
    following = next(samples, None)
    while following is not None:
        path = out / f"{split}-{number:06d}.tar"
        unfinished = path.with_suffix(".tar.part")
        written += [unfinished, path]
        entries: list[Entry] = []
        # USTAR headers have a fixed length, so that data begin one block after a header.
        with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as tar:
            while following is not None and (not entries or tar.offset < shard_bytes):
                entries.append(_add(tar, f"{count:08d}", following))
                if on_sample is not None:
                    on_sample(split)
                count += 1
                following = next(samples, None)
        with unfinished.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        unfinished.replace(path)
        size = path.stat().st_size
        yield Shard(file=path.name, size=size, sha256=digest, samples=entries)
        number += 1


def _add(tar: tarfile.TarFile, key: str, sample: Encoded) -> Entry:
    name, parts = sample
    storages = {part: storage for part, (storage, _) in parts.items()}
    _member(tar, f"{key}.json", json.dumps({"name": name, "storage": storages}).encode())
    members = {}
    for part, (storage, content) in parts.items():
        offset = _member(tar, f"{key}.{part}.{ENDINGS[storage]}", content)
        members[part] = Member(storage=storage, offset=offset, size=len(content))
    return Entry(name=name, members=members)


def _member(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Add a file without owner and date, so that equal data give equal tars; returns its offset."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    offset = tar.offset + tarfile.BLOCKSIZE
    tar.addfile(header, io.BytesIO(content))
    return offset
