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

``model.save_pretrained(folder)`` writes a model. ``taskprism.load`` reads such a folder, the best
checkpoint of a training run, or a model of the Hugging Face hub. ``taskprism.import_official``
reads checkpoints that the papers' authors released. ``taskprism.train(recipe, out)`` and
``taskprism.evaluate(run)`` do what the commands of the same names do.

Your own parts have decorators: ``@taskprism.register_model``, ``register_task``,
``register_distillation``, ``register_head``, ``register_backbone``, ``register_protocol``,
``register_metric`` and ``register_balancer``; see :mod:`taskprism.registry`.

Packages: :mod:`.tasks` (loss, metrics, decoding and colors of each task), :mod:`.models` and their
parts (:mod:`.backbones`, :mod:`.distillation`, :mod:`.layers`), :mod:`.data`, :mod:`.losses`,
:mod:`.metrics`, :mod:`.recipes`, :mod:`.training`, :mod:`.scoring`, :mod:`.analysis` and
:mod:`.visualization`.

Names are imported on first use, so that ``import taskprism`` is fast.
"""

from __future__ import annotations

import ast
import importlib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the one list of public names: __getattr__ below reads it too
    from taskprism.backbones import list_backbones, register_backbone
    from taskprism.data import Protocol, create_protocol, list_protocols, register_protocol
    from taskprism.distillation import list_distillations, register_distillation
    from taskprism.interop import import_official
    from taskprism.layers.heads import list_heads, register_head
    from taskprism.losses import list_balancers, register_balancer
    from taskprism.metrics import list_metrics, register_metric
    from taskprism.models import create_model, list_models, register_model
    from taskprism.models.hub import load
    from taskprism.models.inference import predict
    from taskprism.recipes import list_recipes, load_recipe, register_recipes
    from taskprism.registry import import_parts
    from taskprism.tasks import Task, create_task, list_tasks, register_task
    from taskprism.training.run import evaluate, train

__version__ = metadata.version("taskprism")


def _public_names() -> dict[str, str]:
    """Name -> module, from the imports for type checkers above."""
    statements = ast.parse(Path(__file__).read_text(encoding="utf-8")).body
    block = next(s for s in statements if isinstance(s, ast.If))
    imports = [s for s in block.body if isinstance(s, ast.ImportFrom)]
    return {alias.name: str(s.module) for s in imports for alias in s.names}


_HOMES = _public_names()
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'taskprism' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
