"""Published benchmarks, read in the layouts that people have on disk.

>>> from taskprism.data import create_protocol
>>> protocol = create_protocol("nyud40")  # give root=... to read data
>>> [task.name for task in protocol.tasks]
['semseg', 'depth', 'normals', 'edge']

Each protocol is a :class:`BenchmarkProtocol`: tasks with the papers' loss weights, input size,
augmentation by name, and where scores are made. It lists the :class:`Variant` s it can read. Which
one a folder holds is found out from its files; a folder that fits none, or several, is an error
that says what was expected and found.

A new benchmark is one file with a subclass, whose variants are put together from

* :mod:`.names`: which samples a split has;
* :mod:`.decoding`: what the numbers in the files mean;
* :mod:`.augmentation`: what the papers did to training images,

and one line in :data:`taskprism.data.PROTOCOLS`.
"""

from taskprism.data.benchmarks.augmentation import PaperAugmentation
from taskprism.data.benchmarks.base import BenchmarkProtocol
from taskprism.data.benchmarks.variant import BenchmarkDataset, Label, Variant

__all__ = ["BenchmarkDataset", "BenchmarkProtocol", "Label", "PaperAugmentation", "Variant"]
