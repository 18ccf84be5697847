"""Boundary scores odsF, oisF and AP, without MATLAB and without a compiler.

A detector gives every pixel a probability of lying on an object boundary. Its map is thinned to
ridges (non-maximum suppression), thresholded at many values and thinned again. Each binary map is
matched one to one with the boundaries that annotators drew, within a tolerance of 0.0075 of the
image diagonal. The matched shares are precision and recall; F is their harmonic mean. odsF is the
best F with one threshold for the whole data set, oisF with one threshold per image, AP the area
under the curve (Martin, Fowlkes and Malik, 2004; Arbeláez et al., 2011).

The matching is maximum and exact. The solver of the Berkeley benchmark misses up to 0.2 % of the
pairs, so its scores are lower by about 0.0003.

>>> import numpy as np
>>> from taskprism.metrics.boundaries import BoundaryConvention, BoundaryCounts, BoundaryScores
>>> truth = np.zeros((40, 60), dtype=bool)
>>> truth[20, 10:50] = True
>>> prediction = np.zeros((40, 60), dtype=np.float32)
>>> prediction[20, 10:30] = 0.8  # half of the line,
>>> prediction[5, 10:15] = 0.4  # and five pixels that are not in the ground truth
>>> convention = BoundaryConvention(nms=False)
>>> counts = BoundaryCounts.of_image(prediction, [truth], convention)
>>> scores = BoundaryScores.of(counts, convention)
>>> round(scores.ods_f, 3), scores.best_threshold
(0.667, 0.4)

Counts of images are added with ``+``. :func:`score_folders` scores files in several processes;
:class:`BoundaryMetric` and :class:`OdsF` are torchmetrics for batches. Papers differ in details,
which are fields of :class:`BoundaryConvention`; :data:`CONVENTIONS` has the usual ones.

Names are imported on first use, so that the command line starts without PyTorch and matplotlib.
``__init__.pyi`` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
