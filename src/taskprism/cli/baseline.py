"""``taskprism baseline``: scores of the best constant prediction."""

from __future__ import annotations

from typing import Annotated

import tyro

from taskprism.cli.arguments import (
    Count,
    Folder,
    OptionalFolder,
    OptionalSize,
    OptionalSplit,
    Tasks,
)
from taskprism.errors import InputError
from taskprism.recipes.schema import DataSettings
from taskprism.training.baseline import score_baseline


def baseline(
    protocol: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PROTOCOL [PROTOCOL ...]")
    ],
    /,
    *,
    out: Folder,
    root: OptionalFolder = None,
    tasks: Tasks = (),
    split: OptionalSplit = None,
    input_size: OptionalSize = None,
    batch_size: Count = 8,
) -> None:
    """Score the best constant prediction: the most frequent class, the mean depth, ...

    The constants come from the training labels. Writes a run directory, which `taskprism compare`
    shows in a row next to trained networks.

    Args:
        protocol: A protocol (a named benchmark, see `taskprism list protocols`), or data YAMLs.
        out: Run directory to write.
        root: Folder that holds the data.
        tasks: Tasks to score; by default all of the protocol.
        split: Split of the images: train, val or test. By default test, or val where the data have
            no test split.
        input_size: Height and width of the runs to compare with; by default the protocol's.
        batch_size: Images per batch.
    """
    if not protocol:
        raise InputError(
            "Name a protocol: `taskprism baseline PROTOCOL --out DIR`. Give a name of "
            "`taskprism list protocols`, or one or more data YAMLs."
        )
    data = DataSettings(
        protocol=list(protocol) if len(protocol) > 1 else protocol[0],
        root=root,
        options={} if input_size is None else {"input_size": list(input_size)},
        batch_size=batch_size,
    )
    score_baseline(data, out, tasks, split)
    print(f"Wrote {out}")
