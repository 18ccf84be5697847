"""The tables of the papers: every row a recipe, ours beside theirs.

* :func:`list_tables` names the tables that are shipped, :func:`load_table` reads one: a
  :class:`Table` has :class:`Part` s of :class:`Column` s and :class:`Row` s with the printed
  figures. A table is one YAML file; :mod:`taskprism.papers.table` says its keys.
* Every row that is trained is a recipe too: ``taskprism train mti_net/2a/single_task --out DIR``.
* :func:`make_plan` resolves the recipes of a :class:`Request` (which data, which budget, how many
  seeds) into runs, :class:`Runner` trains those that a :class:`Place` lacks, :func:`collect` puts
  the table together as far as it is done, and :func:`write_result` writes it down. ``taskprism
  reproduce`` is these four.

Runs lie in one folder, which tables, processes and machines may share. A run is named after what
it trains, so rows with equal recipes have one run between them. A process takes a run by a claim
(:mod:`taskprism.papers.claims`), gives signs of life while it trains, and is succeeded by
another that resumes from its checkpoint if it dies.

Ours stand beside the paper's: mean and standard deviation over seeds, Δm against our own baseline
row of the same seed with a bootstrap interval, sizes of the networks (known before anything is
trained), and how far the order of our rows is the paper's. A difference is only shown where data
and length of training are the paper's too.
"""

from taskprism.papers.collecting import collect
from taskprism.papers.library import list_tables, load_table
from taskprism.papers.place import Place
from taskprism.papers.plan import Plan, Request, Run, check_data, make_plan
from taskprism.papers.report import write_result
from taskprism.papers.results import Cell, PartResult, RowResult, TableResult
from taskprism.papers.runner import Runner
from taskprism.papers.table import Column, Part, Readout, Row, Table

__all__ = [
    "Cell",
    "Column",
    "Part",
    "PartResult",
    "Place",
    "Plan",
    "Readout",
    "Request",
    "Row",
    "RowResult",
    "Run",
    "Runner",
    "Table",
    "TableResult",
    "check_data",
    "collect",
    "list_tables",
    "load_table",
    "make_plan",
    "write_result",
]
