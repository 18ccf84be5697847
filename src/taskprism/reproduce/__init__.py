"""The tables of the papers: every row a recipe, ours beside theirs.

* :func:`list_tables` names the tables that are shipped, :func:`load_table` reads one: a
  :class:`Table` has :class:`Part` s of :class:`Column` s and :class:`Row` s with the printed
  figures. A table is one YAML file; :mod:`taskprism.reproduce.table` says its keys.
* Every row that is trained is a recipe too: ``taskprism train mti_net/2a/single_task --out DIR``.
"""

from taskprism.reproduce.library import list_tables, load_table
from taskprism.reproduce.table import Column, Part, Readout, Row, Table

__all__ = ["Column", "Part", "Readout", "Row", "Table", "list_tables", "load_table"]
