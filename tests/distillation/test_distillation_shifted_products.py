import numpy as np
import pytest
import torch

from reference.distillation_checks import assert_close
from taskprism.distillation.shifted_products import (
    TRANSFORMS,
    shifted_products,
    shifted_products_backward,
    transforms,
)


@pytest.mark.parametrize(("offsets", "tile"), [(2, 2), (3, 2), (3, 4), (3, 6), (5, 2), (7, 2)])
def test_transforms_give_the_correlation(offsets, tile):
    matrices = transforms(offsets, tile)
    random = np.random.default_rng(0)
    p = random.normal(size=(tile, tile))
    x = random.normal(size=(matrices.points, matrices.points))
    y = matrices.back @ ((matrices.left @ p.ravel()) * (matrices.right @ x.ravel()))
    expected = [
        (p * x[dy : dy + tile, dx : dx + tile]).sum()
        for dy in range(offsets)
        for dx in range(offsets)
    ]
    np.testing.assert_allclose(y, expected, atol=1e-11)


def test_transforms_save_multiplications():
    for offsets, matrices in TRANSFORMS.items():
        assert matrices.points**2 <= 0.36 * offsets**2 * matrices.tile**2


def test_too_many_points():
    with pytest.raises(ValueError, match="8 points"):
        transforms(7, 4)


@pytest.mark.parametrize("offsets", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [(1, 1), (4, 9), (8, 8)])
def test_products_and_their_gradients(offsets, size):
    height, width = size
    left = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    right = torch.randn(2, 4, *size, dtype=torch.float64, requires_grad=True)
    reach = offsets // 2
    expected = torch.zeros(2, offsets**2, 3, 4, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            for d in range(offsets**2):
                v, u = y + d // offsets - reach, x + d % offsets - reach
                if 0 <= v < height and 0 <= u < width:
                    one, two = left[:, :, y, x], right[:, :, v, u]
                    expected[:, d] += one[:, :, None] * two[:, None]
    assert_close(shifted_products(left, right, offsets), expected, 1e-11)
    grad = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (left, right), grad)
    found = shifted_products_backward(grad, left.detach(), right.detach(), offsets)
    for mine, other in zip(found, wanted, strict=True):
        assert_close(mine, other, 1e-11)
