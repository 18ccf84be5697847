"""Rows that are read out of another row's runs: initial predictions at one scale."""

from __future__ import annotations

from collections.abc import Sequence

from taskprism.analysis.information_flow import information_flow
from taskprism.errors import InputError
from taskprism.papers.scores import Scores
from taskprism.papers.table import Readout
from taskprism.progress import Reporter


def readout_scores(
    source: Sequence[Scores], readout: Readout, reporter: Reporter, notes: list[str]
) -> list[Scores]:
    """Scores of the initial predictions at one scale, by seed (MTI-Net, Table 4).

    Args:
        source: Scores of the runs that are read.
        readout: Which scale.
        reporter: Progress for people; a run that was not read before takes a while.
        notes: Why there is nothing to read is added here.

    Raises:
        CheckpointError: A run has lost its checkpoint.
    """
    found = []
    for each in source:
        try:
            flow = information_flow(each.run.path, reporter=reporter)
        except InputError as error:  # no initial predictions at all
            notes.append(str(error))
            return []
        if readout.initial_stride not in flow:
            strides = ", ".join(str(place) for place in flow if isinstance(place, int))
            notes.append(
                f"There are no initial predictions at stride {readout.initial_stride} on this "
                f"backbone, but at {strides}."
            )
            return []
        found.append(Scores(each.seed, flow[readout.initial_stride], each.run))
    return found
