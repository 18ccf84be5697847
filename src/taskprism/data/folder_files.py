"""The files of a data YAML: names of a split, and paths of images and labels."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from unicodedata import normalize

from taskprism.data.files import ARRAYS, ENDINGS, is_hidden
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
from taskprism.stores.paths import AnyPath, StorePath
from taskprism.text_files import name_problem, read_json, read_lines, read_names, read_yaml

_SHOWN = 5  # names in a message
_ANY_ENDING = ".*"
_SAME_ENDINGS = ({".jpg", ".jpeg"}, {".tif", ".tiff"})


class FolderFiles:
    """Files of a folder.

    A file is found whatever the case of its ending (``.JPG`` for ``.jpg``), and under the other
    usual spelling (``.jpeg``, ``.tiff``). Hidden files are never found by a pattern.

    Args:
        config: The YAML's content.
        root: Folder of the data, which may be on an object store.
        source: The YAML's path, for messages.

    Raises:
        DataError: ``root`` is not a folder.
    """

    def __init__(self, config: FolderConfig, root: AnyPath, source: str) -> None:
        self.config = config
        self.root = root
        self.source = source
        self._listings: dict[AnyPath, dict[str, list[str]]] = {}
        if not root.is_dir():
            raise DataError(
                f"{source}: the data folder {root} does not exist. Correct the key "
                "'root' there, the option root, or data.root in the recipe."
            )

    def __getstate__(self) -> dict[str, Any]:
        """Without the listings, which are made again in another process."""
        state = {key: value for key, value in vars(self).items() if key != "_candidates"}
        return {**state, "_listings": {}}

    def image(self, name: str) -> AnyPath:
        """Path of an image, whether or not it exists.

        Raises:
            DataError: Two files differ only in their endings.
        """
        return self._file(self.config.image, name, ENDINGS)

    def input(self, key: str, name: str) -> AnyPath:
        """Path of a file of further channels, whether or not it exists.

        Raises:
            DataError: Two files differ only in their endings.
        """
        return self._file(self.config.inputs[key].path, name, (*ENDINGS, *ARRAYS))

    def label(self, task: str, name: str) -> AnyPath:
        """Path of a label, whether or not it exists.

        Raises:
            DataError: Two files differ only in their endings.
        """
        return self._file(self.config.tasks[task].path, name, (*ENDINGS, *ARRAYS))

    def confidence(self, task: str, name: str) -> AnyPath | None:
        """Path of the confidence of a label; None if there is no such file.

        Raises:
            DataError: Two files differ only in their endings.
        """
        config = self.config.tasks[task].confidence
        path = None if config is None else self._file(config.path, name, (*ENDINGS, *ARRAYS))
        return path if path is not None and self.exists(path) else None

    def _file(self, pattern: str, name: str, endings: tuple[str, ...]) -> AnyPath:
        exact = self.root / fill(pattern, name)
        listing = self._listing(exact.parent)
        stem, ending = exact.stem, exact.suffix.lower()
        if pattern.endswith(_ANY_ENDING):
            allowed = set(endings)
        else:
            allowed = next((same for same in _SAME_ENDINGS if ending in same), {ending})
        alike = listing.get(normalize("NFC", stem), ())
        found = [exact.parent / n for n in alike if _ending(n) in allowed]
        if len(found) > 1:
            shown = " and ".join(path.name for path in found)
            raise DataError(
                f"{self.source}: {name!r} is ambiguous: {exact.parent} has {shown}. Remove all but "
                f"one, or give the ending in the pattern {pattern}."
            )
        return found[0] if found else exact

    def _listing(self, folder: AnyPath) -> dict[str, list[str]]:
        """Stem in composed Unicode -> names of the visible files in a folder."""
        if folder not in self._listings:
            listing = defaultdict(list)
            try:
                for name in _file_names(folder):
                    if not is_hidden(name):
                        listing[normalize("NFC", Path(name).stem)].append(name)
            except OSError:
                return {}  # a missing file is reported as such
            self._listings[folder] = {stem: sorted(names) for stem, names in listing.items()}
        return self._listings[folder]

    def names(self, split: Split) -> list[str]:
        """Names of a split, each with an image.

        Raises:
            DataError: The split list or an image is missing, or the split is empty.
        """
        names = list(dict.fromkeys(self._listed(self.config.splits[split], split)))
        if not names:
            raise DataError(f"{self.source}: the split {split!r} is empty.{self._why_empty()}")
        missing = [name for name in names if not self.exists(self.image(name))]
        if missing:
            shown = ", ".join(str(self.image(name)) for name in missing[:_SHOWN])
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            raise DataError(
                f"{self.source}: {len(missing)} of {len(names)} images of the split {split!r} do "
                f"not exist: {shown}{more}. Check the key 'image' ({self.config.image}) and the "
                "names of the split."
            )
        return names

    def repeated(self, split: Split) -> list[str]:
        """Names that are listed more than once in a split; each is used once."""
        counts = Counter(self._listed(self.config.splits[split], split))
        return [name for name, count in counts.items() if count > 1]

    def _why_empty(self) -> str:
        if self._found or not self._other_images:
            return ""
        shown = ", ".join(str(path) for path in self._other_images[:3])
        return (
            f" None of {len(self._other_images)} image files matches the key 'image' "
            f"({self.config.image}), such as {shown}."
        )

    def check_labels(self, names: list[str], tasks: list[str]) -> None:
        """Raise :class:`DataError` if one of ``tasks`` has no label file for any of ``names``."""
        for task in tasks:
            config = self.config.tasks[task]
            if not any(self.exists(self.label(task, name)) for name in names):
                raise DataError(
                    f"{self.source}: no file matches tasks.{task}.path "
                    f"({self.root / config.path}) for any of the {len(names)} images. Single files "
                    "may be missing, but not all. Correct the pattern or remove the task."
                )

    def left_out(self) -> list[str]:
        """Files that are in no split, and images without a label, one sentence each.

        Missing images and ambiguous files are not reported here; opening the splits does.
        """
        names = []
        for split, source in self.config.splits.items():
            with suppress(DataError):
                listed = dict.fromkeys(self._listed(source, split))
                names += [name for name in listed if self.exists(self.image(name))]
        used: set[AnyPath] = set()
        for name in names:
            with suppress(DataError):
                used.update(self._files_of(name))
        lines = []
        images = [*self._found.values(), *self._other_images]
        unlisted = sorted((path for path in images if path not in used), key=str)
        if unlisted:
            verb = "image files are" if len(unlisted) > 1 else "image file is"
            lines.append(
                f"{len(unlisted)} {verb} in no split ({self._some(unlisted)}); the key 'image' is "
                f"{self.config.image}"
            )
        for task, config in self.config.tasks.items():
            files = self._visible(config.path, (*ENDINGS, *ARRAYS))
            extra = [path for path in files if path not in used and path not in unlisted]
            if extra:
                verb = "files are" if len(extra) > 1 else "file is"
                lines.append(
                    f"{task}: {len(extra)} {verb} the label of no image in a split "
                    f"({self._some(extra)})"
                )
            without = [name for name in names if not self._has_label(task, name)]
            if without:
                lines.append(
                    f"{task}: {len(without)} of {len(names)} images have no label file "
                    f"({', '.join(without[:3])}{', ...' if len(without) > 3 else ''})"
                )
        return lines

    def _has_label(self, task: str, name: str) -> bool:
        try:
            return self.exists(self.label(task, name))
        except DataError:
            return True  # there are two

    def exists(self, path: AnyPath) -> bool:
        """Whether a file exists; on an object store, whether the listing of its folder has it."""
        if isinstance(path, StorePath):
            listed = self._listing(path.parent).get(normalize("NFC", path.stem), ())
            return path.name in listed
        return path.is_file()

    def _relative(self, path: AnyPath) -> str:
        if isinstance(path, StorePath):
            return path.url[len(str(self.root)) :].lstrip("/")
        return path.relative_to(str(self.root)).as_posix()

    def _some(self, paths: list[AnyPath]) -> str:
        shown = ", ".join(self._relative(path) for path in paths[:3])
        return shown + ", ..." * (len(paths) > 3)

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
                size = path.size() if isinstance(path, StorePath) else path.stat().st_size
                digest.update(f"\n{self._relative(path)} {size}".encode())
        return digest.hexdigest()

    def _all_files(self, names: list[str]) -> Iterator[AnyPath]:
        for name in names:
            yield from self._files_of(name)

    def _files_of(self, name: str) -> Iterator[AnyPath]:
        """The image, its further channels, and the labels and confidences that exist."""
        yield self.image(name)
        yield from (self.input(key, name) for key in self.config.inputs)
        for task in self.config.tasks:
            path = self.label(task, name)
            if self.exists(path):
                yield path
                confidence = self.confidence(task, name)
                if confidence is not None:
                    yield confidence

    def _listed(self, source: SplitSource, split: Split) -> list[str]:
        if source.names is not None:
            return self._checked(source.names, split)
        if source.list is not None:
            return self._checked(self._from_list(self.root / source.list, split), split)
        if source.glob is not None:
            return self._matching(source.glob, split)
        return self._share(split)

    def _checked(self, names: Iterable[str], split: Split) -> list[str]:
        """Names without the folder and ending of the image, which some lists have."""
        checked = []
        for name in names:
            parts = PurePosixPath(name).parts
            wrong = name_problem(name)
            if ".." in parts or name.startswith("/"):
                wrong = f"({name!r}) leads out of the folder"
            if wrong:
                raise DataError(f"{self.source}: a name of the split {split!r} {wrong}.")
            checked.append(self._without_ending(name))
        return checked

    def _without_ending(self, name: str) -> str:
        if Path(name).suffix.lower() not in ENDINGS or self.exists(self.image(name)):
            return name
        shorter = [self._name_of(name), name.removesuffix(Path(name).suffix)]
        return next((n for n in shorter if n and self.exists(self.image(n))), name)

    def _from_list(self, path: AnyPath, split: Split) -> list[str]:
        try:
            return read_names(path)
        except DataError as error:
            raise DataError(
                f"{self.source}: cannot read the list of the split {split!r}. {error} Write one "
                f"name per line, or change splits.{split}."
            ) from None

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        """Relative path of an image -> its name."""
        return _as_regex(self.config.image, ENDINGS)

    def _name_of(self, file: str) -> str | None:
        """Name of the image at a relative path, or None if it does not match the pattern."""
        return _name_in(self._regex.fullmatch(file))

    def _matching(self, pattern: str, split: Split) -> list[str]:
        """Names of the image files that match a glob, sorted.

        The folders before ``{name}`` in the key ``image`` are taken literally, so that they may
        contain brackets.
        """
        literal = _folder_of(self.config.image)
        if literal and pattern.startswith(f"{literal}/"):
            pattern = glob.escape(literal) + pattern[len(literal) :]
        try:
            files = self._globbed(pattern)
        except (ValueError, NotImplementedError, re.error) as error:
            raise DataError(
                f"{self.source}: splits.{split}.glob is {pattern!r} ({error}). Give a pattern "
                "relative to the root, such as rgb/a*.jpg."
            ) from None
        names = (self._name_of(file) for file in files if not _any_hidden(file))
        return sorted(name for name in names if name is not None)

    def _globbed(self, pattern: str) -> list[str]:
        """Relative paths of the files that match a glob."""
        if isinstance(self.root, StorePath):
            return self.root.glob(pattern)
        paths = (path for path in self.root.glob(pattern) if path.is_file())
        return [self._relative(path) for path in paths]

    def _visible(self, pattern: str, endings: tuple[str, ...]) -> list[AnyPath]:
        """Files below the folder of a pattern, without hidden ones; links are followed."""
        if isinstance(self.root, StorePath):
            inside = (self.root / _folder_of(pattern)).files_below()
            named = ((path, self._relative(path)) for path in inside)
            return [
                path for path, file in named if not _any_hidden(file) and _ending(file) in endings
            ]
        found, visited = [], set()
        for folder, folders, files in os.walk(self.root / _folder_of(pattern), followlinks=True):
            real = os.path.realpath(folder)
            folders[:] = [] if real in visited else sorted(f for f in folders if not is_hidden(f))
            if real not in visited:
                names = (f for f in files if not is_hidden(f) and _ending(f) in endings)
                found += [Path(folder, name) for name in names]
            visited.add(real)
        return sorted(path for path in found if path.is_file())

    @cached_property
    def _candidates(self) -> tuple[dict[str, AnyPath], list[AnyPath]]:
        """Name -> image, and the other image files, which are no labels either."""
        named, others = {}, []
        for path in self._visible(self.config.image, ENDINGS):
            name = self._name_of(self._relative(path))
            named |= {name: path} if name is not None else {}
            others += [path] if name is None else []
        tasks = self.config.tasks.values()
        patterns = [task.path for task in tasks]
        patterns += [task.confidence.path for task in tasks if task.confidence is not None]
        labels = [_as_regex(pattern, ENDINGS) for pattern in patterns]

        def is_label(path: AnyPath, own: str | None) -> bool:
            file = self._relative(path)
            of = {_name_in(regex.fullmatch(file)) for regex in labels}
            return any(name in named and name != own for name in of)

        images = {name: path for name, path in named.items() if not is_label(path, name)}
        return images, [path for path in others if not is_label(path, None)]

    @property
    def _found(self) -> dict[str, AnyPath]:
        return self._candidates[0]

    @property
    def _other_images(self) -> list[AnyPath]:
        return self._candidates[1]

    def _share(self, split: Split) -> list[str]:
        """The split's share of all images, in an order that depends on the seed only.

        The order comes from hashes of the names: it is the same on every machine and hardly
        changes when images are added.
        """
        seed = self.config.split_seed
        ordered = sorted(self._found, key=lambda n: hashlib.sha256(f"{seed}/{n}".encode()).digest())
        start = 0.0
        for name, source in self.config.splits.items():
            end = start + (source.fraction or 0.0)
            if name == split:
                first, last = round(start * len(ordered)), round(end * len(ordered))
                return sorted(ordered[first:last])
            start = end
        return []


def _file_names(folder: AnyPath) -> Iterator[str]:
    """Names of the files in a folder."""
    if isinstance(folder, StorePath):
        yield from folder.names()
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file():
                yield entry.name


def fill(pattern: str, name: str) -> str:
    """Put a name into a pattern.

    ``{name}`` is the whole name, ``{folder}`` the part before its last slash, ``{stem}`` the part
    after it.

    >>> fill("{folder}/masks/{stem}.png", "train/17")
    'train/masks/17.png'
    """
    folder, _, stem = name.rpartition("/")
    filled = pattern.replace("{folder}/", f"{folder}/" if folder else "")
    return filled.replace("{name}", name).replace("{folder}", folder).replace("{stem}", stem)


def _as_regex(pattern: str, endings: tuple[str, ...]) -> re.Pattern[str]:
    """Regular expression of relative paths, with a group for each placeholder."""
    pattern = PurePosixPath(pattern).as_posix()
    base, ending = pattern, ""
    if pattern.endswith(_ANY_ENDING):
        base = pattern.removesuffix(_ANY_ENDING)
        ending = f"(?i:{'|'.join(map(re.escape, endings))})"
    elif "}" not in Path(pattern).suffix:
        base = pattern.removesuffix(Path(pattern).suffix)
        own = Path(pattern).suffix.lower()
        same = next((same for same in _SAME_ENDINGS if own in same), {own})
        ending = f"(?i:{'|'.join(map(re.escape, sorted(same)))})"
    parts, seen = [], set()
    for part in re.split(r"(\{(?:name|folder|stem)\})", base):
        key = part.strip("{}")
        if part not in ("{name}", "{folder}", "{stem}"):
            parts.append(re.escape(part))
        elif key in seen:
            parts.append(f"(?P={key})")
        else:
            parts.append(f"(?P<{key}>{'[^/]+' if key == 'stem' else '.+'})")
            seen.add(key)
    return re.compile("".join(parts) + ending, re.DOTALL)


def _name_in(found: re.Match[str] | None) -> str | None:
    if found is None:
        return None
    groups = found.groupdict()
    if "name" in groups:
        return groups["name"]
    return f"{groups['folder']}/{groups['stem']}" if "folder" in groups else groups["stem"]


def _folder_of(pattern: str) -> str:
    """Folders before the first placeholder."""
    return PurePosixPath(pattern).as_posix().partition("{")[0].rpartition("/")[0]


def _ending(name: str) -> str:
    return Path(name).suffix.lower()


def _any_hidden(file: str) -> bool:
    return any(is_hidden(part) for part in file.split("/"))


def _numbered_lines(lines: list[Any]) -> Any:
    """``{number: name}`` if every line of a class file starts with a number, else the names."""
    found = [re.fullmatch(r"(\d{1,6})\s*[:,;\s]\s*(.*\S)", str(line)) for line in lines]
    if lines and all(found):
        return {int(match[1]): match[2] for match in found if match is not None}
    return [line.rstrip(",").strip() if isinstance(line, str) else line for line in lines]
