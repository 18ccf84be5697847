"""Backbones whose features depend on the task: their registry, creation and ImageNet weights."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from rich.console import Console
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from taskprism.backbones.base import Backbone
from taskprism.backbones.sources import Source, from_file, from_hub
from taskprism.backbones.weights import ENOUGH, LoadReport
from taskprism.errors import CheckpointError, InputError
from taskprism.layers.modulation import Modulation, ResidualAdapter, TaskSwitch
from taskprism.registry import Registry, describe_part

_NEARLY_OPEN = 4.0  # sigmoid(4) = 0.98


class ModulatedBackbone(Backbone):
    """Image ``(B, 3, H, W)`` and task -> two maps: low-level at stride 4, high-level at the last.

    A backbone with ``has_pyramid`` can return maps at strides 4, 8, 16 and 32 instead.

    Args:
        modulation: Which layers exist once per task.
        output_stride: Stride of the last map, 8 or 16.
        pyramid: Return maps at strides 4, 8, 16 and 32; ``output_stride`` is then not used.

    Attributes:
        name: Key in :data:`MODULATED`.
        modulation: Which layers exist once per task.
        has_adapters: Whether it can have residual adapters.
        has_pyramid: Whether it can return the maps of a pyramid.
        hub_weights: timm name of the weights that ``pretrained=True`` loads; empty: there are none.
        plain_hub_weights: The same for a backbone without squeeze-and-excitation.
        weights_remark: What is printed when ``hub_weights`` are loaded.

    Raises:
        InputError: It cannot have these layers or this output stride.

    Example:
        >>> import torch
        >>> from taskprism.backbones import create_modulated_backbone
        >>> from taskprism.layers import Modulation
        >>> modulation = Modulation(("depth", "edge"), squeeze=True, adapters=True, norm=True)
        >>> backbone = create_modulated_backbone("se_resnet14_quarter", modulation)
        >>> [tuple(each.shape) for each in backbone(torch.rand(2, 3, 64, 96), "edge")]
        [(2, 64, 16, 24), (2, 512, 4, 6)]
    """

    name: ClassVar[str]
    has_adapters: ClassVar[bool] = True
    has_pyramid: ClassVar[bool] = False
    hub_weights: ClassVar[str] = ""
    plain_hub_weights: ClassVar[str] = ""
    weights_remark: ClassVar[str] = ""

    modulation: Modulation

    def __init__(
        self, modulation: Modulation, output_stride: int = 16, pyramid: bool = False
    ) -> None:
        super().__init__()
        name = type(self).name
        if modulation.adapters and not self.has_adapters:
            choices = [each for each in MODULATED if MODULATED.find(each).has_adapters]
            raise InputError(
                f"Backbone {name!r} has no residual adapters; set adapters=False, or use one of "
                f"{', '.join(choices)}."
            )
        if pyramid and not self.has_pyramid:
            choices = [each for each in MODULATED if MODULATED.find(each).has_pyramid]
            raise InputError(
                f"Backbone {name!r} cannot return a pyramid of maps; use one of "
                f"{', '.join(choices)}, or another decoder."
            )
        if not pyramid and output_stride not in (8, 16):
            raise InputError(f"output_stride must be 8 or 16, got {output_stride}.")
        self.modulation = modulation

    @abstractmethod
    def forward(self, images: Tensor, task: str | None = None) -> list[Tensor]:
        """Feature maps for ``task``, which may be None only if nothing depends on the task."""

    @staticmethod
    def own_tensor_name(name: str) -> str:
        """Name here of a tensor that another package calls ``name``, without the task's name."""
        return name


#: Every modulated backbone by name.
MODULATED: Registry[ModulatedBackbone] = Registry("modulated_backbone", ModulatedBackbone)
register_modulated_backbone = MODULATED.register


def create_modulated_backbone(
    backbone: str | type[ModulatedBackbone],
    modulation: Modulation,
    output_stride: int = 16,
    pyramid: bool = False,
) -> ModulatedBackbone:
    """Create a modulated backbone with random weights.

    Args:
        backbone: A name in :data:`MODULATED`, ``"module:Class"``, or a subclass of
            :class:`ModulatedBackbone`.
        modulation: Which layers exist once per task.
        output_stride: Stride of the last map, 8 or 16.
        pyramid: Return maps at strides 4, 8, 16 and 32 instead.

    Raises:
        UnknownNameError: There is no such backbone.
        InputError: It cannot have these layers or this output stride, or has no pyramid.

    Example:
        >>> from taskprism.backbones import create_modulated_backbone
        >>> from taskprism.layers import Modulation
        >>> modulation = Modulation(("depth",), squeeze=False, adapters=False, norm=False)
        >>> create_modulated_backbone("se_resnet14_quarter", modulation, pyramid=True).channels
        (64, 128, 256, 512)
    """
    return MODULATED.find(backbone)(modulation, output_stride, pyramid)


def dilate_stages(
    stem_stride: int, strides: tuple[int, ...], output_stride: int
) -> list[tuple[int, int]]:
    """Stride and dilation of each stage, such that the product of all strides is at most a limit.

    A stage that must not downsample any further dilates instead, in all its blocks: the first one
    too, as in the released ASTMT and unlike timm.

    Args:
        stem_stride: Stride of the layers before the stages.
        strides: Stride of each stage without dilation.
        output_stride: Limit of the product.

    Example:
        >>> from taskprism.backbones.modulated import dilate_stages
        >>> dilate_stages(stem_stride=4, strides=(1, 2, 2, 2), output_stride=16)
        [(1, 1), (2, 1), (2, 1), (1, 2)]
    """
    reached, dilation, stages = stem_stride, 1, []
    for stride in strides:
        if reached * stride > output_stride:
            dilation *= stride
            stride = 1
        reached *= stride
        stages.append((stride, dilation))
    return stages


def load_modulated_weights(backbone: ModulatedBackbone, pretrained: bool | str) -> LoadReport:
    """Copy ImageNet weights into the layers of every task, and print to stderr what matched.

    Residual adapters stay at zero. Weights without squeeze-and-excitation leave its gates nearly
    open (0.98 everywhere), so that the network starts like the one that the weights come from.

    Args:
        backbone: Freshly initialized.
        pretrained: True (hub), or the path of a ``.pth`` or ``.safetensors`` file.

    Raises:
        CheckpointError: The weights do not exist, cannot be read or belong to another network.

    Example:
        >>> import tempfile, torch
        >>> from taskprism.backbones import create_modulated_backbone, load_modulated_weights
        >>> from taskprism.layers import Modulation
        >>> shared = Modulation((), squeeze=False, adapters=False, norm=False)
        >>> one, other = (create_modulated_backbone("se_resnet14_quarter", shared) for _ in "ab")
        >>> state = {name.replace("all_tasks.", "").replace("conv2.shared", "conv2"): tensor
        ...          for name, tensor in one.state_dict().items()}
        >>> with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        ...     torch.save(state, file.name)
        ...     load_modulated_weights(other, file.name).mismatched
        []
    """
    has_gates = backbone.modulation.excitation
    name = backbone.hub_weights if has_gates else backbone.plain_hub_weights
    if pretrained is True and not name:
        raise CheckpointError(
            f"There are no trained weights of {describe_part(type(backbone))}; set pretrained to "
            "false or to a file."
        )
    source = from_hub(name) if pretrained is True else from_file(Path(str(pretrained)))
    report = _load(backbone, source)
    lines = [str(report)]
    if pretrained is True and has_gates and backbone.weights_remark:
        lines.append(backbone.weights_remark)
    if any(".se." in missing for missing in report.missing):
        _open_gates(backbone)
        lines.append("They have no squeeze-and-excitation: its gates start nearly open (0.98).")
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print("\n  ".join(lines), markup=False)
    return report


def _open_gates(module: nn.Module) -> None:
    """Let every squeeze-and-excitation multiply by 0.98, for every image."""
    for each in module.modules():
        if isinstance(each, SqueezeExcitation):
            nn.init.zeros_(each.fc2.weight)
            assert each.fc2.bias is not None
            nn.init.constant_(each.fc2.bias, _NEARLY_OPEN)


def _load(backbone: ModulatedBackbone, source: Source) -> LoadReport:
    released = {backbone.own_tensor_name(key): (key, value) for key, value in source.state.items()}
    own = backbone.state_dict()
    found: dict[str, Tensor] = {}
    used, mismatched = set(), []
    for name, plain in _names_without_tasks(backbone).items():
        if plain not in released:
            continue
        key, tensor = released[plain]
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
    loaded = sum(own[name].numel() for name in core if name in found)
    if loaded < ENOUGH * sum(own[name].numel() for name in core):
        hint = (
            f"\n  pretrained=True loads {backbone.hub_weights!r}." if backbone.hub_weights else ""
        )
        raise CheckpointError(
            f"These weights belong to another network than {type(backbone).__name__}. {report}"
            f"{hint}"
        )
    with torch.no_grad():
        backbone.load_state_dict(found, strict=False)
    return report


def _names_without_tasks(backbone: nn.Module) -> dict[str, str]:
    """Name of every tensor -> the name it would have if there were one task only."""
    names = {name: name for name in backbone.state_dict()}
    for path, switch in backbone.named_modules():
        if isinstance(switch, TaskSwitch):
            for task, layer in switch.items():
                names |= {f"{path}.{task}.{key}": f"{path}.{key}" for key in layer.state_dict()}
    return names


def _needed(backbone: nn.Module) -> set[str]:
    """Names that a weights file should hold: no adapters, no counters."""
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
