"""``taskprism baseline``: what an answer that ignores the image is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from taskprism.data.protocol import Split
from taskprism.recipes.schema import DataSettings
from taskprism.training.baseline import score_baseline


def baseline(
    protocol: Annotated[tuple[str, ...], tyro.conf.Positional],
    /,
    *,
    out: Path,
    root: Path | None = None,
    tasks: tuple[str, ...] = (),
    split: Split = "test",
    input_size: tuple[int, int] | None = None,
    batch_size: int = 8,
) -> None:
    """Score majority class, mean depth, mean normal, ... of the training labels on a split.

    Writes a run directory, which `taskprism compare` shows as a row beside trained networks.

    Args:
        protocol: Name of a protocol, or data YAMLs.
        out: Run directory to write.
        root: Folder of the data.
        tasks: Which tasks; by default all of the protocol.
        split: Which images to score on.
        input_size: Height and width, as the runs to compare with have it; by default the
            protocol's.
        batch_size: Images at once.
    """
    data = DataSettings(
        protocol=list(protocol) if len(protocol) > 1 else protocol[0],
        root=root,
        options={} if input_size is None else {"input_size": list(input_size)},
        batch_size=batch_size,
    )
    score_baseline(data, out, tasks, split)
    print(f"Run in {out}")
