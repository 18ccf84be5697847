"""Every released configuration with its reference implementation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from reference import released_affinity, released_networks, released_sharing
from reference.released_astmt import Variant
from reference.released_layers import Released

MTL = "multi_task_learning_pytorch"
EMA = "ema_net"
NYUD = {"semseg": 40, "depth": 1}
NYUD_13 = {"semseg": 13, "depth": 1, "normals": 3}
NORMALS_EDGE = {"normals": 3, "edge": 1}
CITYSCAPES = {"semseg": 19, "depth": 1}
PASCAL_3 = {"semseg": 21, "human_parts": 7, "saliency": 1}
PASCAL_5 = {**PASCAL_3, "normals": 3, "edge": 1}
SMALL = (64, 96)

#: In the order in which the released code concatenates tasks.
ORDER = ["semseg", "human_parts", "saliency", "normals", "edge", "depth"]
EMA_ORDER = ["semseg", "depth", "normals"]


@dataclass(frozen=True)
class Case:
    """A released configuration.

    Attributes:
        table: Name of the table of its tensors.
        source: Name of the source.
        model: Name of the model in taskprism.
        tasks: Main tasks.
        reference: Reference implementation: tensors, images, main tasks, all tasks -> outputs.
        auxiliary: Auxiliary tasks.
        small: Size of images at which numbers are compared, if they are.
        depth: Of a ResNet; numbers are compared at 18.
        size: Of the images of its data set, which the tensors of some networks depend on.
    """

    table: str
    source: str
    model: str
    tasks: dict[str, int]
    reference: Callable[..., Any]
    auxiliary: dict[str, int] = field(default_factory=dict)
    small: tuple[int, int] | None = None
    depth: int | None = None
    size: tuple[int, int] = (128, 128)

    def __str__(self) -> str:
        return self.table

    def released_name(self, task: str) -> str:
        return {"saliency": "sal"}.get(task, task)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the checkpoint: what the restatement reads."""
        released = Released(device="meta")
        height, width = self.size
        with torch.no_grad():
            self.run(released, torch.empty(1, 3, height, width, device="meta"))
        return {name: tuple(tensor.shape) for name, tensor in released.items()}

    def run(self, released: Released, images: Tensor, small: bool = False) -> tuple[Any, Any]:
        """Final outputs and initial ones of every scale."""
        order = EMA_ORDER if self.source == EMA else ORDER
        every = {**self.tasks, **self.auxiliary}
        main, both = (
            {self.released_name(t): tasks[t] for t in order if t in tasks}
            for tasks in (self.tasks, every)
        )
        options = {} if self.depth is None else {"depth": 18 if small else self.depth}
        found = self.reference(released, images, main, both, **options)
        return found if isinstance(found, tuple) else (found, [])


def _single(p: Released, x: Tensor, tasks: dict[str, int], _: object, **options: Any) -> Any:
    ((task, out),) = tasks.items()
    return {task: released_networks.single_task(p, x, out, **options)}


def _final(network: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
    """A network without a front end, or without auxiliary tasks."""
    return lambda p, x, tasks, _, **options: network(p, x, tasks, **fixed, **options)


_multi = _final(released_networks.multi_task)
_multi_ema = _final(released_networks.multi_task, heads="heads")
_pad, _mti = released_networks.pad_net, released_networks.mti_net
_ctal, _ctal_ms = _final(released_affinity.ctal), _final(released_affinity.ctal_multiscale)
_NYU, _CITY = (288, 384), (128, 256)

CASES = [
    Case("mtl__nyud_hrnet18_semseg", MTL, "single_task", {"semseg": 40}, _single, small=SMALL),
    Case("mtl__nyud_hrnet18_multi_task_baseline", MTL, "multi_task", NYUD, _multi),
    Case(
        "mtl__pascal_hrnet18_multi_task_baseline", MTL, "multi_task", PASCAL_5, _multi, small=SMALL
    ),
    Case("mtl__nyud_hrnet18_pad_net", MTL, "pad_net", NYUD, _pad),
    Case(
        "mtl__nyud_hrnet18_pad_net+edges_normals", MTL, "pad_net", NYUD, _pad, NORMALS_EDGE, SMALL
    ),
    Case("mtl__pascal_hrnet18_pad_net", MTL, "pad_net", PASCAL_5, _pad),
    Case("mtl__nyud_hrnet18_mti_net", MTL, "mti_net", NYUD, _mti),
    Case(
        "mtl__nyud_hrnet18_mti_net+edges_normals", MTL, "mti_net", NYUD, _mti, NORMALS_EDGE, SMALL
    ),
    Case("mtl__pascal_hrnet18_mti_net", MTL, "mti_net", PASCAL_5, _mti, small=SMALL),
    Case("mtl__pascal_hrnet18_mti_net_small", MTL, "mti_net", PASCAL_3, _mti),
    Case("mtl__nyud_resnet50_semseg", MTL, "single_task", {"semseg": 40}, _single, {}, SMALL, 50),
    Case("mtl__nyud_resnet50_multi_task_baseline", MTL, "multi_task", NYUD, _multi, {}, SMALL, 50),
    *(
        Case(f"mtl__nyud_resnet50_{name}", MTL, name, NYUD, _final(network), {}, SMALL, 50)
        for name, network in (
            ("cross_stitch", released_sharing.cross_stitch),
            ("nddr_cnn", released_sharing.nddr_cnn),
            ("mtan", released_sharing.mtan),
        )
    ),
    Case(
        "ema__nyu_hrnet18_stl", EMA, "single_task", NYUD_13, _final(released_networks.single_tasks)
    ),
    Case("ema__nyu_hrnet18_hps", EMA, "multi_task", NYUD_13, _multi_ema, small=SMALL),
    Case("ema__nyu_hrnet18_padnet", EMA, "pad_net", NYUD_13, _pad),
    Case(
        "ema__nyu_hrnet18_papnet",
        EMA,
        "pap_net",
        NYUD_13,
        _final(released_affinity.pap_net),
        small=SMALL,
    ),
    Case("ema__nyu_hrnet18_mti_net", EMA, "mti_net", NYUD_13, _mti, small=SMALL),
    Case("ema__nyu_hrnet18_emanet", EMA, "ctal", NYUD_13, _ctal, small=SMALL, size=_NYU),
    Case(
        "ema__nyu_hrnet18_m_emanet",
        EMA,
        "ctal_multiscale",
        NYUD_13,
        _ctal_ms,
        small=SMALL,
        size=_NYU,
    ),
    Case("ema__cityscapes_hrnet18_emanet", EMA, "ctal", CITYSCAPES, _ctal, size=_CITY),
    Case(
        "ema__cityscapes_hrnet18_m_emanet", EMA, "ctal_multiscale", CITYSCAPES, _ctal_ms, size=_CITY
    ),
]

PASCAL_ASTMT = {"edge": 1, "semseg": 21, "human_parts": 7, "normals": 3, "sal": 1}
NYUD_ASTMT = {"edge": 1, "semseg": 41, "normals": 3, "depth": 1}

#: Released configurations of ASTMT by the names of their tables.
ASTMT = {
    "astmt__nyud_se_resnet50_seenc_sedec_adapt": Variant(NYUD_ASTMT, depth=50),
    "astmt__pascal_se_mobilenet_v2_seenc_sedec": Variant(PASCAL_ASTMT, depth=None, adapters=False),
    "astmt__pascal_se_resnet26_baseline": Variant(
        PASCAL_ASTMT, squeeze_encoder=False, squeeze_decoder=False, adapters=False
    ),
    "astmt__pascal_se_resnet26_sedec": Variant(PASCAL_ASTMT, squeeze_encoder=False, adapters=False),
    "astmt__pascal_se_resnet26_seenc_sedec_adapt": Variant(PASCAL_ASTMT),
}

#: Released configurations of systems on transformers by the names of their tables.
FRONTIER = [
    "invpt__nyud_vitL",
    "invpt__nyud_vitT_embed64_16",
    "invpt__pascal_vitL",
    "invpt__pascal_vitT_embed64_16",
    "mlore__nyud_vitL",
    "mlore__nyud_vitT_reduced",
    "mlore__pascal_vitB",
    "mlore__pascal_vitL",
    "mlore__pascal_vitT_reduced",
    "mtlora__nyud_mtlora_tiny_448_r64_scale4_pertask",
    "mtlora__pascal_mtlora_plus_tiny_448_r64_scale4_pertask",
    "mtlora__pascal_mtlora_tiny_448_r64_scale4_pertask",
    "mtlora__pascal_mtlora_tiny_448_r64_scale4_pertask_addition",
    "mtlora__pascal_mtlora_tiny_448_r64_scale4_pertask_matrixv2",
    "taskprompter__nyud_vitL",
    "taskprompter__nyud_vitT_embed48_64",
    "taskprompter__pascal_vitB",
    "taskprompter__pascal_vitL",
    "taskprompter__pascal_vitT_embed48_64",
]
