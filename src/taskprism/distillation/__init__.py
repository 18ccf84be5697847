"""Cross-task modules: dictionary of task features -> dictionary of refined task features.

Every module takes ``(tasks, channels, sources=None, ...)``, where ``sources`` are the tasks whose
features are read (main and auxiliary ones) and ``tasks`` those that are refined, and maps
``{source: (B, channels, H, W)}`` to ``{task: (B, channels, H, W)}``. It can be used alone, or named
in a model that has a ``distillation`` option. A new module is one file and one line in
:data:`DISTILLATIONS`.

>>> import torch
>>> from taskprism.distillation import create_distillation
>>> module = create_distillation("spatial_attention", ["semseg", "depth"], channels=8)
>>> features = {"semseg": torch.rand(1, 8, 6, 5), "depth": torch.rand(1, 8, 6, 5)}
>>> {task: tuple(x.shape) for task, x in module(features).items()}
{'semseg': (1, 8, 6, 5), 'depth': (1, 8, 6, 5)}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskprism.distillation.affinity_diffusion import AffinityDiffusion
from taskprism.distillation.base import Distillation
from taskprism.distillation.concat import Concat
from taskprism.distillation.ctal import CTAL
from taskprism.distillation.relational_context import RelationalContext
from taskprism.distillation.spatial_attention import SpatialAttention
from taskprism.distillation.tpim import TPIM
from taskprism.distillation.xtam import XTAM
from taskprism.errors import InputError, UnknownNameError
from taskprism.registry import check_options, options_of

DISTILLATIONS: list[type[Distillation]] = [
    SpatialAttention,
    AffinityDiffusion,
    CTAL,
    TPIM,
    XTAM,
    RelationalContext,
    Concat,
]


def list_distillations() -> list[str]:
    """Names that :func:`create_distillation` knows."""
    return [module.name for module in DISTILLATIONS]


def find_distillation(name: str) -> type[Distillation]:
    """Class of that name; an unknown name answers with those that exist."""
    for module in DISTILLATIONS:
        if module.name == name:
            return module
    raise UnknownNameError("distillation", name, list_distillations())


def create_distillation(
    name: str,
    tasks: Sequence[str],
    channels: int,
    sources: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    stride: int | None = None,
    **options: Any,
) -> Distillation:
    """Build a cross-task module by name.

    Args:
        name: One of :func:`list_distillations`.
        tasks: Names of the tasks whose features are refined.
        channels: Channels of every task's feature map.
        sources: Names of the tasks whose features are read; by default ``tasks``.
        size: ``(H, W)`` of the feature maps; only read by modules that need it.
        stride: Of the feature maps against the image; sets what a module makes depend on it (how
            far attention downscales, say). By default the module's own defaults hold.
        **options: The module's own.

    Raises:
        UnknownNameError: For an unknown name or option.
        InputError: If the module needs a size and none is given.
    """
    module = find_distillation(name)
    known = set(options_of(module)) - {"sources", "size"}
    check_options(f"distillation {name!r}", options, known)
    if module.needs_size:
        if size is None:
            raise InputError(
                f"Distillation {name!r} is built for one size: give size=(H, W), that of the "
                "feature maps here and that of the images in create_model."
            )
        options["size"] = tuple(size)
    suited = module.options_at(stride) if stride is not None else {}
    return module(tasks, channels, sources=sources, **{**suited, **options})


__all__ = [
    "CTAL",
    "DISTILLATIONS",
    "TPIM",
    "XTAM",
    "AffinityDiffusion",
    "Concat",
    "Distillation",
    "RelationalContext",
    "SpatialAttention",
    "create_distillation",
    "find_distillation",
    "list_distillations",
]
