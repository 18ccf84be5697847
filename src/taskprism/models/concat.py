"""CTAL's ablation: tasks read each other by concatenation."""

from __future__ import annotations

from typing import ClassVar

from taskprism.models.ctal import CTALNet


class ConcatNet(CTALNet):
    """CTAL's network with concatenation in its place ("Concat" in table 4 of the CTAL paper).

    All else is :class:`CTALNet`'s, tail and options included; ``size`` is not needed.
    """

    name: ClassVar[str] = "concat"
    any_input_size = True
    distillation_name: ClassVar[str] = "concat"
