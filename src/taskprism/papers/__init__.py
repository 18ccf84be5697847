"""The tables of the papers: a recipe for every row, and our numbers next to the printed ones.

* :func:`list_tables` lists the shipped tables, and :func:`load_table` reads one. A
  :class:`Table` consists of :class:`Part` objects with :class:`Column` and :class:`Row` objects,
  which hold the printed numbers. Each table is one YAML file; :mod:`taskprism.papers.table`
  documents its keys.
* Every trained row is also a recipe: ``taskprism train mti_net/2a/single_task --out DIR``.
* :func:`make_plan` resolves a :class:`Request` (data, budget, number of seeds) into runs,
  :func:`train_plan` trains the runs that are missing in a :class:`Place`, :func:`collect` gathers
  the finished ones, and :func:`write_result` writes the table. ``taskprism reproduce`` calls these
  four. A *budget* is a set of changes to the recipes that shortens training.

All runs are in one folder, which several tables can share. The name of a run is derived from its
settings, so rows with equal recipes share one run. An engine (:mod:`taskprism.sweeps`) trains them
in this process or on a Ray cluster, and resumes those that were interrupted.

A table shows mean and standard deviation over seeds, Δm against our baseline row of the same seed
with a bootstrap interval, the sizes of the networks (known before training), and whether our rows
rank as in the paper. Differences to the paper are shown only if data and length of training are
those of the paper.
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
    "Table": "table",
    "TableResult": "results",
    "check_data": "plan",
    "collect": "collecting",
    "list_tables": "table",
    "load_table": "table",
    "make_plan": "plan",
    "train_plan": "plan",
    "write_result": "report",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
