"""Propose the data YAML of a folder: which files are images, and what the others label.

:mod:`.series` groups the files by pattern, :mod:`.recognition` looks at their numbers, and
:mod:`.proposal` writes the YAML. Every assumption becomes a comment in it.

>>> import tempfile
>>> from pathlib import Path
>>> import numpy as np
>>> from PIL import Image
>>> folder = Path(tempfile.mkdtemp())
>>> random = np.random.default_rng(0)
>>> for name in ("a", "b"):
...     photo, depth = random.integers(0, 256, (8, 8, 3)), random.integers(900, 3000, (8, 8))
...     Image.fromarray(photo.astype(np.uint8)).save(folder / f"{name}_rgb.png")
...     Image.fromarray(depth.astype(np.uint16)).save(folder / f"{name}_depth.png")
>>> proposal = propose(folder)
>>> proposal.image, [task.name for task in proposal.tasks]
('{name}_rgb.png', ['depth'])
"""

from taskprism.data.proposing.proposal import Proposal, propose
from taskprism.data.proposing.recognition import TaskProposal

__all__ = ["Proposal", "TaskProposal", "propose"]
