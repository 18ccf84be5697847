"""The files of a data YAML: names of a split, and paths of images and labels."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from taskprism.data.folder_config import FolderConfig, SplitSource
from taskprism.data.protocol import Split
from taskprism.errors import DataError

_SHOWN = 5  # names in a message


class FolderFiles:
    """Files of a folder.

    Args:
        config: The YAML's content.
        root: Folder of the data.
        source: The YAML's path, for messages.

    Raises:
        DataError: ``root`` is not a folder.
    """

    def __init__(self, config: FolderConfig, root: Path, source: str) -> None:
        self.config = config
        self.root = root
        self.source = source
        if not root.is_dir():
            raise DataError(
                f"{source}: the data folder {root} does not exist. Correct the key "
                "'root' there, the option root, or data.root in the recipe."
            )

    def image(self, name: str) -> Path:
        """Path of an image."""
        return self.root / self.config.image.replace("{name}", name)

    def label(self, task: str, name: str) -> Path:
        """Path of a label, whether or not it exists."""
        return self.root / self.config.tasks[task].path.replace("{name}", name)

    def names(self, split: Split) -> list[str]:
        """Names of a split, each with an image.

        Raises:
            DataError: The split list or an image is missing, or the split is empty.
        """
        names = list(dict.fromkeys(self._listed(self.config.splits[split], split)))
        if not names:
            raise DataError(f"{self.source}: the split {split!r} is empty.")
        missing = [name for name in names if not self.image(name).is_file()]
        if missing:
            shown = ", ".join(str(self.image(name)) for name in missing[:_SHOWN])
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            raise DataError(
                f"{self.source}: {len(missing)} of {len(names)} images of the split {split!r} do "
                f"not exist: {shown}{more}. Check the key 'image' ({self.config.image}) and the "
                "names of the split."
            )
        return names

    def check_labels(self, names: list[str], tasks: list[str]) -> None:
        """Raise :class:`DataError` if one of ``tasks`` has no label file for any of ``names``."""
        for task in tasks:
            config = self.config.tasks[task]
            if not any(self.label(task, name).is_file() for name in names):
                raise DataError(
                    f"{self.source}: no file matches tasks.{task}.path "
                    f"({self.root / config.path}) for any of the {len(names)} images. Single files "
                    "may be missing, but not all. Correct the pattern or remove the task."
                )

    def reference(self, text: str, key: str) -> Any:
        """What ``FILE.json#KEY`` (relative to the root) points to; ``key`` names it in messages."""
        file, _, inner = text.partition("#")
        where = f"{self.source}, {key}: {text!r}"
        try:
            content = json.loads((self.root / file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{where}: cannot read {self.root / file} ({error}).") from None
        for part in filter(None, inner.split(".")):
            if not isinstance(content, dict) or part not in content:
                known = ", ".join(content) if isinstance(content, dict) else "no keys"
                raise DataError(f"{where}: {file} has no key {part!r}; it has {known}.")
            content = content[part]
        return content

    def fingerprint(self) -> str:
        """Hash of the settings and of every file's relative path and size."""
        digest = hashlib.sha256()
        digest.update(
            self.config.model_dump_json(exclude={"root", "cache"}, by_alias=True).encode()
        )
        for split in self.config.splits:
            names = self.names(split)
            digest.update(f"\n{split} {len(names)}".encode())
            for path in self._all_files(names):
                relative = path.relative_to(self.root).as_posix()
                digest.update(f"\n{relative} {path.stat().st_size}".encode())
        return digest.hexdigest()

    def _all_files(self, names: list[str]) -> Iterator[Path]:
        for name in names:
            yield self.image(name)
            for task in self.config.tasks:
                path = self.label(task, name)
                if path.is_file():
                    yield path

    def _listed(self, source: SplitSource, split: Split) -> list[str]:
        if source.names is not None:
            return list(source.names)
        if source.list is not None:
            return self._from_list(self.root / source.list, split)
        if source.glob is not None:
            return self._matching(source.glob)
        return self._share(split)

    def _from_list(self, path: Path, split: Split) -> list[str]:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise DataError(
                f"{self.source}: cannot read the list {path} of the split {split!r} "
                f"({error.strerror}). Write one name per line, or change splits.{split}."
            ) from None
        return [line.strip() for line in lines if line.strip()]

    def _matching(self, pattern: str) -> list[str]:
        """Names of the image files that match a glob, sorted."""
        before, *after = (re.escape(part) for part in self.config.image.split("{name}"))
        regex = re.compile(before + "(?P<name>.+)" + "(?P=name)".join(after))
        files = (path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))
        return sorted(found["name"] for file in files if (found := regex.fullmatch(file)))

    def _share(self, split: Split) -> list[str]:
        """The split's share of all images, in an order that depends on the seed only.

        The order comes from hashes of the names: it is the same on every machine and hardly
        changes when images are added.
        """
        everything = self._matching(self.config.image.replace("{name}", "*"))
        seed = self.config.split_seed
        ordered = sorted(everything, key=lambda n: hashlib.sha256(f"{seed}/{n}".encode()).digest())
        start = 0.0
        for name, source in self.config.splits.items():
            end = start + (source.fraction or 0.0)
            if name == split:
                first, last = round(start * len(ordered)), round(end * len(ordered))
                return sorted(ordered[first:last])
            start = end
        return []


def value_map(stored: Any, where: str) -> Mapping[int, int | None]:
    """Normal form of a ``map``: a list by index, or a mapping whose keys may be ranges ``3-7``."""
    pairs = enumerate(stored) if isinstance(stored, list) else stored.items()
    result: dict[int, int | None] = {}
    for key, value in pairs:
        found = re.fullmatch(r"(-?\d+)(?:-(\d+))?", str(key))
        if not found or not (value is None or isinstance(value, int)):
            raise DataError(f"{where}: {key!r}: {value!r} is not a whole number (or range): class.")
        low = int(found[1])
        for number in range(low, int(found[2] or low) + 1):
            result[number] = value
    if not result:
        raise DataError(f"{where}: the map is empty.")
    return result
