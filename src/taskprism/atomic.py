"""Write files and folders atomically: a reader sees the old or the new content, never a mix.

A folder is written next to its target, flushed to disk, and swapped in by renaming. A process
killed between the renames leaves the complete new folder under another name, which
:func:`recover_folder` puts in place.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from taskprism.errors import CheckpointError


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
    """Finish a swap that was cut short, and clear away what an unfinished one left."""
    partial, complete, previous = _siblings(target)
    shutil.rmtree(partial, ignore_errors=True)
    if complete.exists():
        if target.exists():
            shutil.rmtree(previous, ignore_errors=True)
            target.rename(previous)
        complete.rename(target)
    elif previous.exists() and not target.exists():
        previous.rename(target)
    shutil.rmtree(previous, ignore_errors=True)


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
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        _flush(partial)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(f"Could not write {target}: {error}.") from error


def write_json(target: Path, content: Any) -> None:
    """Replace a JSON file; numbers must be finite (a missing one is None)."""
    write_text(target, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _siblings(target: Path) -> tuple[Path, Path, Path]:
    """Names for a folder being written, one complete but not in place, and one replaced."""
    return tuple(  # pyrefly: ignore[bad-return]
        target.with_name(f".{target.name}.{state}") for state in ("partial", "complete", "previous")
    )


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders; its renames are journaled
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
