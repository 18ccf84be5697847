"""Rows that are read out of another row's runs: initial predictions at one scale."""

from __future__ import annotations

from collections.abc import Sequence

from taskprism.errors import DataError
from taskprism.reproduce.scores import Scores
from taskprism.reproduce.table import Readout
from taskprism.training.progress import Reporter


def readout_scores(source: Sequence[Scores], readout: Readout, reporter: Reporter) -> list[Scores]:
    """Scores of the initial predictions at one scale, by seed (MTI-Net, Table 4).

    Args:
        source: Scores of the runs that are read.
        readout: Which scale.
        reporter: Progress for people; a run that was not read before takes a while.

    Raises:
        DataError: The network of a run makes no initial predictions at that stride.
    """
    from taskprism.analysis.information_flow import information_flow

    found = []
    for each in source:
        flow = information_flow(each.run.path)
        if readout.initial_stride not in flow:
            raise DataError(
                f"{each.run.path} makes no initial predictions at stride "
                f"{readout.initial_stride}, but at {', '.join(map(str, flow))}."
            )
        found.append(Scores(each.seed, flow[readout.initial_stride], each.run))
    return found
