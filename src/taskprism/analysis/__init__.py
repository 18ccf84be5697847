"""Analyses of trained models: comparisons, resources, features and label statistics.

* :func:`compare` lists runs in one table, with Δm relative to their single-task networks;
* :mod:`~taskprism.scoring.resources` counts parameters and operations and measures time;
* :mod:`~taskprism.analysis.affinity` counts how often the labels of two tasks agree on which pixels
  are similar (MTI-Net, figure 2b);
* :mod:`~taskprism.analysis.information_flow` scores initial predictions at every scale (table 4);
* :mod:`~taskprism.analysis.resource_plot` draws performance against resources (ASTMT, figure 5);
* :mod:`~taskprism.analysis.features` draws the features of every task (figure 1);
* :mod:`~taskprism.analysis.modulation` plots the task-specific attention of ASTMT (figure 6);
* :mod:`~taskprism.analysis.qualitative` shows the predictions of several methods side by side;
* :mod:`~taskprism.analysis.run_report` writes an HTML page about one run (``taskprism report``).

Import the modules by name. ``taskprism analyze`` runs them from the command line.

>>> import torch
>>> from taskprism.analysis.features import collect_features
>>> from taskprism.models import create_model
>>> model = create_model("pad_net", {"semseg": 5, "depth": 1}, backbone="test_resnet")
>>> for place in collect_features(model, torch.rand(1, 3, 32, 48)):
...     print(place.place, *place.tasks)
backbone[1]
backbone[2]
backbone[3]
initial_heads.* semseg depth
distillation semseg depth
heads.*.1 semseg depth
"""

from taskprism.scoring.compare import compare
from taskprism.scoring.runs import RunResult, find_runs, read_run

__all__ = ["RunResult", "compare", "find_runs", "read_run"]
