"""The images that a teacher labels: a folder, a glob, a list, or the images of a data YAML."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from taskprism.data import FolderProtocol, Split, create_protocol
from taskprism.data.create import shipped_yamls
from taskprism.data.files import ENDINGS, Orientation, is_hidden
from taskprism.errors import DataError, InputError
from taskprism.text_files import name_problem, read_names

_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class ImageSet:
    """Images with names.

    Attributes:
        root: Folder that names start from.
        pattern: Pattern of the images below ``root``: ``"{name}.jpg"``, or ``"{name}.*"`` if they
            have several endings.
        files: Name (relative path without ending) -> file.
        orientation: How the images are read.
        protocol: Data YAML that they come from, or None.
        splits: With a data YAML: the names of each split.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("a.jpg", "b.jpg", "notes.txt"):
        ...     (folder / name).touch()
        >>> found = find_image_set(str(folder))
        >>> found.pattern, list(found.files)
        ('{name}.jpg', ['a', 'b'])
    """

    root: Path
    pattern: str
    files: Mapping[str, Path]
    orientation: Orientation = "exif"
    protocol: FolderProtocol | None = None
    splits: Mapping[Split, Sequence[str]] = field(default_factory=dict)

    def has_label(self, task: str, name: str) -> bool:
        """Whether the data YAML has a label file of an image for a task."""
        if self.protocol is None or task not in self.protocol.config.tasks:
            return False
        return self.protocol.files.label(task, name).is_file()


def find_image_set(
    source: str, root: str | Path | None = None, leave_out: Path | None = None
) -> ImageSet:
    """Find images.

    Args:
        source: A folder, which is searched with its subfolders; a pattern with ``*`` and ``**``;
            an image; a text file with one path per line, absolute or relative to it; a data YAML,
            or the name of one that taskprism ships.
        root: Folder of the data, for a data YAML.
        leave_out: Folder whose images are not taken: that of the results.

    Raises:
        InputError: There is no image, or two files differ only in their endings.
        DataError: A list or data YAML is broken, or an image that it lists does not exist.
    """
    path = Path(source)
    is_yaml = path.suffix.lower() in (".yaml", ".yml")
    if is_yaml or (source in shipped_yamls() and not path.exists()):
        return _of_protocol(source, root)
    if root is not None:
        raise InputError(f"A root is for a data YAML; {source!r} is none.")
    if path.is_dir():
        return _named(path, _inside(path, leave_out), source)
    if path.is_file():
        if path.suffix.lower() in ENDINGS:
            return _named(path.parent, [path], source)
        return _of_list(path)
    if any(character in source for character in "*?["):
        found = [Path(file) for file in glob.glob(source, recursive=True)]  # noqa: PTH207
        images = [f for f in found if f.suffix.lower() in ENDINGS and not is_hidden(f.name)]
        literal = source[: min(source.find(c) for c in "*?[" if c in source)]
        folder = Path(literal.rpartition("/")[0] or ("/" if literal.startswith("/") else "."))
        return _named(folder, _outside(images, leave_out), source)
    raise InputError(
        f"{source!r} does not exist. Give a folder of images, a pattern, a list or a data YAML."
    )


def _of_protocol(source: str, root: str | Path | None) -> ImageSet:
    protocol = create_protocol(source, root=root)
    assert isinstance(protocol, FolderProtocol)
    folder = protocol.files.root
    if not isinstance(folder, Path):
        raise InputError(f"{source} is on an object store ({folder}). Copy it to a folder first.")
    splits = {split: protocol.files.names(split) for split in protocol.splits}
    names = dict.fromkeys(name for listed in splits.values() for name in listed)
    files = {name: Path(str(protocol.files.image(name))) for name in names}
    config = protocol.config
    return ImageSet(folder, config.image, files, config.orientation, protocol, splits)


def _inside(folder: Path, leave_out: Path | None) -> list[Path]:
    """Image files of a folder and its subfolders; links are followed."""
    hidden = None if leave_out is None else os.path.realpath(leave_out)
    found, visited = [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in visited or real == hidden:
            folders[:] = []
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        visible = (Path(place, name) for name in files if not is_hidden(name))
        found += [path for path in visible if path.suffix.lower() in ENDINGS]
    return sorted(found)


def _outside(images: Iterable[Path], leave_out: Path | None) -> list[Path]:
    if leave_out is None:
        return sorted(images)
    hidden = leave_out.resolve()
    return sorted(path for path in images if hidden not in path.resolve().parents)


def _of_list(path: Path) -> ImageSet:
    images = [path.parent / name for name in dict.fromkeys(read_names(path))]
    missing = [str(image) for image in images if not image.is_file()]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise DataError(
            f"{path}: {len(missing)} of {len(images)} images do not exist: "
            f"{', '.join(missing[:_SHOWN])}{more}. Write one path per line, absolute or relative "
            "to the list."
        )
    if not images:
        raise InputError(f"{path} lists no image.")
    root = Path(os.path.commonpath([os.path.abspath(image.parent) for image in images]))  # noqa: PTH100
    return _named(root, [Path(os.path.abspath(image)) for image in images], str(path))  # noqa: PTH100


def _named(root: Path, images: Sequence[Path], source: str) -> ImageSet:
    if not images:
        raise InputError(f"{source} contains no image (no file ending in {', '.join(ENDINGS)}).")
    files: dict[str, Path] = {}
    for path in images:
        name = PurePath(path.relative_to(root)).with_suffix("").as_posix()
        problem = name_problem(name)
        if problem:
            raise InputError(f"The name of the image {str(path)!r} {problem}. Rename the file.")
        if name in files:
            raise InputError(
                f"{files[name]} and {path} differ only in their endings, so their labels would "
                "have one name. Rename one of them."
            )
        files[name] = path
    endings = {path.suffix for path in images}
    pattern = f"{{name}}{endings.pop()}" if len(endings) == 1 else "{name}.*"
    return ImageSet(root, pattern, files)
