"""The files of a data YAML: names of a split, and paths of images and labels."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from taskprism.data.folder_config import FolderConfig, SplitSource
from taskprism.data.label_tables import (
    ClassTable,
    Color,
    class_table,
    color_map,
    colors_from_lines,
    value_map,
)
from taskprism.data.protocol import Split
from taskprism.errors import DataError
from taskprism.text_files import read_json, read_lines, read_names, read_yaml

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
        """Content of ``FILE`` or ``FILE#KEY`` (relative to the root): JSON, YAML or lines.

        Args:
            text: The file, with the key of an inner value.
            key: Names it in messages.
        """
        file, _, inner = text.partition("#")
        where = f"{self.source}, {key}: {text!r}"
        path = self.root / file
        try:
            if path.suffix.lower() in (".yaml", ".yml"):
                content = read_yaml(path)
            elif path.suffix.lower() == ".json" or inner:
                content = read_json(path)
            else:
                content = read_lines(path)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        for part in filter(None, inner.split(".")):
            if not isinstance(content, dict) or part not in content:
                known = ", ".join(map(str, content)) if isinstance(content, dict) else "no keys"
                raise DataError(f"{where}: {file} has no key {part!r}; it has {known}.")
            content = content[part]
        return content

    def classes(self, task: str) -> ClassTable | None:
        """Classes of a task, from the YAML or the file that it names."""
        key, stored = f"tasks.{task}.classes", self.config.tasks[task].classes
        if isinstance(stored, str):
            stored = self.reference(stored, key)
            if isinstance(stored, list):
                stored = _numbered_lines(stored)
        return class_table(stored, f"{self.source}, {key}")

    def value_map(self, task: str) -> Mapping[int, int | None] | None:
        """Stored number -> class index, if the YAML declares it."""
        key, stored = f"tasks.{task}.map", self.config.tasks[task].map
        classes = self.classes(task)
        if stored is None:
            by_color = self.config.tasks[task].colors is not None
            return None if classes is None or by_color else classes.value_map()
        if isinstance(stored, str):
            stored = self.reference(stored, key)
        return value_map(stored, f"{self.source}, {key}", classes)

    def color_map(self, task: str) -> Mapping[Color, int | None] | None:
        """Stored color -> class index, if the YAML declares it."""
        key, stored = f"tasks.{task}.colors", self.config.tasks[task].colors
        if stored is None:
            return None
        where, classes = f"{self.source}, {key}", self.classes(task)
        if isinstance(stored, str):
            file, stored = stored, self.reference(stored, key)
            is_text = isinstance(stored, list) and all(isinstance(line, str) for line in stored)
            if is_text and "#" not in file:
                names = classes.names if classes is not None else ()
                stored = colors_from_lines(stored, f"{where}, {self.root / file}", names)
        return color_map(stored, where, classes)

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
            return read_names(path)
        except DataError as error:
            raise DataError(
                f"{self.source}: cannot read the list of the split {split!r}. {error} Write one "
                f"name per line, or change splits.{split}."
            ) from None

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


def _numbered_lines(lines: list[Any]) -> Any:
    """``{number: name}`` if every line of a class file starts with a number, else the names."""
    found = [re.fullmatch(r"(\d{1,6})\s*[:,;\s]\s*(.*\S)", str(line)) for line in lines]
    if lines and all(found):
        return {int(match[1]): match[2] for match in found if match is not None}
    return [line.rstrip(",").strip() if isinstance(line, str) else line for line in lines]
