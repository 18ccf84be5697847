"""Write files and folders atomically: a reader sees the old or the new content, never a mix.

A folder is written next to its target, flushed to disk, and swapped in by renaming. A process
killed between the renames leaves the complete new folder under another name, which
:func:`recover_folder` puts in place.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import SafetensorError

from taskprism.errors import CheckpointError, InputError

_PARTIAL = "partial"
_OUTSIDE = re.compile(r"[/\\\0]")
_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONGEST_NAME = 180  # bytes; file systems allow 255, and endings and numbers are added


def write_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Replace the folder ``target`` by what ``fill`` writes into the folder it is given.

    Raises:
        CheckpointError: Writing failed (a full disk, for one); ``target`` is as it was.
    """
    partial, complete, previous = _siblings(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        recover_folder(target)
        partial.mkdir()
        fill(partial)
        for path in sorted(partial.rglob("*")):
            _flush(path)
        _flush(partial)
        partial.rename(complete)
        if target.exists():
            target.rename(previous)
        complete.rename(target)
        _flush(target.parent)
        shutil.rmtree(previous, ignore_errors=True)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch.save raises RuntimeError
        shutil.rmtree(partial, ignore_errors=True)
        kept = "The previous one is untouched." if target.exists() else "Nothing was left behind."
        raise CheckpointError(
            f"Could not write {target}: {error}. {kept} Make room or check the permissions there, "
            "then continue with --resume."
        ) from error


def recover_folder(target: Path) -> None:
    """Finish a swap that was cut short, and clear away what an unfinished one left.

    Raises:
        CheckpointError: The folder cannot be put in place.
    """
    partial, complete, previous = _siblings(target)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        if complete.exists():
            if target.exists():
                shutil.rmtree(previous, ignore_errors=True)
                target.rename(previous)
            complete.rename(target)
        elif previous.exists() and not target.exists():
            previous.rename(target)
    except OSError as error:
        raise CheckpointError(f"Could not restore {target}: {error}.") from error
    shutil.rmtree(previous, ignore_errors=True)


def is_unfinished(path: Path) -> bool:
    """Whether a file or folder is one that was being written when its process ended."""
    return path.name.startswith(".") and path.name.endswith(f".{_PARTIAL}")


def write_text(target: Path, text: str) -> None:
    """Replace a text file.

    Raises:
        CheckpointError: Writing failed; ``target`` is as it was.
    """
    write_bytes(target, text.encode("utf-8"))


def write_bytes(target: Path, content: bytes) -> None:
    """Replace a file.

    Raises:
        CheckpointError: Writing failed; ``target`` is as it was.
    """
    partial = target.with_name(f".{target.name}.{_PARTIAL}")
    created = missing_folders(target.parent)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        _flush(partial)
        partial.replace(target)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        remove_empty(created)
        raise CheckpointError(f"Could not write {target}: {error}.") from error


def write_picture(target: Path, picture: np.ndarray) -> Path:
    """Replace a PNG file by a ``(H, W, 3)`` uint8 RGB picture, and return the file.

    Raises:
        CheckpointError: Writing failed; ``target`` is as it was.
    """
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="png", optimize=True)
    write_bytes(target, stream.getvalue())
    return target


def write_json(target: Path, content: Any) -> None:
    """Replace a JSON file; numbers must be finite (a missing one is None)."""
    write_text(target, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_writable(folder: Path) -> None:
    """Check that files can be written into a folder, which need not exist, before long work.

    Raises:
        CheckpointError: They cannot.
    """
    created = missing_folders(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise CheckpointError(
            f"Cannot write to {folder}: {error}. Check its permissions and free space, or choose "
            "another folder."
        ) from error
    finally:
        remove_empty(created)


def path_inside(folder: Path, *names: str) -> Path:
    """``folder / name / ...``, where each name is the name of one file or folder.

    Args:
        folder: Folder of the output.
        names: Names of subfolders and of the file, which may come from a file of a stranger.

    Raises:
        InputError: A name is empty or has parts that lead to another folder.

    Example:
        >>> path_inside(Path("out"), "depth", "a.png").as_posix()
        'out/depth/a.png'
        >>> path_inside(Path("out"), "../depth", "a.png")
        Traceback (most recent call last):
        ...
        taskprism.errors.InputError: The name '../depth' leads out of the folder out. ...
    """
    for name in names:
        if not name or name in (".", "..") or _OUTSIDE.search(name) or Path(name).is_absolute():
            raise InputError(
                f"The name {name!r} leads out of the folder {folder}. Give a name without path "
                "separators."
            )
    return folder.joinpath(*names)


def safe_name(name: str) -> str:
    """``name`` as the name of a file: no path separators, control characters or leading dot.

    Example:
        >>> safe_name("street/a b"), safe_name(".."), safe_name("Küche 1")
        ('street_a b', '_.', 'Küche 1')
    """
    safe = _UNSAFE.sub("_", name)
    safe = f"_{safe[1:]}" if safe[:1] in (".", "") else safe
    shortened = safe.encode("utf-8")[:_LONGEST_NAME].decode("utf-8", errors="ignore")
    return shortened.rstrip() or "_"


def missing_folders(folder: Path) -> list[Path]:
    """The folder and its parents that do not exist, innermost first."""
    return [path for path in (folder, *folder.parents) if not os.path.exists(path)]  # noqa: PTH110 (False if a parent is not readable)


def remove_empty(folders: list[Path]) -> None:
    """Remove the folders that are empty, innermost first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _siblings(target: Path) -> tuple[Path, Path, Path]:
    """Names for a folder being written, one complete but not in place, and one replaced."""
    return tuple(  # pyrefly: ignore[bad-return]
        target.with_name(f".{target.name}.{state}") for state in (_PARTIAL, "complete", "previous")
    )


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders; its renames are journaled
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
