"""Models that come from elsewhere: folders, runs, the Hugging Face hub.

:func:`load` takes a folder written by ``model.save_pretrained``, a run directory, or a hub id;
:func:`import_official` a checkpoint that a paper's authors released
(:mod:`taskprism.interop.official`).
"""

from taskprism.interop.hub import load
from taskprism.interop.official import import_official

__all__ = ["import_official", "load"]
