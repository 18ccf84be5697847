"""ASTMT: one network that attends to one task at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from taskprism.backbones import (
    MODULATED,
    Backbone,
    ModulatedBackbone,
    SEMobileNetV2,
    create_modulated_backbone,
    load_modulated_weights,
)
from taskprism.errors import InputError, UnknownNameError
from taskprism.layers import Modulation, ResidualAdapter, TaskSwitch, resize
from taskprism.models.astmt.decoders import (
    MOBILENET_STYLE,
    RESNET_STYLE,
    DeepLabDecoder,
    PyramidDecoder,
    UberNetHead,
)
from taskprism.models.base import AnyBackbone, register_model
from taskprism.models.single_tasking import SingleTaskingModel
from taskprism.options import Channels, Stride
from taskprism.registry import describe_part
from taskprism.tasks.base import Task

DecoderName = Literal["deeplab", "uber_net", "panoptic"]
_RAW_STD = 1 / 255  # normalize() divides by it to give 0..255
_STANDARD_DEVIATION = 0.01


@register_model
class ASTMT(SingleTaskingModel):
    """Attentive Single-Tasking of Multiple Tasks (Maninis et al., CVPR 2019).

    SE-ResNet or SE-MobileNetV2 and a DeepLab-v3+ decoder, whose squeeze-and-excitation, residual
    adapters and batch norms exist once per task. Each task needs a forward pass, but layers that do
    not depend on the task run once: with ``squeeze_encoder=False, adapters=False`` ("decoder only"
    in table 3c) all tasks share a single encoder pass.
    :class:`~taskprism.models.ASTMTSingleTask` has single-task networks of the same layers.

    The defaults are the configuration of the released models: squeeze-and-excitation and adapters
    everywhere, width 64 (which the paper does not state, but its parameter counts imply). Two
    exceptions do not change these models: images are normalized as for ImageNet and not given as
    0..255, and an encoder without modulation has shared batch norms. The released ResNet has them
    per task even there (``encoder_norm_per_task=True``), which makes the single encoder pass of
    table 3c impossible.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Not supported; there is no front end.
        backbone: ``"se_resnet26"``, ``"se_resnet50"``, ``"se_resnet101"``, ``"mobilenet_v2"``,
            another name in :data:`taskprism.backbones.MODULATED`, or a subclass of
            :class:`taskprism.backbones.ModulatedBackbone`.
        squeeze_encoder: Squeeze-and-excitation per task in the encoder; otherwise it is shared.
        squeeze_decoder: Squeeze-and-excitation per task in the decoder; otherwise there is none.
        excitation: Whether the encoder has squeeze-and-excitation. With ``False``, which also needs
            ``squeeze_encoder=False``, the encoder is a plain ResNet or MobileNetV2 (table 3a).
        adapters: Residual adapters in encoder and decoder. None: where the backbone can have them,
            which are SE-ResNets, as published.
        norm_per_task: Batch norm per task in an encoder with squeeze-and-excitation or adapters per
            task, and in a decoder with squeeze-and-excitation. In the stem it is always shared.
        encoder_norm_per_task: The same for the encoder alone, with or without modulation.
        decoder: ``"deeplab"``; ``"uber_net"``: the light decoders of appendix B, which belong to
            the task completely, so that other options of the decoder have no effect; or
            ``"panoptic"``: a feature pyramid and the decoder of Panoptic FPN, with which the paper
            of MTI-Net compares.
        decoder_channels: Width of the decoder, a multiple of 16.
        output_stride: Output stride of the encoder, 16 or 8; with ``"panoptic"`` it is 32.
        raw_input: Make :meth:`normalize` give 0..255, the input of the released training code.

    Raises:
        InputError: The backbone cannot have these layers, or a value is out of range.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> tasks = {"semseg": 5, "depth": 1}
        >>> model = create_model("astmt", tasks, backbone="se_resnet14_quarter").eval()
        >>> list(model(torch.rand(1, 3, 32, 32), tasks=["depth"]))
        ['depth']
    """

    name: ClassVar[str] = "astmt"
    backbone_type: ClassVar[type[Backbone]] = ModulatedBackbone

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: str | type[ModulatedBackbone],
        squeeze_encoder: bool = True,
        squeeze_decoder: bool = True,
        excitation: bool = True,
        adapters: bool | None = None,
        norm_per_task: bool = True,
        encoder_norm_per_task: bool | None = None,
        decoder: DecoderName = "deeplab",
        decoder_channels: Channels = 64,
        output_stride: Stride = 16,
        raw_input: bool = False,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks)
        if decoder not in get_args(DecoderName):
            raise UnknownNameError("decoder", decoder, get_args(DecoderName))
        # Squeeze-and-excitation of the low-level map would have no hidden channel at a width of 16.
        least = 32 if squeeze_decoder and decoder == "deeplab" else 16
        if decoder_channels < least or decoder_channels % 16:
            raise InputError(
                f"decoder_channels must be a multiple of 16, got {decoder_channels}. "
                f"The smallest for this decoder is {least}."
            )
        encoder = MODULATED.find(backbone)
        names = tuple(task.name for task in self.tasks)
        if adapters is None:
            adapters = encoder.has_adapters
        if encoder_norm_per_task is None:
            encoder_norm_per_task = norm_per_task and (squeeze_encoder or adapters)
        in_encoder = Modulation(names, squeeze_encoder, adapters, encoder_norm_per_task, excitation)
        pyramid = decoder == "panoptic"
        self.encoder = create_modulated_backbone(encoder, in_encoder, output_stride, pyramid)
        is_mobilenet = isinstance(self.encoder, SEMobileNetV2)
        self.decoder: DeepLabDecoder | PyramidDecoder | None = None
        if decoder == "uber_net":
            self.interface_channels = self.encoder.channels[-1]
            heads = {t.name: UberNetHead(self.encoder.channels, t.channels) for t in self.tasks}
        else:
            norm = norm_per_task and squeeze_decoder
            channels = self.encoder.channels
            in_decoder = Modulation(names, squeeze_decoder, adapters, norm)
            if pyramid:
                self.decoder = PyramidDecoder(channels, decoder_channels, in_decoder)
            else:
                style = MOBILENET_STYLE if is_mobilenet else RESNET_STYLE
                self.decoder = DeepLabDecoder(
                    channels, decoder_channels, in_decoder, output_stride, style
                )
            self.interface_channels = decoder_channels
            heads = {t.name: nn.Conv2d(decoder_channels, t.channels, 1) for t in self.tasks}
        self.heads = nn.ModuleDict(heads)
        (_start_as_mobilenet if is_mobilenet else _start_as_resnet)(self)
        mean = (0.0, 0.0, 0.0) if raw_input else self.encoder.image_mean
        std = (_RAW_STD, _RAW_STD, _RAW_STD) if raw_input else self.encoder.image_std
        for buffer, values in ((self.image_mean, mean), (self.image_std, std)):
            buffer.copy_(torch.tensor(values, device="cpu").view(-1, 1, 1))

    @classmethod
    def _backbone_options(cls, backbone: AnyBackbone) -> set[str]:
        return set()

    @classmethod
    def _create_backbone(
        cls, backbone: AnyBackbone, pretrained: bool | str, options: dict[str, Any]
    ) -> type[ModulatedBackbone]:
        """The class: the constructor creates the encoder, because it depends on the tasks."""
        if isinstance(backbone, nn.Module):
            raise InputError(
                f"Model {cls.name!r} creates an encoder with layers per task: expected one of "
                f"{', '.join(MODULATED)} or a subclass of ModulatedBackbone, got an instance of "
                f"{describe_part(type(backbone))}."
            )
        return MODULATED.find(backbone)

    def _start(self, pretrained: bool | str, options: Mapping[str, Any]) -> None:
        """Load the weights of the encoder."""
        if pretrained:
            load_modulated_weights(self.encoder, pretrained)

    def interface(self, images: Tensor, tasks: Sequence[str]) -> dict[str, list[Tensor]]:
        """Features that the heads read, ``(B, decoder_channels, H/4, W/4)``.

        With the decoder of UberNet: the two maps of the encoder. Layers that do not depend on the
        task run once.
        """
        maps: dict[str, list[Tensor]] = {}
        encoded: list[Tensor] = []
        features: list[Tensor] = []
        for task in tasks:
            if not encoded or self.encoder.modulation.depends_on_task:
                encoded, features = self.encoder(images, task), []
            if self.decoder is None:
                maps[task] = encoded
                continue
            if not features or self.decoder.modulation.depends_on_task:
                features = [self.decoder(encoded, task)]
            maps[task] = features
        return maps

    def output(self, maps: Sequence[Tensor], task: str, size: Sequence[int]) -> Tensor:
        """The task's head, upsampled."""
        head = self.heads[task]
        return resize(head(maps) if self.decoder is None else head(maps[-1]), size)

    def own_parameters(self) -> list[nn.Parameter]:
        """Heads, and the squeeze-and-excitation, adapters and batch norms of every task."""
        switches = [module for module in self.modules() if isinstance(module, TaskSwitch)]
        own = [parameter for switch in switches for parameter in switch.own_parameters()]
        return [*own, *self.heads.parameters()]


def _start_as_resnet(network: nn.Module) -> None:
    """Released start: convolutions N(0, 0.01), excitation after He et al., biases 0."""
    for convolution in _convolutions(network):
        nn.init.normal_(convolution.weight, std=_STANDARD_DEVIATION)
    for layer in _gates(network):
        nn.init.kaiming_normal_(layer.weight)


def _start_as_mobilenet(network: nn.Module) -> None:
    """Released start: convolutions N(0, sqrt(2 / (k k out))), excitation N(0, 0.01), biases 0."""
    for convolution in _convolutions(network):
        fan_out = math.prod(convolution.kernel_size) * convolution.out_channels
        nn.init.normal_(convolution.weight, std=math.sqrt(2 / fan_out))
    for layer in _gates(network):
        nn.init.normal_(layer.weight, std=_STANDARD_DEVIATION)


def _convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """Convolutions other than adapters, which start at zero. Sets their biases to 0."""
    found = [
        module
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and not isinstance(module, ResidualAdapter)
    ]
    for convolution in found:
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
    return found


def _gates(network: nn.Module) -> list[nn.Conv2d]:
    """Both layers of every squeeze-and-excitation."""
    gates = [module for module in network.modules() if isinstance(module, SqueezeExcitation)]
    return [layer for gate in gates for layer in (gate.fc1, gate.fc2)]
