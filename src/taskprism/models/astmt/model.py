"""ASTMT: one network that attends to one task at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from taskprism.backbones import Backbone, ModulatedBackbone
from taskprism.backbones.create_modulated import (
    MODULATED,
    create_modulated_backbone,
    load_modulated_weights,
)
from taskprism.backbones.se_mobilenet import SEMobileNetV2
from taskprism.errors import InputError, UnknownNameError
from taskprism.layers import resize
from taskprism.layers.modulation import Modulation, TaskSwitch
from taskprism.models.astmt.decoder import MOBILENET_STYLE, RESNET_STYLE, DeepLabDecoder
from taskprism.models.astmt.pyramid import PyramidDecoder
from taskprism.models.astmt.start import start_as_mobilenet, start_as_resnet
from taskprism.models.astmt.uber import UberNetHead
from taskprism.models.base import AnyBackbone, register_model
from taskprism.models.single_tasking import SingleTaskingModel
from taskprism.registry import describe_part
from taskprism.tasks.base import Task

DecoderName = Literal["deeplab", "uber_net", "panoptic"]
_RAW_STD = 1 / 255  # what normalize() divides by to feed 0..255


@register_model
class ASTMT(SingleTaskingModel):
    """Attentive Single-Tasking of Multiple Tasks (Maninis et al., CVPR 2019).

    SE-ResNet or SE-MobileNetV2 and a DeepLab-v3+ decoder, in which squeeze-and-excitation, residual
    adapters and batch norms belong to tasks. Each task is a forward pass of its own, except that
    whatever does not depend on the task is run once: with ``squeeze_encoder=False,
    adapters=False`` ("decoder only" in table 3c) all tasks share a single encoder pass. Single-task
    networks of the same layers are :class:`~taskprism.models.ASTMTSingleTask`.

    The defaults are the configuration of the released models (SE and adapters everywhere, width 64,
    which the paper does not say but its parameter counts do), with two exceptions that leave these
    unchanged: images are normalized as for ImageNet, not fed as 0..255, and an encoder that is not
    modulated has shared batch norms. The released ResNet keeps them per task even there
    (``encoder_norm_per_task=True``), so that table 3c's single encoder pass is impossible with it.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: None; there is no front end.
        backbone: ``"se_resnet26"``, ``"se_resnet50"``, ``"se_resnet101"`` or ``"mobilenet_v2"``.
        squeeze_encoder: Squeeze-and-excitation in the encoder per task; otherwise it is shared.
        squeeze_decoder: Squeeze-and-excitation in the decoder per task; otherwise there is none.
        excitation: Squeeze-and-excitation in the encoder at all; without it, which takes
            ``squeeze_encoder=False`` too, the encoder is a plain ResNet or MobileNetV2 (table 3a).
        adapters: Residual adapters in encoder and decoder; None: where published, that is in
            SE-ResNets.
        norm_per_task: Batch norm per task in an encoder with squeeze-and-excitation or adapters of
            its tasks, and in a decoder with squeeze-and-excitation. The stem's is always shared.
        encoder_norm_per_task: The same for the encoder alone, whether modulated or not.
        decoder: ``"deeplab"``, or ``"uber_net"``: the light decoders of appendix B, wholly per
            task; the other options of the decoder then do nothing. ``"panoptic"``: a feature
            pyramid and the decoder of Panoptic FPN, with which MTI-Net's paper compares itself.
        decoder_channels: Width of the decoder.
        output_stride: Of the encoder, 16 or 8; with ``"panoptic"`` it is 32.
        raw_input: Make :meth:`normalize` give 0..255, as the released training code feeds.
    """

    name: ClassVar[str] = "astmt"
    backbone_type: ClassVar[type[Backbone]] = ModulatedBackbone

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: str,
        squeeze_encoder: bool = True,
        squeeze_decoder: bool = True,
        excitation: bool = True,
        adapters: bool | None = None,
        norm_per_task: bool = True,
        encoder_norm_per_task: bool | None = None,
        decoder: DecoderName = "deeplab",
        decoder_channels: int = 64,
        output_stride: int = 16,
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
        self.backbone_name = backbone
        names = tuple(task.name for task in self.tasks)
        if adapters is None:
            adapters = backbone.startswith("se_resnet")
        if encoder_norm_per_task is None:
            encoder_norm_per_task = norm_per_task and (squeeze_encoder or adapters)
        in_encoder = Modulation(names, squeeze_encoder, adapters, encoder_norm_per_task, excitation)
        pyramid = decoder == "panoptic"
        self.encoder = create_modulated_backbone(backbone, in_encoder, output_stride, pyramid)
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
        (start_as_mobilenet if is_mobilenet else start_as_resnet)(self)
        mean = (0.0, 0.0, 0.0) if raw_input else self.encoder.image_mean
        std = (_RAW_STD, _RAW_STD, _RAW_STD) if raw_input else self.encoder.image_std
        for buffer, values in ((self.image_mean, mean), (self.image_std, std)):
            buffer.copy_(torch.tensor(values, device="cpu").view(3, 1, 1))

    @classmethod
    def _backbone_options(cls, backbone: AnyBackbone) -> set[str]:
        return set()

    @classmethod
    def _create_backbone(
        cls, backbone: AnyBackbone, pretrained: bool | str, options: dict[str, Any]
    ) -> str:
        """The name: the constructor creates the encoder, which no other model can use."""
        if not isinstance(backbone, str):
            raise InputError(
                f"Model {cls.name!r} needs an encoder with layers per task: expected one of "
                f"{', '.join(MODULATED)}, got {describe_part(backbone)}."
            )
        return backbone

    def _start(self, pretrained: bool | str, options: Mapping[str, Any]) -> None:
        """Load the weights of the encoder."""
        if pretrained:
            load_modulated_weights(self.encoder, self.backbone_name, pretrained)

    def interface(self, images: Tensor, tasks: Sequence[str]) -> dict[str, list[Tensor]]:
        """Features right below the heads ``(B, decoder_channels, H/4, W/4)``.

        With the decoder of UberNet: the encoder's two maps. What does not depend on the task is
        computed once.
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
        """Heads, and all squeeze-and-excitation, adapters and batch norms that are per task."""
        switches = [module for module in self.modules() if isinstance(module, TaskSwitch)]
        own = [parameter for switch in switches for parameter in switch.own_parameters()]
        return [*own, *self.heads.parameters()]
