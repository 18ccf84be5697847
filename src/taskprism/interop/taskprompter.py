"""Layout of TaskPrompter's repository (Ye and Xu, ICLR 2023)."""

from __future__ import annotations

from typing import Any

from taskprism.interop.source import Checkpoint, Layout, Rule, register_source
from taskprism.interop.transformers import (
    TOKEN_HEADS,
    TRANSFORMER,
    TransformerSource,
    find_image_size,
    find_vit,
    first_of,
)

_BLOCK = "backbone.blocks.{block}.attn"
_LARGE = 1024  # width of ViT-L

RULES: tuple[Rule, ...] = (
    ("backbone.task_prompts", "prompts"),
    (_BLOCK + ".token_trans.{rest}", "to_positions.{block}.{rest}"),
    (_BLOCK + ".token_trans1.{rest}", "from_positions.{block}.{rest}"),
    ("backbone.fea_decode_spa.{level}.{task}.0.{rest}", "spatial.{level}.{task}.{rest}"),
    ("backbone.fea_decode_chan.{level}.{task}.0.{rest}", "channel.{level}.{task}.{rest}"),
    ("backbone.fea_fuse.{level}.{task}.{layer}.{rest}", "fuse.{level}.{task}.{layer}.{rest}"),
    (
        "backbone.ctr_attn_conv.{level}.{task}.{layer}.{rest}",
        "reweigh.{level}.{task}.{layer}.{rest}",
    ),
    *TOKEN_HEADS,
    TRANSFORMER,
)


def _options(checkpoint: Checkpoint) -> dict[str, Any]:
    tensors = checkpoint.tensors
    width = first_of(tensors, "backbone.norm", ".weight").shape[0]
    is_pascal = "human_parts" in checkpoint.tasks
    size = list(find_image_size(checkpoint, prefix_tokens=1))
    return {
        "size": size,
        "image_size": size,
        "embed_channels": first_of(tensors, "backbone.fea_decode_spa.", ".weight").shape[0],
        "channels": first_of(tensors, "heads.", ".linear_pred.weight").shape[1],
        "windows": 1 if is_pascal and width == _LARGE else 4,
        "reweigh": checkpoint.has("backbone.ctr_attn_conv."),
    }


@register_source
class TaskPrompter(TransformerSource):
    """Repository of TaskPrompter (Ye and Xu, ICLR 2023); saliency has two channels there.

    The number of windows is not in the file. It is that of the released networks: 1 for ViT-L on
    PASCAL-Context and 4 otherwise; give ``windows`` for others.
    """

    name = "taskprompter"
    repository = "https://github.com/prismformore/Multi-Task-Transformer"
    layouts = (Layout("taskprompter", RULES, find_vit, _options),)
    dropped = ((_BLOCK + ".token_trans1.{rest}", "a layer that never influences the output"),)
