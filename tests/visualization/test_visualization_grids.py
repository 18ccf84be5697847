"""Grids of small pictures."""

import numpy as np
import pytest

from taskprism.errors import InputError
from taskprism.visualization.canvas import GAP, MARGIN
from taskprism.visualization.grids import GridRow, grid


def plain(color, height=2, width=3):
    return np.full((height, width, 3), color, np.uint8)


def test_pictures_are_placed_in_rows_and_columns():
    rows = [
        GridRow("first", [plain((255, 0, 0)), plain((0, 255, 0))]),
        GridRow("second", [None, plain((0, 0, 255), 5, 5)]),
    ]
    page = grid(rows, ["left", "right"], (40, 30), "title")
    assert page.shape[1] == 2 * MARGIN + 2 * 40 + GAP
    for color, column in [((255, 0, 0), 0), ((0, 255, 0), 1), ((0, 0, 255), 1)]:
        ys, xs = np.nonzero((page == color).all(axis=2))
        assert len(ys) == 40 * 30
        assert xs.min() == MARGIN + column * (40 + GAP)
    red, blue = (np.nonzero((page == c).all(axis=2))[0].min() for c in ((255, 0, 0), (0, 0, 255)))
    assert blue > red


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(InputError, match="'first' has 1 pictures for 2 columns"):
        grid([GridRow("first", [None])], ["a", "b"], (10, 10))
