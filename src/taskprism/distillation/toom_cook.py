r"""Correlations at a few neighboring offsets with fewer multiplications (Toom and Cook).

For a tile p of m values and x of n = m + f - 1 values, the f correlations
:math:`y_d = \sum_{q<m} p_q x_{q+d}` need m f multiplications when written out, but only n when done
as

.. math:: y = A \, [(G p) \odot (B x)]

Why: :math:`y = T_p^T x`, where the Toeplitz matrix :math:`T_p` multiplies a polynomial of f
coefficients by p. Evaluating at n points makes that a product of numbers,
:math:`T_p = V_n^{-1} \mathrm{diag}(V_m p) V_f` with Vandermonde matrices V, so that
:math:`A = V_f^T`, :math:`G = V_m`, :math:`B = V_n^{-T}`. It is the transpose of Winograd's
convolution (Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016), and it
holds entry by entry when the values are rows of matrices and products are matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Simple fractions first, each with its opposite: their powers stay near 1 (Barabasz et al., "Error
# analysis and improving the accuracy of Winograd convolution", 2020). Infinity is always added.
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0, 2.0, -0.5)


@dataclass(frozen=True)
class Transforms:
    """Matrices for two axes at once: the Kronecker square of those for one axis.

    Attributes:
        tile: m, side of a tile of the left operand.
        points: n, side of a tile of the right operand.
        left: G, ``(n n, m m)``.
        right: B, ``(n n, n n)``.
        back: A, ``(f f, n n)``.
    """

    tile: int
    points: int
    left: np.ndarray
    right: np.ndarray
    back: np.ndarray


def transforms(offsets: int, tile: int) -> Transforms:
    """Matrices for ``offsets`` x ``offsets`` correlations of tiles of side ``tile``.

    Raises:
        ValueError: If more than 8 points would be needed.
    """
    points = tile + offsets - 1
    if points - 1 > len(POINTS):
        raise ValueError(f"{offsets} offsets and tiles of {tile} need more than 8 points")
    short, small = _vandermonde(points, offsets), _vandermonde(points, tile)
    inverse = np.linalg.inv(_vandermonde(points, points)).T
    return Transforms(
        tile=tile,
        points=points,
        left=np.kron(small, small),
        right=np.kron(inverse, inverse),
        back=np.kron(short.T, short.T),
    )


def _vandermonde(points: int, coefficients: int) -> np.ndarray:
    """Values at the points of a polynomial with ``coefficients`` coefficients; last, infinity."""
    finite = np.vander(np.array(POINTS[: points - 1]), coefficients, increasing=True)
    infinity = np.zeros((1, coefficients))
    infinity[0, -1] = 1.0  # the leading coefficient
    return np.concatenate([finite, infinity])


# By number of offsets per axis. Larger tiles save more but need more points, and those cost digits:
# at 8 points single precision still agrees to 1e-5.
TRANSFORMS = {3: transforms(3, tile=4), 5: transforms(5, tile=2), 7: transforms(7, tile=2)}
