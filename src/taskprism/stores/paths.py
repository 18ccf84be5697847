"""URLs of files on object stores, with the part of :class:`pathlib.Path` that reading uses."""

from __future__ import annotations

import glob
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from taskprism.errors import InputError, TaskprismError

# A drive letter of Windows has one character, and "module:Class" no slashes.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+(://|::)")
_CACHING = ("filecache", "simplecache", "blockcache")


def is_url(place: object) -> bool:
    """Whether a path names a place that fsspec opens: ``s3://bucket/a``, ``filecache::s3://...``.

    Example:
        >>> is_url("s3://bucket/run"), is_url("runs/first"), is_url("C:/runs")
        (True, False, False)
    """
    return isinstance(place, StorePath) or (
        isinstance(place, str) and _URL.match(place) is not None
    )


def as_path(place: str | Path | StorePath) -> Path | StorePath:
    """A :class:`StorePath` for a URL, otherwise a :class:`~pathlib.Path`.

    Example:
        >>> as_path("s3://bucket/data") / "a.png"
        StorePath('s3://bucket/data/a.png')
    """
    if isinstance(place, StorePath):
        return place
    return StorePath(place) if isinstance(place, str) and is_url(place) else Path(place)


def cache_folder() -> Path:
    """Folder of copies of remote files: ``$TASKPRISM_CACHE``, or ``taskprism`` in the user's cache.

    Example:
        >>> cache_folder().name  # doctest: +SKIP
        'taskprism'
    """
    own = os.environ.get("TASKPRISM_CACHE")
    if own:
        return Path(own)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "taskprism"


def file_system(url: str) -> tuple[Any, str]:
    """File system of a URL, and the path in it.

    fsspec keeps file systems, so this is cheap; asking again in each process is what makes them
    safe to use in forked loader workers. Files of a chained ``filecache::`` or ``simplecache::``
    are kept in :func:`cache_folder`, unless fsspec's configuration names another folder.

    Raises:
        InputError: The protocol is unknown, or its package is not installed.
    """
    import fsspec  # imported late: local paths do not need it
    from fsspec.core import url_to_fs

    options = {
        name: {"cache_storage": str(cache_folder() / "files")}
        for name in _CACHING
        if f"{name}::" in url and "cache_storage" not in fsspec.config.conf.get(name, {})
    }
    try:
        return url_to_fs(url, **options)
    except ImportError as error:
        raise InputError(
            f"{url} cannot be opened, because a package is missing ({error}): {_install_hint(url)}."
        ) from error
    except ValueError as error:
        raise InputError(
            f"{url} cannot be opened: {error}. Give a URL that fsspec knows, such as "
            "s3://BUCKET/FOLDER, or a local path."
        ) from error


def _install_hint(url: str) -> str:
    """Command that installs what a protocol needs, as far as fsspec's list names a package."""
    from fsspec.registry import known_implementations  # imported late, as above

    protocol = url.rpartition("::")[2].partition("://")[0]
    described = known_implementations.get(protocol, {}).get("err", "")
    named = re.search(r"[Ii]nstall ([\w.\-]+)|\"([\w.\-]+)\".* installed", described)
    return f"pip install {named[1] or named[2]}" if named else "install that package"


class StorePath:
    """A file or folder on an object store.

    It has the methods of :class:`pathlib.Path` that reading needs. Errors of the file system pass
    through unchanged, except that a missing package is named.

    Args:
        url: What fsspec opens, such as ``s3://bucket/folder`` or ``filecache::gs://bucket/folder``.

    Example:
        >>> import fsspec
        >>> fsspec.filesystem("memory").pipe_file("/pets/cat.txt", b"purr")
        >>> path = StorePath("memory://pets") / "cat.txt"
        >>> path.stem, path.suffix, path.is_file(), path.read_bytes()
        ('cat', '.txt', True, b'purr')
    """

    __slots__ = ("url",)

    def __init__(self, url: str) -> None:
        head, slashes, rest = url.rpartition("://")
        self.url = f"{head}{slashes}{rest.rstrip('/')}" if rest.strip("/") else url

    def __truediv__(self, name: str) -> StorePath:
        return StorePath(_joined(self.url, name)) if name not in ("", ".") else self

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"StorePath({self.url!r})"

    def __fspath__(self) -> str:
        raise TypeError(f"{self.url} is not a local file.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StorePath) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __lt__(self, other: StorePath) -> bool:
        return self.url < other.url

    @property
    def _inner(self) -> PurePosixPath:
        return PurePosixPath(self.url.rpartition("://")[2])

    @property
    def name(self) -> str:
        """Last part of the URL."""
        return self._inner.name

    @property
    def stem(self) -> str:
        """Name without ending."""
        return self._inner.stem

    @property
    def suffix(self) -> str:
        """Ending with its dot."""
        return self._inner.suffix

    @property
    def parent(self) -> StorePath:
        """Folder that holds this; the root is its own parent."""
        head, slashes, rest = self.url.rpartition("://")
        above, slash, _ = rest.rpartition("/")
        return StorePath(f"{head}{slashes}{above or slash}") if slash else self

    def as_posix(self) -> str:
        """The URL."""
        return self.url

    def relative_to(self, other: StorePath) -> PurePosixPath:
        """Path of this below ``other``."""
        return self._inner.relative_to(other._inner)

    def is_file(self) -> bool:
        """Whether it exists and is a file."""
        fs, path = file_system(self.url)
        return fs.isfile(path)

    def is_dir(self) -> bool:
        """Whether it exists and is a folder; on an object store, whether anything is below it."""
        fs, path = file_system(self.url)
        return fs.isdir(path)

    def exists(self) -> bool:
        """Whether it is a file or a folder."""
        fs, path = file_system(self.url)
        return fs.exists(path)

    def size(self) -> int:
        """Bytes of the file.

        Raises:
            FileNotFoundError: There is no such file.
        """
        fs, path = file_system(self.url)
        return int(fs.info(path)["size"])

    def read_bytes(self) -> bytes:
        """Content of the file."""
        fs, path = file_system(self.url)
        return fs.cat_file(path)

    def read_text(self, encoding: str = "utf-8") -> str:
        """Content of the file as text."""
        return self.read_bytes().decode(encoding)

    def read_range(self, start: int, size: int) -> bytes:
        """``size`` bytes from byte ``start`` on, in one request."""
        fs, path = file_system(self.url)
        return fs.cat_file(path, start=start, end=start + size)

    def open_bytes(self) -> io.BytesIO:
        """Content of the file as a stream in memory."""
        return io.BytesIO(self.read_bytes())

    def write_bytes(self, content: bytes) -> None:
        """Replace the file; a reader sees the old or the new content.

        Object stores show an object when it is complete. Elsewhere the file is moved into place.
        """
        fs, path = file_system(self.url)
        folder = path.rpartition("/")[0]
        if folder:
            fs.makedirs(folder, exist_ok=True)
        if "file" not in _protocols(fs):
            fs.pipe_file(path, content)
            return
        partial = f"{path}.partial"
        fs.pipe_file(partial, content)
        Path(partial).replace(path)

    def names(self) -> list[str]:
        """Names of the files directly in this folder, sorted; none if it does not exist."""
        fs, path = file_system(self.url)
        try:
            entries = fs.ls(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        files = (entry["name"] for entry in entries if entry["type"] == "file")
        return sorted(name.rstrip("/").rpartition("/")[2] for name in files)

    def glob(self, pattern: str) -> list[str]:
        """Relative paths of the files below this folder that match a pattern, sorted."""
        fs, path = file_system(self.url)
        start = len(path.rstrip("/")) + 1
        found = fs.glob(f"{glob.escape(path.rstrip('/'))}/{pattern}", detail=True)
        return sorted(name[start:] for name, entry in found.items() if entry["type"] == "file")

    def files_below(self) -> Iterator[StorePath]:
        """All files in this folder and its subfolders, sorted."""
        for name in self.sizes_below():
            yield self / name

    def sizes_below(self) -> dict[str, int]:
        """Relative path of every file in this folder and its subfolders -> bytes, sorted."""
        fs, path = file_system(self.url)
        fs.invalidate_cache(path)
        found = fs.find(path, detail=True)
        start = len(path.rstrip("/")) + 1 if path.strip("/") else len(path)
        return {name[start:]: int(found[name].get("size") or 0) for name in sorted(found)}

    def remove(self) -> None:
        """Delete the file; a missing one is no error."""
        fs, path = file_system(self.url)
        try:
            fs.rm_file(path)
        except FileNotFoundError:
            return


AnyPath = Path | StorePath
"""A local path or a URL."""


def store_errors(error: BaseException) -> str | None:
    """Reason for a failed access to a store, for messages; None for an error of another kind.

    Implementations raise what their network libraries raise, which have no common base.
    """
    if isinstance(error, TaskprismError) or not isinstance(error, Exception):
        return None
    text = str(error).strip()
    first = text.splitlines()[0] if text else ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _joined(url: str, name: str) -> str:
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise InputError(f"The path {name!r} leads out of {url}.")
    clean = PurePosixPath(name).as_posix()
    return f"{url}{clean}" if url.endswith("/") else f"{url}/{clean}"
