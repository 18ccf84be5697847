"""Loading pretrained weights into a trunk, with a report of what matched."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from rich.console import Console
from timm.layers import resample_abs_pos_embed
from timm.models import adapt_input_conv, model_entrypoint
from torch import Tensor, nn

from taskprism.backbones.sources import LITE0_PACKAGE, Source, from_file, from_hub, from_package
from taskprism.errors import CheckpointError

_WRAPPERS = ("module.", "model.", "backbone.", "encoder.", "trunk.")
ENOUGH = 0.9


@dataclass(frozen=True)
class LoadReport:
    """Which tensors were loaded.

    Attributes:
        source: Description of the source of the weights.
        license: Their license, or "unknown".
        matched: Names in the trunk that were loaded.
        missing: Names in the trunk that keep their random values.
        unexpected: Names in the file that the trunk does not have (mostly of classifiers).
        mismatched: Names whose shapes differ; they are also in ``missing``.

    Example:
        >>> from taskprism.backbones import LoadReport
        >>> print(LoadReport("a.pth", "mit", ["conv1"], [], ["fc"], []))
        Weights from a.pth (license: mit): 1 tensors matched, 0 missing, 1 in the file not used.
          unexpected: fc
    """

    source: str
    license: str
    matched: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]

    def __str__(self) -> str:
        text = (
            f"Weights from {self.source} (license: {self.license}): {len(self.matched)} tensors "
            f"matched, {len(self.missing)} missing, {len(self.unexpected)} in the file not used."
        )
        for what in ("missing", "mismatched", "unexpected"):
            names: list[str] = getattr(self, what)
            if names:
                text += f"\n  {what}: " + ", ".join(names[:6]) + ", ..." * (len(names) > 6)
        return text


def load_pretrained(trunk: nn.Module, name: str, pretrained: bool | str) -> LoadReport:
    """Load weights into a trunk and print to stderr what matched.

    Args:
        trunk: Feature extractor that timm created.
        name: Its timm name.
        pretrained: See :func:`taskprism.backbones.create_backbone`.

    Raises:
        CheckpointError: The weights cannot be downloaded or read, or hold less than 90 % of the
            values of the trunk.
        InputError: The weights package belongs to another backbone.

    Example:
        >>> import tempfile, timm, torch
        >>> from taskprism.backbones import create_backbone, load_pretrained
        >>> backbone = create_backbone("test_resnet", neck="none")
        >>> with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        ...     torch.save(timm.create_model("test_resnet").state_dict(), file.name)
        ...     load_pretrained(backbone.model, "test_resnet", file.name).missing
        []
    """
    if pretrained is True:
        source = from_hub(name)
    elif pretrained == LITE0_PACKAGE:
        source = from_package(name)
    else:
        source = from_file(Path(str(pretrained)))
    report = load_matching(trunk, source, name)
    Console(stderr=True, soft_wrap=True, highlight=False).print(str(report), markup=False)
    return report


def load_matching(trunk: nn.Module, source: Source, name: str) -> LoadReport:
    """Load every tensor whose name and shape fit.

    Raises:
        CheckpointError: They hold less than 90 % of the values; the trunk is unchanged.
    """
    own = {plain_name(key): key for key in trunk.state_dict()}
    shapes = {key: tensor.shape for key, tensor in trunk.state_dict().items()}
    state = source.state
    found = _match(state, own)
    if _needed(own.values()) - set(found) and (translated := _translate(state, name)) is not None:
        state, found = translated, _match(translated, own)
    found = {key: (name, _fit_positions(trunk, key, each)) for key, (name, each) in found.items()}
    found = {key: (name, _adapted(each, shapes[key])) for key, (name, each) in found.items()}
    mismatched = sorted(key for key, (_, tensor) in found.items() if tensor.shape != shapes[key])
    fitting = {key: tensor for key, (_, tensor) in found.items() if key not in mismatched}
    used = {original for original, _ in found.values()}
    report = LoadReport(
        source.description,
        source.license,
        matched=list(fitting),
        missing=sorted(_needed(own.values()) - set(fitting)),
        unexpected=[key for key in state if key not in used],
        mismatched=mismatched,
    )
    needed = sum(shapes[key].numel() for key in _needed(own.values()))
    loaded = sum(shapes[key].numel() for key in fitting if key in _needed(own.values()))
    if loaded < ENOUGH * needed:
        raise CheckpointError(
            f"Only {loaded / needed:.0%} of the values of {name!r} are in {source.description}, so "
            f"these are weights of another network. {report}\n  Give the weights of this backbone, "
            "or pretrained=False."
        )
    trunk.load_state_dict(fitting, strict=False)
    return report


def strip_wrappers(key: str) -> str:
    """Name of a tensor without the prefixes of modules that wrap the network.

    Example:
        >>> from taskprism.backbones.weights import strip_wrappers
        >>> strip_wrappers("module.backbone.conv1.weight")
        'conv1.weight'
    """
    while key.startswith(_WRAPPERS):
        key = key.split(".", 1)[1]
    return key


def plain_name(key: str) -> str:
    """Name without wrappers; timm replaces the dots of stages by underscores in extractors.

    Example:
        >>> from taskprism.backbones.weights import plain_name
        >>> plain_name("backbone.model.layer1.0.weight"), plain_name("layer1_0.weight")
        ('layer1_0_weight', 'layer1_0_weight')
    """
    return strip_wrappers(key).replace(".", "_")


def _match(state: Mapping[str, Tensor], own: Mapping[str, str]) -> dict[str, tuple[str, Tensor]]:
    return {
        own[plain_name(key)]: (key, tensor)
        for key, tensor in state.items()
        if plain_name(key) in own
    }


def _fit_positions(trunk: nn.Module, key: str, tensor: Tensor) -> Tensor:
    """Position embeddings of a plain transformer, resized to its grid (bicubic, antialiased)."""
    embedding: Any = getattr(trunk, "patch_embed", None)
    own = trunk.state_dict()[key]
    if not key.endswith("pos_embed") or embedding is None or tensor.ndim != 3 or own.ndim != 3:
        return tensor
    if tensor.shape == own.shape or tensor.shape[-1] != own.shape[-1]:
        return tensor
    rows, columns = embedding.grid_size
    prefix = own.shape[1] - rows * columns
    stored = next(
        (n for n in (0, 1) if math.isqrt(tensor.shape[1] - n) ** 2 == tensor.shape[1] - n), None
    )
    if stored is None or stored < prefix:
        return tensor
    # A class token that this network lacks has an embedding in the file, which is dropped.
    return resample_abs_pos_embed(
        tensor[:, stored - prefix :], [rows, columns], num_prefix_tokens=prefix
    )


def _adapted(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Weights of a first layer for RGB, repeated for further channels of the image and scaled."""
    is_first = tensor.ndim == len(shape) == 4 and tensor.shape[1] == 3 < shape[1]
    if not is_first or (tensor.shape[0], *tensor.shape[2:]) != (shape[0], *shape[2:]):
        return tensor
    return adapt_input_conv(shape[1], tensor)


def _needed(keys: Any) -> set[str]:
    """Names that a weights file must hold; the model creates counters and index tables."""
    created = (
        "num_batches_tracked",
        "relative_position_index",
        "relative_coords_table",
        "attn_mask",
    )
    return {key for key in keys if not key.endswith(created)}


def _translate(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor] | None:
    """Tensors of the original release of an architecture, renamed by timm, or None."""
    architecture = name.split(".")[0]
    module = sys.modules[model_entrypoint(architecture).__module__]
    translate = getattr(module, "checkpoint_filter_fn", None)
    if translate is None:
        return None
    try:
        return dict(translate(dict(state), timm.create_model(architecture)))
    except (KeyError, RuntimeError, ValueError, AttributeError):
        return None  # not such a release: the report lists what is missing
