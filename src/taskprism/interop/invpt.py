"""Layout of InvPT's repository (Ye and Xu, ECCV 2022)."""

from __future__ import annotations

from typing import Any

from taskprism.interop.source import Checkpoint, Layout, Rule, register_source
from taskprism.interop.transformers import (
    TRANSFORMER,
    UNUSED,
    TransformerSource,
    find_image_size,
    find_vit,
    first_of,
)

_DECODER = "multi_task_decoder"
_STAGE = f"{_DECODER}.invpt.invpt_stages.{{stage}}"
_BLOCK = f"{_STAGE}.blocks.0"
_OWN = "stages.{stage}"


def _convolutions(theirs: str, ours: str, places: tuple[tuple[int, int], ...]) -> tuple[Rule, ...]:
    """Convolutions and norms of a sequence, as pairs of a convolution and its norm."""
    return tuple(
        rule
        for number, (convolution, norm) in enumerate(places)
        for rule in (
            (f"{theirs}.{convolution}.{{rest}}", f"{ours}.{number}.0.{{rest}}"),
            (f"{theirs}.{norm}.{{rest}}", f"{ours}.{number}.1.{{rest}}"),
        )
    )


RULES: tuple[Rule, ...] = (
    TRANSFORMER,
    (f"{_DECODER}.scale_embed.1.{{rest}}", "skips.0.{rest}"),
    (f"{_DECODER}.scale_embed.0.{{rest}}", "skips.1.{rest}"),
    *(
        rule
        for layer in (0, 1)
        for rule in (
            (
                f"{_DECODER}.preliminary_decoder.{{task}}.{layer}.conv.{{rest}}",
                f"preliminary.{{task}}.{layer}.0.{{rest}}",
            ),
            (
                f"{_DECODER}.preliminary_decoder.{{task}}.{layer}.bn1.{{rest}}",
                f"preliminary.{{task}}.{layer}.1.{{rest}}",
            ),
        )
    ),
    (f"{_DECODER}.intermediate_head.{{task}}.{{rest}}", "initial_heads.{task}.{rest}"),
    (f"{_DECODER}.invpt.mix_proj.{{task}}.0.{{rest}}", "mix.{task}.{rest}"),
    *_convolutions(
        f"{_STAGE}.patch_embed.{{place}}.proj", _OWN + ".embed.{place}", ((1, 2), (4, 5))
    ),
    (_BLOCK + ".norm1.{rest}", _OWN + ".norm1.{rest}"),
    (_BLOCK + ".norm2.{rest}", _OWN + ".norm2.{rest}"),
    (_BLOCK + ".mlp.fc1.{rest}", _OWN + ".expand.{rest}"),
    (_BLOCK + ".mlp.fc2.{rest}", _OWN + ".reduce.{rest}"),
    (
        _BLOCK + ".attn.conv_proj_q.{place}.conv.{rest}",
        _OWN + ".attention.queries.{place}.0.{rest}",
    ),
    (_BLOCK + ".attn.conv_proj_q.{place}.bn.{rest}", _OWN + ".attention.queries.{place}.1.{rest}"),
    (_BLOCK + ".attn.proj_q.{rest}", _OWN + ".attention.to_query.{rest}"),
    (_BLOCK + ".attn.proj_k.{rest}", _OWN + ".attention.to_key.{rest}"),
    (_BLOCK + ".attn.proj_v.{rest}", _OWN + ".attention.to_value.{rest}"),
    (_BLOCK + ".attn.proj.{rest}", _OWN + ".attention.project.{rest}"),
    (_BLOCK + ".attn.fuse_attn.{rest}", _OWN + ".attention.pass_on.{rest}"),
    (f"{_DECODER}.invpt.norm_mts.{{stage}}.{{rest}}", _OWN + ".norm.{rest}"),
    (f"{_DECODER}.invpt.redu_chan.{{stage}}.{{place}}.{{rest}}", _OWN + ".project.{place}.{rest}"),
    (f"{_DECODER}.invpt.mt_proj.{{task}}.{{layer}}.{{rest}}", "refine.{task}.{layer}.{rest}"),
    ("heads.{task}.linear_pred.{rest}", "heads.{task}.{rest}"),
)


def _options(checkpoint: Checkpoint) -> dict[str, Any]:
    tensors = checkpoint.tensors
    channels = first_of(tensors, f"{_DECODER}.preliminary_decoder.", ".1.conv.weight").shape[0]
    width = first_of(tensors, "heads.", ".linear_pred.weight").shape[1]
    return {
        "channels": channels,
        "prediction_channels": width - channels,
        "image_size": list(find_image_size(checkpoint, prefix_tokens=1)),
    }


@register_source
class InvPT(TransformerSource):
    """Repository of InvPT (Ye and Xu, ECCV 2022); saliency has two channels there."""

    name = "invpt"
    repository = "https://github.com/prismformore/Multi-Task-Transformer"
    layouts = (Layout("invpt", RULES, find_vit, _options),)
    dropped = (
        (f"{_DECODER}.scale_embed.2.{{rest}}", UNUSED),
        (f"{_DECODER}.invpt.redu_chan.0.{{place}}.{{rest}}", UNUSED),
        (f"{_DECODER}.invpt.invpt_stages.0.blocks.0.attn.fuse_attn.{{rest}}", UNUSED),
        (f"{_DECODER}.invpt.norm_mt.{{rest}}", UNUSED),
    )
