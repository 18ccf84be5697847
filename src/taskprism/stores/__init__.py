"""Files and folders on object stores, through fsspec: ``s3://``, ``gs://``, ``memory://``, ...

* :mod:`.paths`: :class:`StorePath`, a URL with the part of :class:`pathlib.Path` that reading uses;
* :mod:`.folders`: :class:`MirroredFolder`, a folder that is written in the local cache and copied
  to a URL;
* :mod:`.lease`: :class:`Lease`, which keeps a second writer from the same URL.

Paths of local files never come here.
"""

from .folders import MirroredFolder, fetch_folder
from .lease import Lease
from .paths import AnyPath, StorePath, as_path, cache_folder, is_url

__all__ = [
    "AnyPath",
    "Lease",
    "MirroredFolder",
    "StorePath",
    "as_path",
    "cache_folder",
    "fetch_folder",
    "is_url",
]
