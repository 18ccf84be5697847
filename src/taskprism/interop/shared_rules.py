"""Rules for the parts that systems of the multi-task literature have in common."""

from __future__ import annotations

from taskprism.interop.naming import Rule

BACKBONE: Rule = ("backbone.{rest}", "backbone.model.{rest}")

#: An HRNet and the fusion of its branches.
FUSED_BACKBONE: tuple[Rule, ...] = (
    ("backbone.0.{rest}", "backbone.model.{rest}"),
    ("backbone.1.last_layer.{rest}", "fusion.mix.{rest}"),
)

#: Initial heads of PAD-Net and all that has its front end.
INITIAL_HEADS: tuple[Rule, ...] = (
    ("initial_task_prediction_heads.layers.{task}.{rest}", "initial_heads.{task}.refine.{rest}"),
    ("initial_task_prediction_heads.conv_out.{task}.{rest}", "initial_heads.{task}.predict.{rest}"),
)

#: Final heads of two bottlenecks and a convolution.
BOTTLENECK_HEADS: tuple[Rule, ...] = (("heads.{task}.{rest}", "heads.{task}.{rest}"),)


def heads(theirs: str, ours: str = "heads.{task}") -> tuple[Rule, ...]:
    """A head over HRNet's branches, or DeepLab's, filed under ``theirs``."""
    return (
        (theirs + ".last_layer.3.{rest}", ours + ".predict.{rest}"),
        (theirs + ".last_layer.{rest}", ours + ".aggregation.mix.{rest}"),
        (theirs + ".{layer}.{rest}", ours + ".layers.{layer}.{rest}"),
    )


def front_end_at_scales() -> tuple[Rule, ...]:
    """Initial heads at four scales, and the propagation from each to the next finer one."""
    rules: list[Rule] = [
        (
            "scale_{scale}.refinement.{task}.{rest}",
            "front_end.heads.{scale}.{task}.refine.{rest}",
        ),
        (
            "scale_{scale}.decoders.{task}.{rest}",
            "front_end.heads.{scale}.{task}.predict.{rest}",
        ),
    ]
    for scale in (1, 2, 3):
        theirs, ours = f"fpm_scale_{scale}", f"front_end.propagation.{scale - 1}"
        rules += [
            (theirs + ".non_linear.{rest}", ours + ".gate.{rest}"),
            (theirs + ".dimensionality_reduction.{rest}", ours + ".reduce.{rest}"),
            (theirs + ".se.{task}.squeeze.0.{rest}", ours + ".excite.{task}.fc1.{rest}"),
            (theirs + ".se.{task}.squeeze.2.{rest}", ours + ".excite.{task}.fc2.{rest}"),
        ]
    return tuple(rules)
