"""Rooms per second on one core, rendered and read from the cache.

Run: ``python benchmarks/rooms.py [--count 40]``. CPU time excludes waiting; wall time is longer
if other programs use the same core.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from taskprism.rooms import Rooms, render_room

SIZES = ((96, 128), (240, 320))


def measure(label: str, count: int, work: Callable[[int], object]) -> None:
    """Print how often ``work`` runs per second."""
    work(0)
    wall, cpu = time.perf_counter(), time.process_time()
    for index in range(count):
        work(index)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{label:32} {count / cpu:8.1f} /s CPU {count / wall:8.1f} /s wall")


def main() -> None:
    """Measure rendering and reading."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=40, help="rooms per measurement")
    count = parser.parse_args().count
    torch.set_num_threads(1)
    for height, width in SIZES:
        size = (height, width)
        measure(f"render {height}x{width}", count, lambda i, size=size: render_room(i, size))
        with tempfile.TemporaryDirectory() as folder:
            rooms = Rooms(count, size=size, cache=folder)
            for index in range(count):
                rooms[index]
            measure(f"read {height}x{width} from the cache", count, rooms.__getitem__)
            kept = sum(f.stat().st_size for f in rooms.cache.folder.iterdir()) / count
            print(f"{'':32} {kept / 1024:8.0f} KiB per room")


if __name__ == "__main__":
    main()
