"""Layout of the repository that came with ASTMT (Maninis et al., CVPR 2019)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from taskprism.backbones import MODULATED, SEResNet
from taskprism.errors import CheckpointError
from taskprism.interop.source import Checkpoint, Layout, Rule, Source, register_source

_MOBILENET_BLOCKS = 17
_SHARED = "all_tasks"
_RAW_STD = 1 / 255


def _per_task_or_shared(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        (theirs + ".{task}.{rest}", ours + ".{task}.{rest}"),
        (theirs + ".{rest}", f"{ours}.{_SHARED}.{{rest}}"),
    )


def _squeeze(theirs: str, ours: str) -> tuple[Rule, ...]:
    return tuple(
        rule
        for place, layer in ((0, "fc1"), (2, "fc2"))
        for rule in (
            (f"{theirs}.fc.{{task}}.{place}.{{rest}}", f"{ours}.{{task}}.{layer}.{{rest}}"),
            (f"{theirs}.fc.{place}.{{rest}}", f"{ours}.{_SHARED}.{layer}.{{rest}}"),
        )
    )


def _resnet() -> tuple[Rule, ...]:
    theirs = "layer{layer}.{block}"
    ours = f"encoder.{theirs}"
    return (
        ("conv1.{rest}", "encoder.conv1.{rest}"),
        ("bn1.{rest}", "encoder.bn1.{rest}"),
        (theirs + ".conv2.{rest}", ours + ".conv2.shared.{rest}"),
        (theirs + ".conv{n}.{rest}", ours + ".conv{n}.{rest}"),
        (theirs + ".adapt.{task}.{rest}", ours + ".conv2.adapter.{task}.{rest}"),
        *_per_task_or_shared(theirs + ".bn{n}", ours + ".bn{n}"),
        *_squeeze(theirs + ".se", ours + ".se"),
        (theirs + ".downsample.process.{rest}", ours + ".shortcut.{rest}"),
        *_per_task_or_shared(theirs + ".downsample.norm", ours + ".shortcut_bn"),
    )


def _mobilenet() -> tuple[Rule, ...]:
    rules: list[Rule] = [("features.0.conv.{rest}", "encoder.stem.{rest}")]
    for block in range(_MOBILENET_BLOCKS):
        theirs, ours = f"features.{block + 1}", f"encoder.blocks.{block}"
        first = 0 if block else 1  # the first block has no expansion
        parts = ("expand", "depthwise", "project")[first:]
        for number, part in enumerate(parts, start=1):
            rules.append((f"{theirs}.conv.conv{number}.{{rest}}", f"{ours}.{part}.{{rest}}"))
            rules += _per_task_or_shared(f"{theirs}.conv.bn{number}", f"{ours}.{part}_bn")
        rules += _squeeze(f"{theirs}.se", f"{ours}.se")
    return tuple(rules)


def _decoder_unit(theirs: str, ours: str, place: int = 0) -> tuple[Rule, ...]:
    theirs, ours = f"decoder.{theirs}", f"decoder.{ours}"
    return (
        (f"{theirs}.process.{place}.{{rest}}", ours + ".conv.shared.{rest}"),
        (theirs + ".adapt.{task}.{rest}", ours + ".conv.adapter.{task}.{rest}"),
        *_per_task_or_shared(theirs + ".norm", ours + ".bn"),
        *_squeeze(theirs + ".se", ours + ".se"),
    )


def _decoder() -> tuple[Rule, ...]:
    return (
        *(
            rule
            for branch in range(4)
            for rule in _decoder_unit(f"layer5.conv2d_list.{branch}", f"branches.{branch}")
        ),
        *_decoder_unit("layer5.conv2d_list.4", "pooled", place=1),  # after its pooling
        *_decoder_unit("layer5.conv2d_final", "pyramid"),
        *_decoder_unit("low_level_reduce", "low_level"),
        *_decoder_unit("conv_concat", "fuse"),
        *_decoder_unit("conv_process", "refine"),
        ("decoder.conv_predict.{task}.{rest}", "heads.{task}.{rest}"),
    )


def _encoder(tensors: Mapping[str, Tensor]) -> str:
    if any(name.startswith("features.") for name in tensors):
        return "mobilenet_v2"
    found = [re.match(r"layer(\d)\.(\d+)\.", name) for name in tensors]
    numbers = {(int(match[1]), int(match[2])) for match in found if match}
    blocks = tuple(sum(layer == index for layer, _ in numbers) for index in (1, 2, 3, 4))
    for entry in MODULATED.entries():
        if issubclass(entry.part, SEResNet) and entry.part.blocks == blocks:
            return entry.name
    raise CheckpointError(
        f"The encoder in this file (layers of {blocks} blocks) is none of "
        f"{', '.join(MODULATED)}. Check `source`."
    )


def _options(checkpoint: Checkpoint) -> dict[str, Any]:
    task = next(iter(checkpoint.tasks))
    is_mobile = checkpoint.has("features.")
    block = "features.1" if is_mobile else "layer1.0"
    norm = f"{block}.conv.bn1" if is_mobile else f"{block}.bn1"
    squeeze_decoder = checkpoint.has("decoder.conv_process.se.")
    norm_in_encoder = checkpoint.has(f"{norm}.{task}.")
    norm_in_decoder = checkpoint.has(f"decoder.conv_process.norm.{task}.")
    width = checkpoint.tensors.get("decoder.conv_process.process.0.weight")
    return {
        "squeeze_encoder": checkpoint.has(f"{block}.se.fc.{task}."),
        "squeeze_decoder": squeeze_decoder,
        "adapters": checkpoint.has(f"{block}.adapt."),
        "norm_per_task": norm_in_decoder if squeeze_decoder else norm_in_encoder,
        "encoder_norm_per_task": norm_in_encoder,
        "raw_input": True,
        **({} if width is None else {"decoder_channels": width.shape[0]}),
    }


@register_source
class ASTMT(Source):
    """Repository of ASTMT (Maninis et al., CVPR 2019)."""

    name = "astmt"
    repository = "https://github.com/facebookresearch/astmt"
    tasks: ClassVar[Mapping[str, str]] = {
        "edge": "edge",
        "semseg": "semseg",
        "human_parts": "human_parts",
        "normals": "normals",
        "saliency": "sal",
        "depth": "depth",
        "albedo": "albedo",
    }
    layouts = (Layout("astmt", (*_resnet(), *_mobilenet(), *_decoder()), _encoder, _options),)
    image_mean = (0.0, 0.0, 0.0)
    image_std = (_RAW_STD, _RAW_STD, _RAW_STD)
    dropped = (
        ("discriminator.{rest}", "the discriminator of adversarial training"),
        ("features_low.{rest}", "second names of layers that are also called 'features'"),
        ("features_high.{rest}", "second names of layers that are also called 'features'"),
    )
