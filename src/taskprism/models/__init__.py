"""Published multi-task systems, each composed of shared parts.

* ``single_task``: one network per task, the reference for every gain;
* ``multi_task``: one backbone, one head per task;
* ``pad_net``: initial predictions, distillation at one scale (Xu et al., CVPR 2018);
* ``mti_net``: distillation at several scales, with feature propagation (Vandenhende et al.,
  ECCV 2020);
* ``pap_net``: diffusion along the affinities of all tasks (Zhang et al., CVPR 2019);
* ``ctal``, ``ctal_multiscale``: affinities of all tasks fused by a convolution (Sinodinos and
  Armanfard), at one scale and several; ``concat`` is their ablation;
* ``tpim``: pairs of tasks interact through iterated attention, at several scales or one;
* ``dense_mtl``: decoders exchange features by cross-task attention (Lopes et al., WACV 2023);
* ``atrc``: each pair of tasks has its own kind of context (Bruggemann et al., ICCV 2021);
* ``dpt``: reassembles and fuses the maps of a foundation backbone (Ranftl et al., ICCV 2021), alone
  or with any distillation at its scales;
* ``invpt``: all tasks attend to each other at growing resolution (Ye and Xu, ECCV 2022);
* ``mtlora``: a frozen transformer with low-rank updates, shared and of each task (Agiza et al.,
  CVPR 2024); the option ``low_rank`` of the backbone brings shared updates to any other system;
* ``mlore``: a mixture of low-rank experts for each task on a plain transformer (Yang et al., CVPR
  2024);
* ``taskprompter``: a prompt per task passes through the transformer (Ye and Xu, ICLR 2023);
* ``mtmamba``: decoders of state-space scans, with scans across tasks (Lin et al., ECCV 2024 and
  TPAMI 2025);
* ``cross_stitch``, ``nddr_cnn``, ``mtan``: tasks share between the stages of a ResNet (Misra et
  al., CVPR 2016; Gao et al., CVPR 2019; Liu et al., CVPR 2019);
* ``astmt``: one network that attends to one task at a time (Maninis et al., CVPR 2019);
  ``model(images, tasks=["depth"])`` computes nothing for the others; ``astmt_single_task``: its
  single-task reference, one network per task.

>>> import torch
>>> from taskprism.models import create_model
>>> model = create_model("mti_net", {"semseg": 40, "depth": 1}, {"edge": 1, "normals": 3}).eval()
>>> with torch.no_grad():
...     outputs = model(torch.rand(1, 3, 64, 96))
>>> {task: tuple(output.shape) for task, output in outputs.items()}
{'semseg': (1, 40, 64, 96), 'depth': (1, 1, 64, 96)}
>>> [tuple(scale["edge"].shape) for scale in outputs.initial]
[(1, 1, 16, 24), (1, 1, 8, 12), (1, 1, 4, 6), (1, 1, 2, 3)]

The systems from ``pad_net`` to ``atrc`` differ mostly in their :mod:`~taskprism.distillation`.
``pad_net``, ``mti_net`` and ``dense_mtl`` accept any of them: ``distillation="ctal"``.
``ctal`` and ``ctal_multiscale`` are built for one image size, ``create_model("ctal", ...,
size=(288, 384))``.

To add a system, write a subclass of :class:`MultiTaskModel` in any file and decorate it with
:func:`register_model`; :func:`create_model` also takes the class itself.
"""

from taskprism.models.astmt import ASTMT, ASTMTSingleTask
from taskprism.models.atrc import ATRC
from taskprism.models.base import (
    MODELS,
    MultiTaskModel,
    create_model,
    find_model,
    list_models,
    register_model,
)
from taskprism.models.cross_stitch import CrossStitch
from taskprism.models.ctal import ConcatNet, CTALNet
from taskprism.models.ctal_multiscale import CTALMultiScale
from taskprism.models.decoding import DecoderModel
from taskprism.models.dense_mtl import DenseMTL
from taskprism.models.dpt import DPT
from taskprism.models.encoder_sharing import EncoderSharingModel
from taskprism.models.front_end import MultiScaleFrontEnd
from taskprism.models.initialization import InitializationReport, PartReport, initialize
from taskprism.models.invpt import InvPT
from taskprism.models.mlore import MLoRE
from taskprism.models.mtan import MTAN
from taskprism.models.mti_net import MTINet
from taskprism.models.mtlora import MTLoRA
from taskprism.models.mtmamba import MTMamba
from taskprism.models.multi_task import MultiTask
from taskprism.models.nddr_cnn import NDDRCNN
from taskprism.models.pad_net import PADNet
from taskprism.models.pap_net import PAPNet
from taskprism.models.parts import model_parts
from taskprism.models.predicted_image import PredictedImage
from taskprism.models.predictions import Predictions
from taskprism.models.single_scale import SingleScaleModel
from taskprism.models.single_task import SingleTask
from taskprism.models.single_tasking import SingleTaskingModel
from taskprism.models.taskprompter import TaskPrompter
from taskprism.models.tpim import TPIMNet

__all__ = [
    "ASTMT",
    "ATRC",
    "DPT",
    "MODELS",
    "MTAN",
    "NDDRCNN",
    "ASTMTSingleTask",
    "CTALMultiScale",
    "CTALNet",
    "ConcatNet",
    "CrossStitch",
    "DecoderModel",
    "DenseMTL",
    "EncoderSharingModel",
    "InitializationReport",
    "InvPT",
    "MLoRE",
    "MTINet",
    "MTLoRA",
    "MTMamba",
    "MultiScaleFrontEnd",
    "MultiTask",
    "MultiTaskModel",
    "PADNet",
    "PAPNet",
    "PartReport",
    "PredictedImage",
    "Predictions",
    "SingleScaleModel",
    "SingleTask",
    "SingleTaskingModel",
    "TPIMNet",
    "TaskPrompter",
    "create_model",
    "find_model",
    "initialize",
    "list_models",
    "model_parts",
    "register_model",
]
