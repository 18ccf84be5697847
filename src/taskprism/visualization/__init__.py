"""Panels of predictions, training curves and reports.

* :func:`panel` draws an image next to its predictions and labels; :func:`comparison_panel` does
  this for several networks; :func:`sheet` stacks panels. Each task provides its colors and legend.
* :func:`read_curves` and :func:`plot_curves` draw the logs of runs.
* :func:`write_report` writes one HTML file with embedded tables and pictures.

>>> import torch
>>> from taskprism.tasks import create_task
>>> from taskprism.visualization import panel
>>> depth = create_task("depth")
>>> panel(torch.rand(3, 60, 80), {"depth": torch.rand(1, 60, 80)}, tasks=[depth]).ndim
3
"""

from taskprism.text_table import TextTable
from taskprism.visualization.curves import Curves, as_svg, plot_curves, read_curves
from taskprism.visualization.panels import comparison_panel, panel, sheet
from taskprism.visualization.report import (
    Figure,
    Section,
    TileRow,
    render_report,
    write_report,
)

__all__ = [
    "Curves",
    "Figure",
    "Section",
    "TextTable",
    "TileRow",
    "as_svg",
    "comparison_panel",
    "panel",
    "plot_curves",
    "read_curves",
    "render_report",
    "sheet",
    "write_report",
]
