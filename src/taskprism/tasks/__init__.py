"""Tasks: everything that is specific to one kind of per-pixel prediction, in one object.

A task has the number of channels, the type of the label map, the loss, the metrics, the decoding of
raw output to a prediction, the colors of pictures, and the check of labels. Code outside this
package works with any task.

================= ========  ==================================  ===========================
name              channels  target                              prediction
================= ========  ==================================  ===========================
``semseg``        classes   class index, int64                  class index
``depth``         1         meters                              meters, >= 0
``normals``       3         unit vectors, x right, y up,        unit vectors
                            z toward the camera
``edge``          1         0 or 1                              probability
``saliency``      1         0 or 1                              probability
``human_parts``   7         class index, int64; 0 background    class index
``albedo``        3         sRGB in [0, 1]                      sRGB in [0, 1]
``disparity``     1         pixels                              pixels, >= 0
``inverse_depth`` 1         proportional to 1 / depth           the same, >= 0
================= ========  ==================================  ===========================

>>> from taskprism.tasks import create_task, resolve_tasks
>>> create_task("edge", positive_weight=0.8).channels
1
>>> [task.name for task in resolve_tasks({"semseg": 40, "depth": 1})]
['semseg', 'depth']

Default loss weights are those of ASTMT and MTI-Net. To add a task, write a subclass of
:class:`Task`, in any module, and decorate it with :func:`register_task`.
"""

from taskprism.tasks.albedo import Albedo, AlbedoMap
from taskprism.tasks.base import TASKS, Task, register_task
from taskprism.tasks.binary import BinaryTask, Edge, EdgeMap, Saliency, SaliencyMap
from taskprism.tasks.create import create_task, list_tasks, resolve_tasks, task_from_config
from taskprism.tasks.depth import (
    Depth,
    DepthMap,
    Disparity,
    DisparityMap,
    InverseDepth,
    InverseDepthMap,
)
from taskprism.tasks.diagnostics import Calibration, ClassScores, PixelError
from taskprism.tasks.losses import LOSSES, Loss, list_losses, register_loss
from taskprism.tasks.normals import NormalMap, Normals
from taskprism.tasks.semseg import ClassMap, HumanParts, SemanticSegmentation
from taskprism.tasks.target import DenseTarget, ValidMask

__all__ = [
    "LOSSES",
    "TASKS",
    "Albedo",
    "AlbedoMap",
    "BinaryTask",
    "Calibration",
    "ClassMap",
    "ClassScores",
    "DenseTarget",
    "Depth",
    "DepthMap",
    "Disparity",
    "DisparityMap",
    "Edge",
    "EdgeMap",
    "HumanParts",
    "InverseDepth",
    "InverseDepthMap",
    "Loss",
    "NormalMap",
    "Normals",
    "PixelError",
    "Saliency",
    "SaliencyMap",
    "SemanticSegmentation",
    "Task",
    "ValidMask",
    "create_task",
    "list_losses",
    "list_tasks",
    "register_loss",
    "register_task",
    "resolve_tasks",
    "task_from_config",
]
