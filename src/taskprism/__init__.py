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
``register_transform``, ``register_metric``, ``register_loss``, ``register_balancer`` and
``register_consistency_loss``; see :mod:`taskprism.registry`.

Packages: :mod:`.tasks` (loss, metrics, decoding and colors of each task), :mod:`.models` and their
parts (:mod:`.backbones`, :mod:`.distillation`, :mod:`.layers`), :mod:`.data`, :mod:`.losses`,
:mod:`.metrics`, :mod:`.recipes`, :mod:`.training`, :mod:`.sweeps`, :mod:`.scoring`,
:mod:`.analysis` and :mod:`.visualization`.

Names are imported on first use, so that ``import taskprism`` is fast. ``__init__.pyi`` lists them.
"""

from importlib import metadata

import lazy_loader

__version__ = metadata.version("taskprism")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
