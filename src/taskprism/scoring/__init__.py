"""What a run records and how runs compare: metrics, image states, resources, Δm, intervals, tables.

:func:`find_runs` reads run directories, :func:`compare` puts them in one table.
"""

from taskprism.scoring.compare import compare
from taskprism.scoring.runs import RunResult, find_runs, read_run

__all__ = ["RunResult", "compare", "find_runs", "read_run"]
