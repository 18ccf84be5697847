"""Single-task networks of ASTMT's layers: the reference in its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from taskprism.backbones import Backbone, ModulatedBackbone
from taskprism.layers import ModuleDict
from taskprism.models.astmt.model import ASTMT
from taskprism.models.base import AnyBackbone, register_model
from taskprism.models.single_tasking import SingleTaskingModel
from taskprism.options import read_options
from taskprism.tasks.base import Task


@register_model
class ASTMTSingleTask(SingleTaskingModel):
    """One :class:`~taskprism.models.ASTMT` network per task, with nothing shared.

    The rows with "1" in the column #T of the tables of ASTMT (Maninis et al., CVPR 2019): an
    SE-ResNet and a decoder with squeeze-and-excitation (figure 3) for each task. With several tasks
    it is all of these networks in one object; they start from the same weights.

    With ``stepping.mode: per_task`` all parameters learn at the rate of layers of one task, at
    which the paper trains single tasks.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Not supported; there is no front end.
        backbone: As in :class:`~taskprism.models.ASTMT`.
        **options: Options of :class:`~taskprism.models.ASTMT`.

    Example:
        >>> from taskprism import create_model
        >>> tasks = ["depth", "edge"]
        >>> model = create_model("astmt_single_task", tasks, backbone="se_resnet14_quarter")
        >>> list(model.networks)
        ['depth', 'edge']
    """

    name: ClassVar[str] = "astmt_single_task"
    backbone_type: ClassVar[type[Backbone]] = ModulatedBackbone

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: str | type[ModulatedBackbone],
        **options: Any,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks)
        options = read_options(f"Model {self.name!r}", options, ASTMT)
        networks = {task.name: ASTMT([task], (), backbone, **options) for task in self.tasks}
        self.networks = ModuleDict(networks)
        first = networks[self.tasks[0].name]
        self.interface_channels = first.interface_channels
        self.image_mean.copy_(first.image_mean)
        self.image_std.copy_(first.image_std)

    @classmethod
    def _own_options(cls) -> set[str]:
        return ASTMT._own_options()

    @classmethod
    def _backbone_options(cls, backbone: AnyBackbone) -> set[str]:
        return set()

    @classmethod
    def _create_backbone(
        cls, backbone: AnyBackbone, pretrained: bool | str, options: dict[str, Any]
    ) -> type[ModulatedBackbone]:
        return ASTMT._create_backbone(backbone, pretrained, options)

    def _start(self, pretrained: bool | str, options: Mapping[str, Any]) -> None:
        """Load the weights of every network's encoder."""
        for task in self.tasks:
            self.networks[task.name]._start(pretrained, options)

    def interface(self, images: Tensor, tasks: Sequence[str]) -> dict[str, list[Tensor]]:
        """Each task's features from its own network."""
        return {task: self.networks[task].interface(images, [task])[task] for task in tasks}

    def output(self, maps: Sequence[Tensor], task: str, size: Sequence[int]) -> Tensor:
        """The head of the task's network, upsampled."""
        return self.networks[task].output(maps, task, size)

    def own_parameters(self) -> list[nn.Parameter]:
        """All parameters: nothing is shared."""
        return list(self.parameters())
