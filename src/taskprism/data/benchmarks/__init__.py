"""Published benchmarks, read in the layouts in which they are distributed.

>>> from taskprism.data import create_protocol
>>> protocol = create_protocol("nyud40")  # pass root=... to read data
>>> [task.name for task in protocol.tasks]
['semseg', 'depth', 'normals', 'edge']

Each protocol is a :class:`BenchmarkProtocol`: tasks with the papers' loss weights, input size,
augmentation by name, and the resolution of its scores. It lists the layouts that it reads, each a
:class:`Variant`, and recognizes the one in a folder from its files. If a folder fits no layout, or
several, the error names what was expected and what was found.

A new benchmark is one file with a subclass, decorated with ``@register_protocol``. Its variants
consist of

* :mod:`.names`: the samples of a split;
* :mod:`.decoding`: the meaning of the numbers in the files;
* :mod:`.augmentation`: the papers' augmentations.

**Why classes, not data YAMLs.** A data YAML (:mod:`taskprism.data.folder_config`) describes your
folder as you have it. A benchmark also records what is published: image counts, value ranges,
augmentations and conventions by paper, the resolution of scores, and options that change labels,
all of which ``taskprism data check`` and ``describe`` use. Even the benchmarks that are plain
folders need this, and more than patterns: VOC and SBD (class maps in MATLAB structures, the union
of two lists of images), MSRA10K (tests on another data set), PASCAL-S (a threshold on gray values),
FSV (numbers in several channels of a picture, every n-th frame). They stay in Python, so that
their checks and fingerprints remain.
"""

from taskprism.data.benchmarks.augmentation import PaperAugmentation
from taskprism.data.benchmarks.base import BenchmarkProtocol
from taskprism.data.benchmarks.variant import BenchmarkDataset, Label, Variant

__all__ = ["BenchmarkDataset", "BenchmarkProtocol", "Label", "PaperAugmentation", "Variant"]
