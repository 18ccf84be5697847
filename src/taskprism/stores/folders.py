"""A folder that is written in the local cache and copied to a URL.

At the URL, the file ``files.json`` lists all files: relative path, key, size and SHA-256. Files of
checkpoints are never overwritten: they get keys of their own (``checkpoints/last-0f3a.../...``),
and become visible when ``files.json``, one object, is replaced. A reader therefore sees a
checkpoint as a whole or not at all, and a process that is killed during an upload leaves the
previous one in place.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from taskprism.atomic import remove_empty, write_bytes
from taskprism.errors import CheckpointError
from taskprism.stores.paths import StorePath, cache_folder, file_system, store_errors

INDEX_FILE = "files.json"
_FORMAT = 1
_VERSIONED = "checkpoints"
_TRIES = 4
Wanted = Callable[[str], bool]


def everything(name: str) -> bool:
    """Choose every file."""
    return True


@dataclass(frozen=True)
class StoredFile:
    """A file of a folder: its key below the URL, its bytes, and what tells versions apart.

    ``version`` is the SHA-256 of the content, or what the store knows where there is no list.
    """

    key: str
    size: int
    version: str


@dataclass(frozen=True)
class _Index:
    """Files of a folder, and a text that changes whenever the list does."""

    files: Mapping[str, StoredFile]
    identity: str
    is_list: bool


class MirroredFolder:
    """A folder at a URL with a copy in the local cache.

    Programs read and write :attr:`local`. :meth:`fetch` brings it up to date with the URL, and
    :meth:`upload` copies what has changed there. A copy that was written on this machine and not
    uploaded yet is kept, as long as no other machine has written to the URL since.

    Args:
        url: The folder.

    Attributes:
        url: The folder.
        local: Its copy.

    Raises:
        InputError: fsspec cannot open such a URL.

    Example:
        >>> folder = MirroredFolder("memory://runs/example")
        >>> folder.local.mkdir(parents=True, exist_ok=True)
        >>> _ = (folder.local / "recipe.yaml").write_text("epochs: 3")
        >>> folder.upload()
        >>> StorePath("memory://runs/example/recipe.yaml").read_text()
        'epochs: 3'
    """

    def __init__(self, url: str) -> None:
        self.url = StorePath(url)
        file_system(self.url.url)  # names a missing package now
        digest = hashlib.sha256(self.url.url.encode()).hexdigest()[:12]
        name = re.sub(r"[^\w.\-]", "_", self.url.name) or "run"
        cache = cache_folder() / "folders" / f"{name}-{digest}"
        self.local = cache / "files"
        self._state_file = cache / "state.json"
        self._lock = FileLock(cache / "lock", thread_local=False)
        self._hashes: dict[str, tuple[int, int, str]] = {}  # name -> size, time, SHA-256

    def fetch(self, wanted: Wanted = everything) -> None:
        """Bring the local copy up to date, and download the wanted files that it lacks.

        Args:
            wanted: Whether a file is needed, by its path in the folder.

        Raises:
            CheckpointError: The URL cannot be read, or an object there is damaged.
        """
        with self._guarded("read"), self._locked():
            for attempt in range(_TRIES):
                try:
                    self._fetch(wanted)
                    break
                except (FileNotFoundError, _ChangedError):  # replaced since the list was read
                    if attempt == _TRIES - 1:
                        raise

    def upload(self, check: Callable[[], None] | None = None) -> None:
        """Copy the files that have changed to the URL, then replace the list of files there.

        Args:
            check: Called before the list is replaced; an exception keeps the previous one.

        Raises:
            CheckpointError: The URL cannot be written. What is there is as before, and the local
                copy is complete.
        """
        with self._guarded("write"), self._locked():
            before = self._read_index()
            local = self._local_files()
            known = before.files if before is not None and before.is_list else {}
            files = {**known, **local}
            if before is not None and files == known:
                self._write_state(before, local)
                self._delete_others({file.key for file in files.values()})
                return
            for name, file in local.items():
                if known.get(name) != file:
                    self._put(name, file.key)
            if check is not None:
                check()
            text = _index_text(files)
            (self.url / INDEX_FILE).write_bytes(text)
            self._write_state(_Index(files, hashlib.sha256(text).hexdigest(), True), local)
            self._delete_others({file.key for file in files.values()})

    def _locked(self) -> FileLock:
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        return self._lock

    def _guarded(self, verb: str) -> _Guard:
        return _Guard(f"Could not {verb} {self.url}")

    def _fetch(self, wanted: Wanted) -> None:
        index, state = self._read_index(), self._read_state()
        if index is None:
            if state.get("identity") is not None:  # the folder at the URL was deleted
                self._remove_outdated({}, {})
                self._state_file.unlink(missing_ok=True)
            return
        fetched = state.get("files", {})
        if state.get("identity") != index.identity:
            self._remove_outdated(index.files, fetched)
        missing = [
            name for name in index.files if wanted(name) and not (self.local / name).is_file()
        ]
        for name in missing:
            self._get(name, index.files[name])
        present = {name: f for name, f in index.files.items() if (self.local / name).is_file()}
        if missing or state.get("identity") != index.identity:
            self._write_state(index, present)

    def _remove_outdated(self, files: Mapping[str, StoredFile], fetched: Mapping[str, Any]) -> None:
        """Delete local files that are not those of the list."""
        if not self.local.is_dir():
            return
        for path in sorted(self.local.rglob("*"), reverse=True):
            name = path.relative_to(self.local).as_posix()
            current = files.get(name)
            if path.is_dir():
                remove_empty([path])
            elif path.name.startswith("."):
                continue
            elif current is None or fetched.get(name) != current.version:
                path.unlink()

    def _get(self, name: str, file: StoredFile) -> None:
        target = _inside(self.local, name)
        content = (self.url / file.key).read_bytes()
        has_hash = len(file.version) == 64
        if len(content) != file.size or (
            has_hash and _is_versioned(name) and hashlib.sha256(content).hexdigest() != file.version
        ):
            raise _ChangedError(
                f"{self.url / file.key} is damaged: it is not what {INDEX_FILE} there describes"
            )
        write_bytes(target, content)

    def _put(self, name: str, key: str) -> None:
        fs, path = file_system((self.url / key).url)
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        if _is_versioned(name):
            fs.put_file(str(self.local / name), path)
        else:
            (self.url / key).write_bytes((self.local / name).read_bytes())

    def _local_files(self) -> dict[str, StoredFile]:
        """Files to upload; hidden and unfinished ones are left out."""
        found: dict[str, StoredFile] = {}
        versions: dict[str, list[str]] = {}
        for path in sorted(self.local.rglob("*")):
            name = path.relative_to(self.local).as_posix()
            if not path.is_file() or any(part.startswith(".") for part in name.split("/")):
                continue
            digest = self._hash(name, path)
            found[name] = StoredFile(name, path.stat().st_size, digest)
            if _is_versioned(name):
                versions.setdefault(_group(name), []).append(f"{name} {digest}")
        for name, file in found.items():
            if _is_versioned(name):
                group = _group(name)
                whole = hashlib.sha256("\n".join(versions[group]).encode()).hexdigest()[:16]
                key = f"{group}-{whole}{name[len(group) :]}"
                found[name] = StoredFile(key, file.size, file.version)
        return found

    def _hash(self, name: str, path: Path) -> str:
        state = path.stat()
        size, changed, digest = self._hashes.get(name, (-1, -1, ""))
        if (size, changed) != (state.st_size, state.st_mtime_ns):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._hashes[name] = state.st_size, state.st_mtime_ns, digest
        return digest

    def _delete_others(self, keys: set[str]) -> None:
        """Delete earlier checkpoints, and those of uploads that were cut short."""
        folder = self.url / _VERSIONED
        for name in folder.sizes_below():
            if f"{_VERSIONED}/{name}" not in keys:
                (folder / name).remove()

    def _read_index(self) -> _Index | None:
        fs, path = file_system((self.url / INDEX_FILE).url)
        fs.invalidate_cache(path)
        try:
            text = (self.url / INDEX_FILE).read_bytes()
        except FileNotFoundError:
            return self._listed()
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise CheckpointError(
                    f"{self.url / INDEX_FILE} has the format {content['format']!r}, which this "
                    "version of taskprism does not read. Install a newer one."
                )
            files = {name: StoredFile(**file) for name, file in content["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{self.url / INDEX_FILE} is damaged ({error!r}). Restore the folder, or choose "
                "another one."
            ) from error
        return _Index(files, hashlib.sha256(text).hexdigest(), is_list=True)

    def _listed(self) -> _Index | None:
        """Files of a folder that another program has copied to the URL, without a list."""
        try:
            sizes = self.url.sizes_below()
        except (FileNotFoundError, NotADirectoryError):
            return None
        fs, _ = file_system(self.url.url)
        files = {}
        for name, size in sizes.items():
            if not PurePosixPath(name).name.startswith("."):
                _, path = file_system((self.url / name).url)
                files[name] = StoredFile(name, size, str(fs.ukey(path))[:40])
        identity = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
        return _Index(files, identity, is_list=False) if files else None

    def _read_state(self) -> dict[str, Any]:
        try:
            content = json.loads(self._state_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write_state(self, index: _Index, files: Mapping[str, StoredFile]) -> None:
        versions = {name: file.version for name, file in files.items()}
        content = {"identity": index.identity, "files": versions}
        write_bytes(self._state_file, json.dumps(content).encode())


def fetch_folder(url: str, wanted: Wanted = everything) -> Path:
    """Local copy of the wanted files of a folder at a URL.

    Args:
        url: The folder.
        wanted: Whether a file is needed, by its path in the folder.

    Raises:
        CheckpointError: The URL cannot be read, or there is nothing.

    Example:
        >>> import fsspec
        >>> fsspec.filesystem("memory").pipe_file("/models/a/config.json", b"{}")
        >>> [path.name for path in fetch_folder("memory://models/a").iterdir()]
        ['config.json']
    """
    folder = MirroredFolder(url)
    folder.fetch(wanted)
    if not folder.local.is_dir():
        raise CheckpointError(f"There is nothing at {url}. Check the address.")
    return folder.local


class _ChangedError(Exception):
    """An object is not the one that the list describes."""


class _Guard:
    """Turns what implementations raise into errors that name the URL."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        reason = None if error is None else store_errors(error)
        if reason is not None:
            raise CheckpointError(
                f"{self.message}: {reason}. Check the address, your credentials and the connection."
            ) from error


def _is_versioned(name: str) -> bool:
    return name.startswith(f"{_VERSIONED}/") and name.count("/") > 1


def _group(name: str) -> str:
    """``checkpoints/last`` of ``checkpoints/last/config.json``."""
    return "/".join(name.split("/")[:2])


def _inside(folder: Path, name: str) -> Path:
    """``folder / name``, for a name in a list that may come from a stranger."""
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name:
        raise CheckpointError(f"The list of files names {name!r}, which leads out of the folder.")
    return folder.joinpath(*parts)


def _index_text(files: Mapping[str, StoredFile]) -> bytes:
    content = {
        "format": _FORMAT,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"),
        "writer": f"process {os.getpid()} on {platform.node() or 'unknown'}",
        "files": {name: asdict(file) for name, file in files.items()},
    }
    return json.dumps(content, indent=1).encode()
