"""Resources, comparisons and what a trained model does inside."""

from taskprism.analysis.compare import compare
from taskprism.analysis.runs import RunResult, find_runs, read_run

__all__ = ["RunResult", "compare", "find_runs", "read_run"]
