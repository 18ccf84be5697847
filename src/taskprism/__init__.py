"""Multi-task dense prediction in PyTorch: one image in, every per-pixel answer out.

>>> import torch, taskprism
>>> taskprism.list_models()[:3]
['astmt', 'astmt_single_task', 'atrc']
>>> model = taskprism.create_model(
...     "mti_net",
...     tasks={"semseg": 40, "depth": 1},  # predicted at the end
...     auxiliary_tasks={"edge": 1, "normals": 3},  # predicted on the way, to help
...     backbone="hrnet_w18_small_v2",  # any timm name
... ).eval()
>>> photographs = torch.rand(1, 3, 65, 97)  # RGB in [0, 1], any size
>>> with torch.no_grad():
...     outputs = model(model.normalize(photographs))
>>> {name: tuple(output.shape) for name, output in outputs.items()}
{'semseg': (1, 40, 65, 97), 'depth': (1, 1, 65, 97)}
>>> len(outputs.initial)  # predictions of the front end, one mapping per scale, finest first
4

``model.save_pretrained(folder)`` writes a model, ``taskprism.load(folder)`` reads it, or the best
checkpoint of a training run, or a model on the Hugging Face hub; ``taskprism.import_official``
reads checkpoints that the papers' authors released. The pieces: :mod:`.tasks` (what is predicted:
loss, metrics, decoding, colors), :mod:`.models` and what they compose (:mod:`.backbones`,
:mod:`.distillation`, :mod:`.layers`), :mod:`.data`, :mod:`.training`, :mod:`.metrics`,
:mod:`.analysis`, :mod:`.visualization`. The command ``taskprism`` trains, scores, compares and
shows.

Names are imported on first use, so that ``import taskprism`` is quick.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskprism.data import Protocol, list_protocols
    from taskprism.interop import import_official
    from taskprism.models import create_model, list_models
    from taskprism.models.hub import load
    from taskprism.recipes.files import list_recipes
    from taskprism.tasks import Task, list_tasks

__version__ = metadata.version("taskprism")

__all__ = [
    "Protocol",
    "Task",
    "__version__",
    "create_model",
    "import_official",
    "list_models",
    "list_protocols",
    "list_recipes",
    "list_tasks",
    "load",
]

_HOMES = {
    "Protocol": "taskprism.data",
    "Task": "taskprism.tasks",
    "create_model": "taskprism.models",
    "import_official": "taskprism.interop",
    "list_models": "taskprism.models",
    "list_protocols": "taskprism.data",
    "list_recipes": "taskprism.recipes.files",
    "list_tasks": "taskprism.tasks",
    "load": "taskprism.models.hub",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'taskprism' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
