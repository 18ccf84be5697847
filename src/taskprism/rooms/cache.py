"""Rooms on disk: one compressed file each."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from taskprism.errors import DataError
from taskprism.rooms.render import GENERATOR_VERSION, RoomImage, render_room

_FIELDS = [f.name for f in dataclasses.fields(RoomImage)]


class RoomCache:
    """Draws rooms of one size and keeps them in a folder.

    The generator's version and the size are part of the folder's name, so that rooms of another
    version are never read. Files are written under another name first and then renamed: several
    processes may share a folder. A file that cannot be read is drawn anew.

    Args:
        root: The folder in which this cache makes its own.
        size: ``(H, W)`` in pixels.
    """

    def __init__(self, root: str | Path, size: tuple[int, int]) -> None:
        self.size = size
        self.folder = Path(root) / f"rooms_v{GENERATOR_VERSION}_{size[0]}x{size[1]}"

    def path(self, seed: int) -> Path:
        """File of a room."""
        return self.folder / f"{seed}.npz"

    def room(self, seed: int) -> RoomImage:
        """The room of a seed, from its file or newly drawn.

        Raises:
            DataError: If a new file cannot be written.
        """
        path = self.path(seed)
        room = _read(path, self.size)
        if room is None:
            room = render_room(seed, self.size)
            self._write(path, room)
        return room

    def _write(self, path: Path, room: RoomImage) -> None:
        arrays = {name: getattr(room, name) for name in _FIELDS}
        arrays = {name: value for name, value in arrays.items() if value is not None}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=path.stem, suffix=".part", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez_compressed(file, **arrays)
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise DataError(
                f"Cannot keep a room in {path}: {error.strerror or error}. Make room there, name "
                "another folder, or leave the folder out to draw the rooms anew each time."
            ) from error


def _read(path: Path, size: tuple[int, int]) -> RoomImage | None:
    """Room in a file; None if there is no such file or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        room = RoomImage(
            **{name: arrays.get(name) for name in _FIELDS if name != "focal"},  # type: ignore[arg-type]
            focal=float(arrays["focal"]),
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return room if room.image.shape[:2] == size else None
