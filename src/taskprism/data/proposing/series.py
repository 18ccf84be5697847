"""Files of a folder grouped by pattern: the images, and the labels of each task."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from taskprism.data.files import ARRAYS, ENDINGS, StoredPixels, is_hidden, read_stored
from taskprism.data.protocol import Split
from taskprism.errors import DataError, TaskprismError

_WORDS_OF_SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training", "trainset"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "testset"),
}
SPLITS = {word: split for split, words in _WORDS_OF_SPLITS.items() for word in words}
_OPENED = 12  # files of a series whose numbers are looked at
_MOST_FILES = 500_000
_TOKEN = re.compile(r"[_\-.][A-Za-z][A-Za-z0-9]*")
_Members = list[tuple[str, str, PurePosixPath]]


@dataclass
class Series:
    """Files of one kind: the images, or the labels of one task.

    Attributes:
        pattern: Pattern with placeholders, such as ``rgb/{name}.jpg``.
        files: Name of the sample -> file.

    Example:
        >>> one = Series("depth/{name}.png", {"a": Path("depth/a.png")})
        >>> one.word, len(one.some())
        ('depth/', 1)
    """

    pattern: str
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """Folder and rest of the file name in lower case, to look for hints."""
        return re.sub(r"\{\w+\}", "", self.pattern).rpartition(".")[0].lower()

    def some(self) -> list[Path]:
        """Some of the files, evenly spaced."""
        files = [self.files[name] for name in sorted(self.files)]
        step = max(len(files) // _OPENED, 1)
        return files[::step][:_OPENED]


def stored_map(path: Path) -> StoredPixels | None:
    """The numbers of a file; None if it cannot be read or does not hold one map of numbers."""
    try:
        stored = read_stored(path)
    except TaskprismError:
        return None
    is_map = stored.values.ndim in (2, 3) and stored.values.dtype.kind in "biuf"
    return stored if is_map and stored.values.size else None


def find_series(root: Path) -> list[Series]:
    """Group files by pattern; the decomposition under which most names are shared wins."""
    files = list(_files(root))
    common = _common_folders(files)
    depth = max((len(file.parts) for file in files), default=1) - 1
    best: list[Series] = []
    most = -1
    for is_split in (_names_split, _ends_with_split):
        for level in range(common, max(depth, common + 1)):
            series = _grouped(root, files, common, level, is_split)
            counts = Counter(name for one in series for name in one.files)
            shared = sum(1 for count in counts.values() if count > 1)
            if shared > most:
                best, most = series, shared
    return sorted(best, key=lambda one: one.pattern)


def _common_folders(files: Sequence[PurePosixPath]) -> int:
    """Number of folders, from the top, that all files share and that contain folders only."""
    folders = {file.parts[:-1] for file in files}
    common = 0
    while folders and all(len(parts) > common + 1 for parts in folders):
        if len({parts[common] for parts in folders}) > 1:
            break
        common += 1
    return common


def _names_split(folder: str) -> bool:
    return folder.lower() in SPLITS


def _ends_with_split(folder: str) -> bool:
    """``gta_train`` is a folder of a split as well, if that makes more names fit."""
    return split_of(folder) is not None


def split_of(folder: str) -> Split | None:
    """Split that the name of a folder, or the last word of it, stands for: ``gta_train``."""
    return SPLITS.get(re.split(r"[_-]", folder.lower())[-1])


def _files(root: Path) -> Iterator[PurePosixPath]:
    """Visible image and array files, relative to ``root``."""
    found = 0
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        if len(Path(folder).relative_to(root).parts) > 8:
            folders.clear()  # deeper than any data set, or a link that leads to a parent
        for name in sorted(names):
            if is_hidden(name) or Path(name).suffix.lower() not in (*ENDINGS, *ARRAYS):
                continue
            found += 1
            if found > _MOST_FILES:
                raise DataError(
                    f"{root} has more than {_MOST_FILES} files. Write its YAML by hand."
                )
            yield PurePosixPath((Path(folder) / name).relative_to(root).as_posix())


def _grouped(
    root: Path,
    files: Sequence[PurePosixPath],
    common: int,
    level: int,
    is_split: Callable[[str], bool],
) -> list[Series]:
    """Series for which the folder at ``level`` says what the files are.

    All files share the first ``common`` folders.
    """
    prefix = "".join(f"{part}/" for part in files[0].parts[:common]) if files else ""
    folders: dict[tuple[str, bool, str], list[tuple[str, str, PurePosixPath]]] = defaultdict(list)
    for file in files:
        parts = file.parts[:-1]
        before, role, after = parts[common:level], parts[level : level + 1], parts[level + 1 :]
        if role and is_split(role[0]):  # says where a file belongs, not what it is
            before, role, after = (), (), parts[common:]
        if before and after:
            continue  # a pattern has one variable part before or after the folder
        is_array = file.suffix.lower() in ARRAYS
        key = (role[0] if role else "", bool(before), "array" if is_array else "image")
        folders[key].append(("/".join(before or after), file.stem, file))
    series = []
    for (role, is_before, _), members in sorted(folders.items()):
        for tail, group in _by_tail(members).items():
            endings = Counter(file.suffix for _, _, file in group)
            ending = endings.most_common(1)[0][0] if len(endings) == 1 else ".*"
            stem = "{stem}" if is_before else "{name}"
            pattern = f"{role}/{stem}{tail}{ending}" if role else f"{stem}{tail}{ending}"
            one = Series(prefix + (f"{{folder}}/{pattern}" if is_before else pattern))
            for folder, name, file in group:
                short = name.removesuffix(tail) if tail else name
                one.files[f"{folder}/{short}" if folder else short] = root / file
            series.append(one)
    return series


def _by_tail(
    members: Sequence[tuple[str, str, PurePosixPath]],
) -> dict[str, list[tuple[str, str, PurePosixPath]]]:
    """Split files of one folder by the end of their names, if that says what they are.

    ``0001_rgb, 0001_depth`` has the ends ``_rgb`` and ``_depth``; ``kitchen_0001`` has none.
    """
    groups: dict[str, _Members] = defaultdict(list)
    for member in members:
        found = re.fullmatch(rf".+?({_TOKEN.pattern})", member[1])
        groups[found[1] if found else ""].append(member)
    groups = dict(_extended(tail, group) for tail, group in groups.items())
    if len(groups) == 1:
        return groups
    # Ends are roles only if the same names occur with several of them.
    counts = Counter(
        (folder, stem.removesuffix(tail))
        for tail, group in groups.items()
        for folder, stem, _ in group
    )
    if sum(count > 1 for count in counts.values()) * 2 < len(counts):
        return {"": list(members)}
    return groups


def _extended(tail: str, group: _Members) -> tuple[str, _Members]:
    """The end with the parts before it that all names share: ``_gtFine_labelIds``."""
    while tail and len(group) > 1:
        before = {stem.removesuffix(tail) for _, stem, _ in group}
        tokens = [re.search(rf"{_TOKEN.pattern}$", stem) for stem in before]
        shared = {found[0] for found in tokens if found is not None}
        if None in tokens or len(shared) != 1 or any(s in shared for s in before):
            break
        tail = shared.pop() + tail
    return tail, group
