"""Any data set as a few large tar files, in the layout of WebDataset.

``taskprism data pack PROTOCOL ROOT --out DIR`` writes ``DIR/train-000000.tar`` ... and
``DIR/index.json``; the protocol ``shards`` with ``root=DIR`` then is the packed protocol, with its
tasks, sizes, augmentation, metric conventions and license, and reads samples from the tars.

Within a tar the members of a sample follow each other and share their key: ``00000012.json``
(name, and how each label is stored), ``00000012.image.png``, ``00000012.depth.npy`` ...; a task
without a label has no member. So the webdataset package reads them too. Nothing is lost: what does
not fit into an 8- or 16-bit picture exactly is stored as an array, see :mod:`.encoding`.

The index knows where every member begins, so that a sample is read by its number. Order, ranks,
workers and resuming are therefore those of every other data set: exact, and shuffled over the whole
set rather than over a buffer.
"""

from taskprism.data.shards.pack import pack
from taskprism.data.shards.protocol import ShardDataset, ShardsProtocol

__all__ = ["ShardDataset", "ShardsProtocol", "pack"]
