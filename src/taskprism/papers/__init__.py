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

from __future__ import annotations

import importlib
from typing import Any

from taskprism.papers.rows import TableRows
from taskprism.recipes import register_recipe_source

register_recipe_source(TableRows())

# Plug-ins are imported by every lookup of a name, so the rest is imported on first use.
_HOMES = {
    "Cell": "results",
    "Column": "table",
    "Part": "table",
    "PartResult": "results",
    "Place": "plan",
    "Plan": "plan",
    "Readout": "table",
    "Request": "plan",
    "Row": "table",
    "RowResult": "results",
    "Run": "plan",
    "Runner": "runner",
    "Table": "table",
    "TableResult": "results",
    "check_data": "plan",
    "collect": "collecting",
    "list_tables": "table",
    "load_table": "table",
    "make_plan": "plan",
    "write_result": "report",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
