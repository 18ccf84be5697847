"""Labeled images: samples, transforms, data sets, protocols.

``create_protocol("rooms")`` makes a named benchmark, ``create_protocol("my.yaml")`` one from a
folder of your own images, and ``create_protocol(["a.yaml", "b.yaml"])`` joins several into one
partly labeled set. A :class:`Protocol` gives data sets of :class:`Sample`; :func:`collate` stacks
them into a :class:`Batch` in which every task is present and missing labels are masked.

A folder's YAML is described in :mod:`taskprism.data.folder_config`, augmentation in
:mod:`taskprism.data.transforms`. A new protocol is a subclass in its own file and one line in
:data:`PROTOCOLS`; the shipped YAMLs (``osd_rgbd``, ``clothing_parts``) need no code at all. Any of
them can be packed into tars and read from these, see :mod:`taskprism.data.shards`.
"""

from taskprism.data.folder import FolderProtocol
from taskprism.data.joint import JointProtocol
from taskprism.data.protocol import Protocol, Split, Transform
from taskprism.data.registry import PROTOCOLS, create_protocol, list_protocols
from taskprism.data.sample import Batch, Sample, collate

__all__ = [
    "PROTOCOLS",
    "Batch",
    "FolderProtocol",
    "JointProtocol",
    "Protocol",
    "Sample",
    "Split",
    "Transform",
    "collate",
    "create_protocol",
    "list_protocols",
]
