"""Join MP4 files of one encoder into one, without decoding them.

An MP4 file consists of boxes: four bytes of length, four of type, and content (ISO/IEC 14496-12).
``mdat`` holds the compressed frames, and ``moov`` the tables that say where each of them is. The
joined file has the frames of all parts, and their tables one after the other.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from taskprism.errors import CheckpointError, DataError

_CONTAINERS = {b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"}
_LARGEST_TABLES = 2**28  # bytes
_ENTRY = 94  # bytes of stsd before the settings of the decoder
_DECODER_INFO = b"\x05\x80\x80\x80"  # tag in ISO/IEC 14496-1, before one byte of length


@dataclass(frozen=True)
class _Part:
    """The tables of one file.

    Attributes:
        file: The file.
        start: Content of its ``ftyp`` box.
        moov: Content of its ``moov`` box.
        media: Position and length of the content of each ``mdat`` box.
        sizes: Bytes of each frame.
        keys: Numbers of frames that can be decoded alone, from 1.
        durations: Pairs of a number of frames and the ticks that each of them lasts.
        chunks: Position and number of frames of each chunk.
        description: Content of ``stsd``: codec, size of the picture and settings of the decoder.
        timescales: Ticks per second of the movie and of its track.
    """

    file: Path
    start: bytes
    moov: bytes
    media: tuple[tuple[int, int], ...]
    sizes: tuple[int, ...]
    keys: tuple[int, ...]
    durations: tuple[tuple[int, int], ...]
    chunks: tuple[tuple[int, int], ...]
    description: bytes
    timescales: tuple[int, int]


def count_frames(file: Path) -> int:
    """Number of frames that an MP4 file of this package holds completely.

    Raises:
        DataError: The file is cut off, or is not an MP4 file with one track of video.

    Example:
        >>> count_frames(Path("clip.mp4"))  # doctest: +SKIP
        300
    """
    return len(_read(file).sizes)


def join_parts(parts: Sequence[Path], target: Path) -> None:
    """Write the frames of MP4 files one after the other into one file.

    The target is replaced when the new file is complete.

    Args:
        parts: Files of the same encoder, size and rate, each beginning with a key frame.
        target: The file to write.

    Raises:
        DataError: A part is damaged, or has another codec, size or rate than the first.
        CheckpointError: The target cannot be written; it is as it was.

    Example:
        >>> join_parts([Path("0.mp4"), Path("1.mp4")], Path("clip.mp4"))  # doctest: +SKIP
    """
    tables = [_read(part) for part in parts]
    for table in tables[1:]:
        same = (_decoding(tables[0].description), tables[0].timescales)
        if (_decoding(table.description), table.timescales) != same:
            raise DataError(
                f"{table.file} has another size, rate or codec than {tables[0].file}. Remove the "
                "folder of the parts and start again without --resume."
            )
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            _write(file, tables)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(f"Could not write {target}: {error}.") from error


def _write(file: BinaryIO, parts: Sequence[_Part]) -> None:
    file.write(_box(b"ftyp", parts[0].start))
    length = 16 + sum(size for part in parts for _, size in part.media)
    file.write(struct.pack(">I4sQ", 1, b"mdat", length))  # 1: the length follows in 64 bits
    chunks: list[tuple[int, int]] = []
    for part in parts:
        moved = {}
        with part.file.open("rb") as source:
            for position, size in part.media:
                moved[position] = file.tell() - position
                source.seek(position)
                _copy(source, file, size)
        for offset, count in part.chunks:
            start = max(position for position, _ in part.media if position <= offset)
            chunks.append((offset + moved[start], count))
    file.write(_box(b"moov", _joined_tables(parts, chunks)))


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size > 0 and (content := source.read(min(size, 1 << 20))):
        target.write(content)
        size -= len(content)


def _joined_tables(parts: Sequence[_Part], chunks: Sequence[tuple[int, int]]) -> bytes:
    sizes = [size for part in parts for size in part.sizes]
    durations: list[list[int]] = []
    for count, ticks in (each for part in parts for each in part.durations):
        if durations and durations[-1][1] == ticks:
            durations[-1][0] += count
        else:
            durations.append([count, ticks])
    keys, before = [], 0
    for part in parts:
        keys += [before + key for key in part.keys]
        before += len(part.sizes)
    media_ticks = sum(count * ticks for count, ticks in durations)
    movie_scale, media_scale = parts[0].timescales
    movie_ticks = -(-media_ticks * movie_scale // media_scale)
    runs = [
        (number, count, 1)
        for number, (_, count) in enumerate(chunks, start=1)
        if number == 1 or count != chunks[number - 2][1]
    ]
    tables = {
        b"stts": _table(durations),
        b"stss": _table([(key,) for key in keys]),
        b"stsc": _table(runs),
        b"stsz": struct.pack(">III", 0, 0, len(sizes)) + struct.pack(f">{len(sizes)}I", *sizes),
        b"co64": struct.pack(f">II{len(chunks)}Q", 0, len(chunks), *(o for o, _ in chunks)),
    }

    def set_ticks(offset: int, ticks: int) -> Callable[[bytes], bytes]:
        packed = struct.pack(">I", min(ticks, 2**32 - 1))
        return lambda content: content[:offset] + packed + content[offset + 4 :]

    changes: dict[bytes, Callable[[bytes], bytes]] = {
        kind: lambda _, content=content: content for kind, content in tables.items()
    }
    changes |= {
        b"mvhd": set_ticks(16, movie_ticks),
        b"tkhd": set_ticks(20, movie_ticks),
        b"mdhd": set_ticks(16, media_ticks),
        b"elst": set_ticks(8, movie_ticks),
    }
    return _changed(parts[0].moov, changes)


def _changed(content: bytes, changes: Mapping[bytes, Callable[[bytes], bytes]]) -> bytes:
    """Boxes with the content of some of them replaced; positions get 64 bits."""
    result = b""
    for kind, inside in _boxes(content):
        if kind in _CONTAINERS:
            result += _box(kind, _changed(inside, changes))
        elif kind in (b"stco", b"co64"):
            result += _box(b"co64", changes[b"co64"](inside))
        elif kind in changes:
            result += _box(kind, changes[kind](inside))
        else:
            result += _box(kind, inside)
    return result


def _read(path: Path) -> _Part:
    try:
        return _parse(path)
    except (struct.error, KeyError, IndexError, ValueError, OSError) as error:
        raise DataError(
            f"{path} is not a complete MP4 file of this package ({error!r})."
        ) from error


def _parse(path: Path) -> _Part:
    start, moov, media = b"", b"", []
    end = path.stat().st_size
    with path.open("rb") as file:
        position = 0
        while position < end:
            file.seek(position)
            length, kind = struct.unpack(">I4s", file.read(8))
            header = 8
            if length == 1:
                (length,), header = struct.unpack(">Q", file.read(8)), 16
            if length < header or position + length > end:
                raise ValueError(f"the box {kind!r} is cut off")
            if kind == b"mdat":
                media.append((position + header, length - header))
            elif kind in (b"ftyp", b"moov"):
                if length > _LARGEST_TABLES:
                    raise ValueError(f"the box {kind!r} has {length} bytes")
                content = file.read(length - header)
                start, moov = (content, moov) if kind == b"ftyp" else (start, content)
            position += length
    boxes = dict(_leaves(moov))
    sizes = _sizes(boxes[b"stsz"])
    keys = tuple(key for (key,) in _rows(boxes[b"stss"], 1)) if b"stss" in boxes else None
    durations = tuple((count, ticks) for count, ticks in _rows(boxes[b"stts"], 2))
    (movie_scale,) = struct.unpack_from(">I", boxes[b"mvhd"], 12)
    (media_scale,) = struct.unpack_from(">I", boxes[b"mdhd"], 12)
    if boxes[b"mvhd"][0] or boxes[b"mdhd"][0] or b"ctts" in boxes or not media or not sizes:
        raise ValueError("it has tables that this package does not write, or no frame")
    return _Part(
        file=path,
        start=start,
        moov=moov,
        media=tuple(media),
        sizes=sizes,
        keys=tuple(range(1, len(sizes) + 1)) if keys is None else keys,
        durations=durations,
        chunks=_chunks(boxes),
        description=boxes[b"stsd"],
        timescales=(movie_scale, media_scale),
    )


def _decoding(description: bytes) -> tuple[bytes, bytes]:
    """Codec with size, and the settings of the decoder; without bit rates, which differ."""
    start = description.find(_DECODER_INFO)
    if start < 0:
        return description, b""
    start += len(_DECODER_INFO)
    return description[:_ENTRY], description[start : start + 1 + description[start]]


def _sizes(content: bytes) -> tuple[int, ...]:
    _, same, count = struct.unpack_from(">III", content)
    return (same,) * count if same else struct.unpack_from(f">{count}I", content, 12)


def _chunks(boxes: Mapping[bytes, bytes]) -> tuple[tuple[int, int], ...]:
    wide = b"co64" in boxes
    content = boxes[b"co64" if wide else b"stco"]
    (count,) = struct.unpack_from(">I", content, 4)
    offsets = struct.unpack_from(f">{count}{'Q' if wide else 'I'}", content, 8)
    counts: list[int] = []
    runs = _rows(boxes[b"stsc"], 3)
    for index, (first, frames, _) in enumerate(runs):
        after = runs[index + 1][0] if index + 1 < len(runs) else count + 1
        counts += [frames] * (after - first)
    return tuple(zip(offsets, counts, strict=True))


def _leaves(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    for kind, inside in _boxes(content):
        if kind in _CONTAINERS:
            yield from _leaves(inside)
        else:
            yield kind, inside


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position < len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        if length < 8 or position + length > len(content):
            raise ValueError(f"the box {kind!r} is cut off")
        yield kind, content[position + 8 : position + length]
        position += length


def _rows(content: bytes, columns: int) -> list[tuple[int, ...]]:
    (count,) = struct.unpack_from(">I", content, 4)
    numbers = struct.unpack_from(f">{count * columns}I", content, 8)
    return [numbers[row * columns : (row + 1) * columns] for row in range(count)]


def _table(rows: Sequence[Sequence[int]]) -> bytes:
    numbers = [number for row in rows for number in row]
    return struct.pack(f">II{len(numbers)}I", 0, len(rows), *numbers)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content
