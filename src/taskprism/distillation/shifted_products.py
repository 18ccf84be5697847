r"""Products of two feature maps at every small offset: the core of CTAL in linear memory.

.. math:: S_d = L \, \mathrm{shift}_d(R)^T, \quad S_d[i, j] = \sum_q L[i, q] \, R[j, q + d]

for the f x f offsets d around 0, with zeros outside R. As written these are f f matrix products of
size I x HW x J. In full precision tiles of the maps are transformed first (see below), which leaves
a quarter of the multiplications at f = 3. The transforms amplify rounding errors about 10 times, so
half precision uses the plain products.

**Transforms (Toom and Cook).** For a tile p of m values and a tile x of n = m + f - 1 values, the f
correlations :math:`y_d = \sum_{q<m} p_q x_{q+d}` take m f multiplications as written, but only n as

.. math:: y = A \, [(G p) \odot (B x)]

The reason: :math:`y = T_p^T x`, where the Toeplitz matrix :math:`T_p` multiplies a polynomial of f
coefficients by p. Evaluated at n points, this is a product of numbers:
:math:`T_p = V_n^{-1} \mathrm{diag}(V_m p) V_f` with Vandermonde matrices V, so
:math:`A = V_f^T`, :math:`G = V_m`, :math:`B = V_n^{-T}`. It is the transpose of Winograd's
convolution (Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016). It
also holds when the values are rows of matrices and the products are matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from taskprism.layers.resize import ceil_divide

# Tiles are transformed for a strip of rows at a time; values per strip, map and image.
_STRIP_ON_CPU = 2**20
_STRIP_ELSEWHERE = 2**24

# Simple fractions first, each with its negative: their powers stay near 1 (Barabasz et al., "Error
# analysis and improving the accuracy of Winograd convolution", 2020). Infinity is always added.
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0, 2.0, -0.5)


@dataclass(frozen=True)
class Transforms:
    """Matrices for both axes at once: Kronecker squares of the matrices for one axis.

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
        ValueError: More than 8 points would be needed.
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
    """Evaluate a polynomial with that many coefficients at the points, infinity being last."""
    finite = np.vander(np.array(POINTS[: points - 1]), coefficients, increasing=True)
    infinity = np.zeros((1, coefficients))
    infinity[0, -1] = 1.0  # the leading coefficient
    return np.concatenate([finite, infinity])


# By number of offsets per axis. Larger tiles save more multiplications but need more points, which
# cost precision: with 8 points, single precision still agrees to 1e-5.
TRANSFORMS = {3: transforms(3, tile=4), 5: transforms(5, tile=2), 7: transforms(7, tile=2)}


def shifted_products(left: Tensor, right: Tensor, offsets: int) -> Tensor:
    """All products ``S_d``.

    Args:
        left: ``(B, I, H, W)``.
        right: ``(B, J, H, W)``, same type.
        offsets: f, odd; offsets along each axis.

    Returns:
        ``(B, f f, I, J)``, offsets row by row.
    """
    if not _use_tiles(left, offsets):
        flat = left.flatten(2)
        return torch.stack(
            [flat @ window.flatten(2).mT for window in _windows(right, offsets)], dim=1
        )
    tiles = _Tiles(left, right, offsets)
    batch, rows, columns = left.shape[0], left.shape[1], right.shape[1]
    total = left.new_zeros(batch * tiles.points**2, rows, columns)
    for strip in tiles.strips():
        total.baddbmm_(tiles.left(strip).flatten(0, 1), tiles.right(strip).flatten(0, 1).mT)
    total = total.view(batch, tiles.points**2, rows * columns)
    return (tiles.back @ total).unflatten(2, (rows, columns))


def shifted_products_backward(
    grad: Tensor, left: Tensor, right: Tensor, offsets: int
) -> tuple[Tensor, Tensor]:
    """Gradients of ``left`` and ``right`` for the gradient ``(B, f f, I, J)`` of the products."""
    height, width = left.shape[-2:]
    margin = offsets // 2
    if not _use_tiles(left, offsets):
        flat = left.flatten(2)
        grad_left = torch.zeros_like(flat)
        grad_right = F.pad(torch.zeros_like(right), [margin] * 4)
        inner = _windows_of(grad_right, offsets, height, width)
        for d, (window, target) in enumerate(zip(_windows(right, offsets), inner, strict=True)):
            grad_left += grad[:, d] @ window.flatten(2)
            target += (grad[:, d].mT @ flat).view_as(target)
        middle = grad_right[..., margin : margin + height, margin : margin + width]
        return grad_left.view_as(left), middle
    tiles = _Tiles(left, right, offsets)
    grad_total = (tiles.back.mT @ grad.flatten(2)).unflatten(2, grad.shape[-2:])
    grad_left = torch.zeros_like(tiles.padded_left)
    grad_right = torch.zeros_like(tiles.padded_right)
    for strip in tiles.strips():
        tiles.add_left(grad_left, grad_total @ tiles.right(strip), strip)
        tiles.add_right(grad_right, grad_total.mT @ tiles.left(strip), strip)
    return (
        grad_left[..., :height, :width],
        grad_right[..., margin : margin + height, margin : margin + width],
    )


def _use_tiles(left: Tensor, offsets: int) -> bool:
    exact = left.dtype == torch.float64 or (left.dtype == torch.float32 and _float32_is_exact())
    return exact and offsets in TRANSFORMS


@torch.compiler.assume_constant_result
def _float32_is_exact() -> bool:
    return torch.get_float32_matmul_precision() == "highest"


def _windows(maps: Tensor, offsets: int) -> Iterator[Tensor]:
    height, width = maps.shape[-2:]
    return _windows_of(F.pad(maps, [offsets // 2] * 4), offsets, height, width)


def _windows_of(padded: Tensor, offsets: int, height: int, width: int) -> Iterator[Tensor]:
    for dy in range(offsets):
        for dx in range(offsets):
            yield padded[..., dy : dy + height, dx : dx + width]


class _Tiles:
    """Transformed tiles of both maps, strip by strip, and the transposes for their gradients."""

    def __init__(self, left: Tensor, right: Tensor, offsets: int) -> None:
        matrices = TRANSFORMS[offsets]
        self.tile, self.points = matrices.tile, matrices.points
        self.to_left, self.to_right, self.back = (
            torch.from_numpy(matrix).to(left)
            for matrix in (matrices.left, matrices.right, matrices.back)
        )
        height, width = left.shape[-2:]
        self.rows = ceil_divide(height, self.tile)
        self.columns = ceil_divide(width, self.tile)
        bottom, side = self.rows * self.tile - height, self.columns * self.tile - width
        margin = offsets // 2
        # Both maps are padded to whole tiles, the right one also by the reach of the offsets.
        self.padded_left = F.pad(left, [0, side, 0, bottom]) if bottom or side else left
        self.padded_right = F.pad(right, [margin, margin + side, margin, margin + bottom])

    def strips(self) -> Iterator[range]:
        per_row = self.points**2 * self.columns * self.padded_left.shape[1]
        on_cpu = self.padded_left.device.type == "cpu"
        size = max(1, (_STRIP_ON_CPU if on_cpu else _STRIP_ELSEWHERE) // per_row)
        for first in range(0, self.rows, size):
            yield range(first, min(first + size, self.rows))

    def left(self, strip: range) -> Tensor:
        """``(B, points**2, I, tiles)``."""
        return self._transform(self.padded_left, self.to_left, self.tile, strip)

    def right(self, strip: range) -> Tensor:
        """``(B, points**2, J, tiles)``."""
        return self._transform(self.padded_right, self.to_right, self.points, strip)

    def _transform(self, padded: Tensor, matrix: Tensor, side: int, strip: range) -> Tensor:
        tile = self.tile
        rows = padded[..., strip[0] * tile : strip[-1] * tile + side, :]
        tiles = rows.unfold(2, side, tile).unfold(3, side, tile).permute(0, 4, 5, 1, 2, 3)
        batch, _, _, channels, _, _ = tiles.shape
        return (matrix @ tiles.reshape(batch, side**2, -1)).unflatten(2, (channels, -1))

    def add_left(self, grad: Tensor, grad_tiles: Tensor, strip: range) -> None:
        self._add(grad, grad_tiles, self.to_left, self.tile, strip)

    def add_right(self, grad: Tensor, grad_tiles: Tensor, strip: range) -> None:
        self._add(grad, grad_tiles, self.to_right, self.points, strip)

    def _add(
        self, grad: Tensor, grad_tiles: Tensor, matrix: Tensor, side: int, strip: range
    ) -> None:
        tile, shape = self.tile, (grad.shape[1], len(strip), self.columns)
        tiles = (matrix.mT @ grad_tiles.flatten(2)).unflatten(2, shape)
        for place in range(side**2):
            # Tiles overlap, so one position of all tiles is added at a time.
            y, x = strip[0] * tile + place // side, place % side
            height, width = (len(strip) - 1) * tile + 1, (self.columns - 1) * tile + 1
            grad[..., y : y + height : tile, x : x + width : tile] += tiles[:, place]
