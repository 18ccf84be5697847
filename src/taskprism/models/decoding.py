"""What decoders on foundation backbones share: which maps they ask a backbone for."""

from __future__ import annotations

from typing import Any, ClassVar

from taskprism.backbones.create import is_own_backbone
from taskprism.backbones.token_maps import TapNorm, TapRule
from taskprism.models.base import AnyBackbone, MultiTaskModel


class DecoderModel(MultiTaskModel):
    """A system that decodes the maps of a backbone without a neck.

    Plain transformers give the tokens of four blocks (:class:`taskprism.backbones.TokenMaps`), all
    other networks their maps at increasing strides. Options of the backbone that you give take
    precedence.

    Attributes:
        tap_rule: Blocks of a plain transformer at which maps are read.
        tap_norm: Which of these maps pass through the final norm of the transformer.

    Example:
        >>> from taskprism import create_model
        >>> model = create_model("dpt", ["depth"], backbone="test_vit", channels=8)
        >>> model.backbone.taps
        (0, 2, 3, 5)
    """

    tap_rule: ClassVar[TapRule] = "even"
    tap_norm: ClassVar[TapNorm] = "last"

    @classmethod
    def _create_backbone(
        cls, backbone: AnyBackbone, pretrained: bool | str, options: dict[str, Any]
    ) -> Any:
        defaults: dict[str, Any] = {"neck": "none"}
        if not is_own_backbone(backbone) and options.get("neck") in (None, "none"):
            defaults |= {"taps": cls.tap_rule, "tap_norm": cls.tap_norm}
        return super()._create_backbone(backbone, pretrained, {**defaults, **options})
