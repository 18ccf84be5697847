"""Layout of MTLoRA's repository (Agiza et al., CVPR 2024)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from taskprism.errors import CheckpointError
from taskprism.interop.source import Checkpoint, Layout, Rule, register_source
from taskprism.interop.transformers import TransformerSource, first_of

_STAGES = 4
_WINDOW = 7
_PATCH = 4
_BLOCK = "layers.{layer}.blocks.{block}"
#: Width and blocks of the stages -> backbone.
_SWINS: dict[tuple[int, tuple[int, ...]], str] = {
    (96, (2, 2, 6, 2)): "swin_tiny_patch4_window7_224",
    (96, (2, 2, 18, 2)): "swin_small_patch4_window7_224",
    (128, (2, 2, 18, 2)): "swin_base_patch4_window7_224",
    (192, (2, 2, 18, 2)): "swin_large_patch4_window7_224",
}
_CREATED = "a table that the network creates itself"
_UNUSED = "an update that never influences the output"


def _updates(theirs: str, ours: str) -> tuple[Rule, ...]:
    """An adapted layer."""
    theirs, ours = f"backbone.{theirs}", f"backbone.model.{ours}"
    return (
        (theirs + ".lora_shared_A", ours + ".shared.down"),
        (theirs + ".lora_shared_B", ours + ".shared.up"),
        (theirs + ".lora_tasks_A.{task}", ours + ".tasks.{task}.down"),
        (theirs + ".lora_tasks_B.{task}", ours + ".tasks.{task}.up"),
        (theirs + ".lora_norm.{rest}", ours + ".norm.{rest}"),
        (theirs + ".linear.{rest}", ours + ".linear.{rest}"),
    )


def _merging(stage: int) -> tuple[Rule, ...]:
    """Patch merging, here at the start of the next stage."""
    theirs, ours = f"layers.{stage}.downsample", f"layers.{stage + 1}.downsample"
    return (
        *_updates(f"{theirs}.reduction", f"{ours}.reduction"),
        (f"backbone.{theirs}.{{rest}}", f"backbone.model.{ours}.{{rest}}"),
    )


RULES: tuple[Rule, ...] = (
    ("backbone.patch_embed.{rest}", "backbone.model.patch_embed.{rest}"),
    *(
        rule
        for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
        for rule in _updates(f"{_BLOCK}.{layer}", f"{_BLOCK}.{layer}")
    ),
    *(
        (f"backbone.{_BLOCK}.{name}", f"backbone.model.{_BLOCK}.{name}")
        for name in ("norm1.{rest}", "norm2.{rest}", "attn.relative_position_bias_table")
    ),
    *(rule for stage in range(_STAGES - 1) for rule in _merging(stage)),
    ("downsampler.{task}.downsample_{level}.{rest}", "heads.{task}.reduce.{level}.{rest}"),
    ("decoders.decoders.{task}.last_layer.{layer}.{rest}", "heads.{task}.predict.{layer}.{rest}"),
)


def _backbone(tensors: Mapping[str, Tensor]) -> str:
    embedding = tensors.get("backbone.patch_embed.proj.weight")
    width = 0 if embedding is None else embedding.shape[0]
    depths = tuple(
        sum(
            f"backbone.layers.{stage}.blocks.{block}.norm1.weight" in tensors for block in range(50)
        )
        for stage in range(_STAGES)
    )
    if (width, depths) not in _SWINS:
        raise CheckpointError(
            f"The backbone in this file ({width} channels, blocks {depths}) is none of "
            f"{', '.join(_SWINS.values())}. Check `source`."
        )
    return _SWINS[width, depths]


def _options(checkpoint: Checkpoint) -> dict[str, Any]:
    tensors = checkpoint.tensors
    own = [name for name in tensors if "lora_tasks_A" in name]
    task = next(iter(checkpoint.tasks))
    reduced = [f"downsampler.{task}.downsample_{level}.weight" for level in range(_STAGES)]
    if not own or any(name not in tensors for name in reduced):
        raise CheckpointError(
            "This file has no updates per task or no decoder of them. Check `source`."
        )
    return {
        "rank": first_of(tensors, "backbone.", ".attn.qkv.lora_shared_A").shape[0],
        "task_rank": tensors[own[0]].shape[0],
        "mode": "addition" if any("lora_norm" in name for name in tensors) else "matrix",
        "variant": "mtlora+" if any("reduction.lora" in name for name in tensors) else "mtlora",
        "level_channels": [tensors[name].shape[0] for name in reduced],
        "image_size": list(_image_size(checkpoint)),
    }


def _image_size(checkpoint: Checkpoint) -> tuple[int, int]:
    """Side of the square images, from the mask of the windows of the first stage."""
    mask = checkpoint.tensors.get("backbone.layers.0.blocks.1.attn_mask")
    if checkpoint.size is not None or mask is None:
        return checkpoint.size or (448, 448)
    side = math.isqrt(mask.shape[0]) * _WINDOW * _PATCH
    return side, side


@register_source
class MTLoRA(TransformerSource):
    """Repository of MTLoRA (Agiza et al., CVPR 2024).

    Files of ``mode="matrixv2"`` hold the same tensors as those of ``"matrix"``; give the mode.
    """

    name = "mtlora"
    repository = "https://github.com/scale-lab/MTLoRA"
    tasks: ClassVar[Mapping[str, str]] = {
        "semseg": "semseg",
        "normals": "normals",
        "saliency": "sal",
        "human_parts": "human_parts",
        "edge": "edge",
        "depth": "depth",
    }
    layouts = (Layout("mtlora", RULES, _backbone, _options),)
    dropped = (
        ("backbone.layers.{layer}.blocks.{block}.attn.relative_position_index", _CREATED),
        ("backbone.layers.{layer}.blocks.{block}.attn_mask", _CREATED),
        ("backbone.layers.3.blocks.{block}.mlp.fc2.lora_{rest}", _UNUSED),
    )
