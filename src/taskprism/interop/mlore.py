"""Layout of MLoRE's repository (Yang et al., CVPR 2024)."""

from __future__ import annotations

from typing import Any

from taskprism.interop.source import Checkpoint, Layout, Rule, register_source
from taskprism.interop.transformers import (
    TOKEN_HEADS,
    TRANSFORMER,
    UNUSED,
    TransformerSource,
    find_image_size,
    find_vit,
    first_of,
)

_EXPERTS, _KEPT = 15, 9
#: Layers of the router there and here.
_ROUTER = {
    "0.conv1": "mean_in",
    "0.ln": "mean_norm",
    "0.conv3": "mean_out",
    "0.convsp": "positions",
    "0.ln_sp": "position_norm",
    "0.conv2": "position_out",
    "1": "decide",
}


def _mixture(theirs: str, ours: str) -> tuple[Rule, ...]:
    """One mixture of experts at one level."""
    theirs, ours = f"backbone.{theirs}.{{level}}", f"{ours}.{{level}}"
    return (
        (theirs + ".lora_list_1.{expert}.W.{rest}", ours + ".experts.{expert}.reduce.{rest}"),
        (theirs + ".lora_list_1.{expert}.M.{rest}", ours + ".experts.{expert}.expand.{rest}"),
        (theirs + ".conv1.{task}.{rest}", ours + ".enter.{task}.{rest}"),
        (theirs + ".conv2.{task}.W.{rest}", ours + ".own.{task}.reduce.{rest}"),
        (theirs + ".conv2.{task}.M.{rest}", ours + ".own.{task}.expand.{rest}"),
        (theirs + ".conv3.{task}.{rest}", ours + ".leave.{task}.{rest}"),
        (theirs + ".share_conv.{rest}", ours + ".shared.{rest}"),
        (theirs + ".bn.{task}.{rest}", ours + ".norm.{task}.{rest}"),
        (theirs + ".bn_all.{task}.{rest}", ours + ".norm_all.{task}.{rest}"),
        *(
            (
                f"{theirs}.router_1.{{task}}.{layer}.{{rest}}",
                f"{ours}.routers.{{task}}.{own}.{{rest}}",
            )
            for layer, own in _ROUTER.items()
        ),
    )


RULES: tuple[Rule, ...] = (
    ("backbone.fea_fuse.{level}.{rest}", "reduce.{level}.{rest}"),
    *_mixture("MLoRE_1", "first"),
    *_mixture("MLoRE_2", "second"),
    ("backbone.task_mask.{task}.{layer}.{rest}", "mask.{task}.{layer}.{rest}"),
    *TOKEN_HEADS,
    TRANSFORMER,
)


def _options(checkpoint: Checkpoint) -> dict[str, Any]:
    tensors = checkpoint.tensors
    start = "backbone.MLoRE_1.0."
    experts = {
        int(name.split(".")[4]): tensor.shape[0]
        for name, tensor in tensors.items()
        if name.startswith(f"{start}lora_list_1.") and name.endswith(".W.weight")
    }
    count = len(experts)
    size = list(find_image_size(checkpoint, prefix_tokens=1))
    return {
        "size": size,
        "image_size": size,
        "channels": first_of(tensors, "backbone.fea_fuse.0", ".weight").shape[0],
        "ranks": [rank for _, rank in sorted(experts.items())],
        "task_rank": first_of(tensors, f"{start}conv2.", ".W.weight").shape[0],
        "kept": _KEPT if count == _EXPERTS else max(1, count * _KEPT // _EXPERTS),
        "softmax_first": "human_parts" in checkpoint.tasks,  # as on PASCAL-Context
    }


@register_source
class MLoRE(TransformerSource):
    """Repository of MLoRE (Yang et al., CVPR 2024); saliency has two channels there.

    The number of experts that an image uses is not in the file: it is 9 of 15, and the same share
    of another number; give ``kept`` otherwise.
    """

    name = "mlore"
    repository = "https://github.com/YuqiYang213/MLoRE"
    layouts = (Layout("mlore", RULES, find_vit, _options),)
    dropped = (
        ("aux_heads.{rest}", UNUSED),
        ("backbone.q_fuse.{rest}", UNUSED),
        ("backbone.classify_route_{number}.{rest}", UNUSED),
    )
