"""ImageNet weights for backbones whose layers may belong to tasks: each task gets a copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from taskprism.backbones.modulated import ModulatedBackbone
from taskprism.backbones.sources import Source, from_file, from_hub
from taskprism.backbones.weights import LoadReport
from taskprism.errors import CheckpointError
from taskprism.layers.modulation import ResidualAdapter, TaskSwitch

_NEARLY_OPEN = 4.0  # sigmoid(4) = 0.98
_ENOUGH = 0.9


@dataclass(frozen=True)
class Pretraining:
    """Where a backbone's weights are and what they are called there.

    Attributes:
        timm_name: What ``pretrained=True`` takes; empty if there is nothing.
        own_name: Foreign name of a tensor -> its name here, tasks left out.
        remark: What a user should know about these weights.
        plain_name: What ``pretrained=True`` takes without squeeze-and-excitation.
    """

    timm_name: str
    own_name: Callable[[str], str]
    remark: str = ""
    plain_name: str = ""


def load_modulated(
    backbone: ModulatedBackbone, pretraining: Pretraining, pretrained: bool | str
) -> LoadReport:
    """Copy weights into every task's layers, and print to stderr what matched.

    Residual adapters stay at zero. Weights without squeeze-and-excitation leave it nearly open
    (the gate is 0.98 everywhere), so that the network starts as the one they are from.

    Args:
        backbone: Freshly initialized.
        pretraining: Of this backbone.
        pretrained: True (hub), or the path of a ``.pth`` or ``.safetensors`` file.

    Raises:
        CheckpointError: If the weights cannot be had, or are those of something else.
    """
    gated = backbone.modulation.excitation
    name = pretraining.timm_name if gated else pretraining.plain_name
    if pretrained is True and not name:
        raise CheckpointError(
            "There are no trained weights of this backbone; set pretrained to false or to a file."
        )
    source = from_hub(name) if pretrained is True else from_file(Path(str(pretrained)))
    report = _load(backbone, source, pretraining)
    lines = [str(report)]
    if pretrained is True and gated and pretraining.remark:
        lines.append(pretraining.remark)
    if any(".se." in missing for missing in report.missing):
        open_gates(backbone)
        lines.append("They have no squeeze-and-excitation: it starts nearly open (0.98).")
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print("\n  ".join(lines), markup=False)
    return report


def open_gates(module: nn.Module) -> None:
    """Let all squeeze-and-excitation pass 0.98 of everything, whatever the image."""
    for each in module.modules():
        if isinstance(each, SqueezeExcitation):
            nn.init.zeros_(each.fc2.weight)
            nn.init.constant_(each.fc2.bias, _NEARLY_OPEN)  # pyrefly: ignore[bad-argument-type]


def _load(backbone: ModulatedBackbone, source: Source, pretraining: Pretraining) -> LoadReport:
    given = {pretraining.own_name(key): (key, tensor) for key, tensor in source.state.items()}
    own = backbone.state_dict()
    found: dict[str, Tensor] = {}
    used, mismatched = set(), []
    for name, plain in _names_without_tasks(backbone).items():
        if plain not in given:
            continue
        key, tensor = given[plain]
        used.add(key)
        if tensor.ndim == 2 and own[name].ndim == 4:
            tensor = tensor[:, :, None, None]  # a linear layer of squeeze-and-excitation
        if tensor.shape == own[name].shape:
            found[name] = tensor
        else:
            mismatched.append(name)
    needed = _needed(backbone)
    report = LoadReport(
        source.description,
        source.license,
        matched=list(found),
        missing=sorted(needed - set(found)),
        unexpected=[key for key in source.state if key not in used],
        mismatched=mismatched,
    )
    core = [name for name in needed if ".se." not in name]
    got = sum(own[name].numel() for name in core if name in found)
    if got < _ENOUGH * sum(own[name].numel() for name in core):
        raise CheckpointError(
            f"These are weights of something else, not of {type(backbone).__name__}. {report}\n"
            f"  pretrained=True takes {pretraining.timm_name!r}."
        )
    with torch.no_grad():
        backbone.load_state_dict(found, strict=False)
    return report


def _names_without_tasks(backbone: nn.Module) -> dict[str, str]:
    """Every tensor's name -> the name that it would have if there were one task only."""
    names = {name: name for name in backbone.state_dict()}
    for path, switch in backbone.named_modules():
        if isinstance(switch, TaskSwitch):
            for task, layer in switch.items():
                names |= {f"{path}.{task}.{key}": f"{path}.{key}" for key in layer.state_dict()}
    return names


def _needed(backbone: nn.Module) -> set[str]:
    """Names that weights should hold: no adapters, no counters."""
    adapters = {
        f"{path}.weight"
        for path, module in backbone.named_modules()
        if isinstance(module, ResidualAdapter)
    }
    return {
        name
        for name in backbone.state_dict()
        if name not in adapters and not name.endswith("num_batches_tracked")
    }
