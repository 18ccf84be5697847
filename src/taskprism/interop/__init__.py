"""Import of checkpoints that the authors of papers released.

A checkpoint of one of these repositories becomes a model of this package that computes the same
numbers from the same images:

* ``"multi_task_learning_pytorch"`` (MTI-Net): ``single_task``, ``multi_task``, ``pad_net`` and
  ``mti_net`` on an HRNet; ``single_task``, ``multi_task``, ``cross_stitch``, ``nddr_cnn`` and
  ``mtan`` on a dilated ResNet;
* ``"ema_net"`` (CTAL): ``single_task``, ``multi_task``, ``pad_net``, ``pap_net``, ``mti_net``,
  ``ctal`` and ``ctal_multiscale``;
* ``"astmt"`` (ASTMT): ``astmt``, in every variant;
* ``"invpt"`` (InvPT): ``invpt``; ``"mlore"`` (MLoRE): ``mlore``; ``"taskprompter"``
  (TaskPrompter): ``taskprompter``; all on every plain transformer;
* ``"mtlora"`` (MTLoRA): ``mtlora`` on Swin, in its three modes and with or without adapted merging.

>>> from taskprism.interop import list_sources
>>> list_sources()["astmt"]
['astmt']

:func:`import_official` and the command ``taskprism import`` read a file; ``save_pretrained`` saves
the model in the format of this package. To add a repository, write a subclass of :class:`Source`,
which is data only (names there, names here), and decorate it with :func:`register_source`.
"""

from taskprism.interop.importing import (
    find_layout,
    find_source,
    import_official,
    list_sources,
)
from taskprism.interop.source import SOURCES, Checkpoint, Layout, Source, register_source

__all__ = [
    "SOURCES",
    "Checkpoint",
    "Layout",
    "Source",
    "find_layout",
    "find_source",
    "import_official",
    "list_sources",
    "register_source",
]
