r"""Products of two feature maps at every small offset, the core of CTAL in linear memory.

.. math:: S_d = L \, \mathrm{shift}_d(R)^T, \quad S_d[i, j] = \sum_q L[i, q] \, R[j, q + d]

for the f x f offsets d around 0, with zeros outside of R. Written out these are f f matrix products
of size I x HW x J. In full precision tiles of the maps are transformed first
(:mod:`~taskprism.distillation.toom_cook`), which leaves a quarter of the multiplications at f = 3.
The transforms amplify rounding (about 10 times), so half precision takes the plain way.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from taskprism.distillation.toom_cook import TRANSFORMS

# Transformed tiles are made for a strip of rows at a time; values per strip, map and image.
_STRIP_ON_CPU = 2**20
_STRIP_ELSEWHERE = 2**24


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
    """Transformed tiles of both maps, strip by strip, and the way back for their gradients."""

    def __init__(self, left: Tensor, right: Tensor, offsets: int) -> None:
        made = TRANSFORMS[offsets]
        self.tile, self.points = made.tile, made.points
        self.to_left, self.to_right, self.back = (
            torch.from_numpy(matrix).to(left) for matrix in (made.left, made.right, made.back)
        )
        height, width = left.shape[-2:]
        self.rows, self.columns = -(-height // self.tile), -(-width // self.tile)
        below, beside = self.rows * self.tile - height, self.columns * self.tile - width
        margin = offsets // 2
        # The right map is padded all around by the zeros that the offsets reach.
        self.padded_left = F.pad(left, [0, beside, 0, below]) if below or beside else left
        self.padded_right = F.pad(right, [margin, margin + beside, margin, margin + below])

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
            # Tiles overlap, so one place of all tiles is added at a time.
            y, x = strip[0] * tile + place // side, place % side
            height, width = (len(strip) - 1) * tile + 1, (self.columns - 1) * tile + 1
            grad[..., y : y + height : tile, x : x + width : tile] += tiles[:, place]
