"""Models that come from elsewhere: folders, runs, the Hugging Face hub.

:func:`load` takes a folder written by ``model.save_pretrained``, a run directory, or a hub id.
"""

from taskprism.interop.hub import load

__all__ = ["load"]
