"""Labeled images: samples, transforms, data sets, protocols.

``create_protocol("rooms")`` makes a named benchmark, ``create_protocol("my.yaml")`` one from a
folder of your images, ``create_protocol(MyProtocol)`` one from your code, and
``create_protocol(["a.yaml", "b.yaml"])`` joins several into one partly labeled set. A
:class:`Protocol` gives data sets of :class:`Sample`; :func:`collate` stacks them into a
:class:`Batch` in which every task is present and missing labels are masked.

A folder's YAML is described in :mod:`taskprism.data.folder_config`, augmentation in
:mod:`taskprism.data.transforms`. A data set in Python is a subclass of :class:`Protocol`, in any
module; ``@register_protocol`` adds it to :data:`PROTOCOLS`. The shipped YAMLs (``osd_rgbd``,
``clothing_parts``) need no code. Any protocol can be packed into tar files and read from these, see
:mod:`taskprism.data.shards`.
"""

from taskprism.data.augmentation import TRANSFORMS, list_transforms, register_transform
from taskprism.data.create import create_protocol, list_protocols
from taskprism.data.folder import FolderProtocol
from taskprism.data.joint import JointProtocol
from taskprism.data.label_subsets import LabelSubset
from taskprism.data.protocol import (
    PROTOCOLS,
    Protocol,
    SizedDataset,
    Split,
    Transform,
    TransformedDataset,
    register_protocol,
)
from taskprism.data.sample import Batch, Sample, collate, make_sample

__all__ = [
    "PROTOCOLS",
    "TRANSFORMS",
    "Batch",
    "FolderProtocol",
    "JointProtocol",
    "LabelSubset",
    "Protocol",
    "Sample",
    "SizedDataset",
    "Split",
    "Transform",
    "TransformedDataset",
    "collate",
    "create_protocol",
    "list_protocols",
    "list_transforms",
    "make_sample",
    "register_protocol",
    "register_transform",
]
