"""Any data set as a few large tar files, in the layout of WebDataset.

``taskprism data pack PROTOCOL ROOT --out DIR`` writes ``DIR/train-000000.tar`` ... and
``DIR/index.json``; ``create_protocol(DIR)`` is then the packed protocol, with its tasks, sizes,
augmentation, metric conventions and license, and reads samples from the tars.

Within a tar the members of a sample are adjacent and share a key: ``00000012.json``
(name, and how each label is stored), ``00000012.image.png``, ``00000012.depth.npy`` ...; a task
without a label has no member. The webdataset package can read them. Storage is lossless: values
that an 8- or 16-bit picture cannot represent are stored as arrays, see :mod:`.encoding`.

The index records the position of every member, so that samples are read by number, as in every
other data set: shuffling covers the whole set, a rank or worker reads its exact share, and a
resumed run continues with the next sample. The webdataset package reads tars as streams, with a
shuffle buffer, and cannot resume inside an epoch. Therefore taskprism uses its format, but not its
reader.
"""

from taskprism.data.shards.pack import pack
from taskprism.data.shards.protocol import ShardDataset, ShardsProtocol

__all__ = ["ShardDataset", "ShardsProtocol", "pack"]
