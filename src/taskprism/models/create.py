"""Models by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskprism.errors import UnknownNameError
from taskprism.models.astmt.model import ASTMT
from taskprism.models.astmt.single_task import ASTMTSingleTask
from taskprism.models.atrc import ATRC
from taskprism.models.base import MultiTaskModel
from taskprism.models.concat import ConcatNet
from taskprism.models.cross_stitch import CrossStitch
from taskprism.models.ctal import CTALNet
from taskprism.models.ctal_multiscale import CTALMultiScale
from taskprism.models.dense_mtl import DenseMTL
from taskprism.models.mtan import MTAN
from taskprism.models.mti_net import MTINet
from taskprism.models.multi_task import MultiTask
from taskprism.models.nddr_cnn import NDDRCNN
from taskprism.models.pad_net import PADNet
from taskprism.models.pap_net import PAPNet
from taskprism.models.single_task import SingleTask
from taskprism.models.tpim import TPIMNet
from taskprism.tasks import Task, resolve_tasks

#: Every system; the list is the registry.
MODELS: list[type[MultiTaskModel]] = [
    SingleTask,
    MultiTask,
    PADNet,
    PAPNet,
    MTINet,
    CTALNet,
    CTALMultiScale,
    ConcatNet,
    TPIMNet,
    DenseMTL,
    ATRC,
    CrossStitch,
    NDDRCNN,
    MTAN,
    ASTMT,
    ASTMTSingleTask,
]


def list_models() -> list[str]:
    """Names that :func:`create_model` knows."""
    return [model.name for model in MODELS]


def find_model(name: str) -> type[MultiTaskModel]:
    """Class of that name; an unknown name answers with those that exist."""
    for model in MODELS:
        if model.name == name:
            return model
    raise UnknownNameError("model", name, list_models())


def create_model(
    name: str,
    tasks: Mapping[str, int | None] | Sequence[Task | str | Mapping[str, Any]],
    auxiliary_tasks: Mapping[str, int | None]
    | Sequence[Task | str | Mapping[str, Any]]
    | None = None,
    backbone: str = "hrnet_w18_small_v2",
    pretrained: bool | str = False,
    **options: Any,
) -> MultiTaskModel:
    """Build a multi-task network.

    Args:
        name: One of :func:`list_models`.
        tasks: Main tasks: kind -> channels (``{"semseg": 40, "depth": 1}``), or a list of tasks.
        auxiliary_tasks: Predicted by the front end in addition to the main ones, same forms.
        backbone: Any timm name; ``astmt`` and ``astmt_single_task`` have their own.
        pretrained: Backbone weights: False, True (hub), a path, or a weights package
            (see :func:`taskprism.backbones.create_backbone`).
        **options: The model's own (see its class) and the backbone's (``neck``, ``neck_channels``,
            ``neck_stride``, ``finest_stride``, ``output_stride``, ``hrnet_upsampling``,
            ``batch_norm_momentum``).

    Returns:
        The model, in training mode.

    Raises:
        UnknownNameError: For an unknown model, task, backbone or option.
        InputError: For values that do not fit.
        CheckpointError: If the backbone's weights cannot be loaded.
    """
    chosen = find_model(name)
    main = resolve_tasks(tasks)
    auxiliary = resolve_tasks(auxiliary_tasks or ())
    model = chosen.build(main, auxiliary, backbone, pretrained, options)
    model.config = {
        "name": name,
        "tasks": [task.to_config() for task in main],
        "auxiliary_tasks": [task.to_config() for task in auxiliary],
        "backbone": backbone,
        "options": {k: _plain(v) for k, v in options.items() if k not in model.start_options},
        "image_mean": model.image_mean.flatten().tolist(),
        "image_std": model.image_std.flatten().tolist(),
    }
    return model


def _plain(value: Any) -> Any:
    """The value as it comes back from JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
