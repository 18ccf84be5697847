"""Panels: sizes, layout and legends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from taskprism.errors import InputError
from taskprism.tasks import create_task
from taskprism.tasks.colors import ColorScale, Swatches
from taskprism.visualization import panel, sheet
from taskprism.visualization.canvas import fit, hatching, shorten, text_width, tile_size
from taskprism.visualization.panels import draw_legend

TASKS = [
    create_task("semseg", class_names=("floor", "wall", "thing")),
    create_task("depth"),
    create_task("normals"),
    create_task("edge"),
    create_task("albedo"),
]


def example(height: int, width: int) -> dict[str, torch.Tensor]:
    normals = torch.nn.functional.normalize(torch.randn(3, height, width), dim=0)
    return {
        "semseg": torch.randint(0, 3, (1, height, width)),
        "depth": torch.rand(1, height, width) + 1,
        "normals": normals,
        "edge": torch.rand(1, height, width),
        "albedo": torch.rand(3, height, width),
    }


@pytest.mark.parametrize(("height", "width"), [(33, 47), (96, 128), (3, 500), (500, 3), (1, 1)])
def test_panel_of_any_image_size(height, width):
    picture = panel(torch.rand(3, height, width), example(height, width), tasks=TASKS)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3 and picture.shape[2] == 3
    tile_width, tile_height = tile_size(height, width)
    assert picture.shape[1] > len(TASKS) * tile_width
    assert picture.shape[0] > tile_height


def test_labels_are_above_predictions_and_missing_labels_are_hatched():
    values = example(60, 80)
    image = torch.zeros(3, 60, 80)
    alone = panel(image, values, tasks=TASKS)
    both = panel(image, values, values, tasks=TASKS)
    assert both.shape[1] == alone.shape[1]
    assert both.shape[0] > alone.shape[0] + 150
    unlabeled = {name: torch.zeros(1, 60, 80, dtype=torch.bool) for name in values}
    nothing = panel(image, values, values, unlabeled, tasks=TASKS)
    assert np.array_equal(nothing, alone)
    without_depth = {name: value for name, value in values.items() if name != "depth"}
    partly = panel(image, values, without_depth, tasks=TASKS)
    assert partly.shape == both.shape and not np.array_equal(partly, both)


def test_invalid_pixels_are_hatched():
    depth = create_task("depth")
    target = torch.full((1, 240, 240), 2.0)
    valid = torch.ones(1, 240, 240, dtype=torch.bool)
    valid[:, :, 120:] = False
    picture = panel(
        torch.zeros(3, 240, 240), {}, {"depth": target}, {"depth": valid}, tasks=[depth]
    )
    hatch = hatching(240, 240)[:, 120:]
    windows = [
        np.array_equal(picture[y : y + 240, x : x + 120], hatch)
        for y in range(picture.shape[0] - 240)
        for x in range(picture.shape[1] - 150, picture.shape[1] - 120)
    ]
    assert any(windows)


def test_image_is_shown_unchanged():
    image = torch.rand(3, 240, 240)
    picture = panel(image, {"depth": torch.rand(1, 240, 240)}, tasks=[create_task("depth")])
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    found = [
        np.array_equal(picture[y : y + 240, 16 : 16 + 240], pixels)
        for y in range(picture.shape[0] - 240)
    ]
    assert sum(found) == 1


def test_prediction_is_drawn_on_the_scale_of_its_label():
    depth = create_task("depth")
    target = torch.linspace(1, 2, 240).expand(1, 240, -1).clone()
    same = panel(torch.zeros(3, 240, 240), {"depth": target}, {"depth": target}, tasks=[depth])
    far = panel(torch.zeros(3, 240, 240), {"depth": target + 5}, {"depth": target}, tasks=[depth])
    top, bottom = same[:250], same[250:500]
    assert np.array_equal(far[:250], top)
    assert not np.array_equal(far[250:500], bottom)


def test_empty_panels_and_invalid_images_are_refused():
    with pytest.raises(InputError, match="Nothing to show"):
        panel(torch.rand(3, 8, 8), {}, tasks=TASKS)
    with pytest.raises(InputError, match=r"\(3, H, W\)"):
        panel(torch.rand(1, 8, 8), example(8, 8), tasks=TASKS)
    with pytest.raises(InputError, match="at least one panel"):
        sheet([])


def test_sheet_stacks_panels_of_different_widths():
    first = np.zeros((5, 7, 3), np.uint8)
    second = np.full((4, 9, 3), 9, np.uint8)
    stacked = sheet([first, second])
    assert stacked.shape == (5 + 1 + 4, 9, 3)
    assert np.array_equal(stacked[:5, :7], first)
    assert (stacked[:5, 7:] == 255).all()
    assert np.array_equal(stacked[6:], second)


def test_legend_of_many_classes_lists_only_classes_that_occur():
    colors = [(i, 0, 0) for i in range(40)]
    legend = Swatches(tuple((color, f"class {i}") for i, color in enumerate(colors)))
    picture = np.array([[colors[3], colors[7]]], dtype=np.uint8)
    few = draw_legend(legend, 300, [picture])
    every = draw_legend(legend, 300, [np.array([colors], dtype=np.uint8)])
    assert few is not None and every is not None
    assert few.height < every.height
    shown = {tuple(c) for c in np.asarray(few).reshape(-1, 3).tolist()}
    assert colors[3] in shown and colors[7] in shown and colors[5] not in shown
    assert draw_legend(legend, 300, [np.full((1, 1, 3), 200, np.uint8)]) is None


def test_color_scale_runs_from_low_to_high():
    colors = np.stack([np.arange(256)] * 3, axis=1).astype(np.uint8)
    drawn = draw_legend(ColorScale(colors, 0.5, 4.0, "m"), 200, [])
    assert drawn is not None
    row = np.asarray(drawn)[6, :, 0].astype(int)
    assert row[5] < 20 and row[100] == pytest.approx(128, abs=4) and row[194] > 235
    assert draw_legend(None, 200, []) is None


def test_enlarged_labels_keep_sharp_pixels():
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0] = 255
    assert set(np.unique(fit(picture, 20, 20, smooth=False))) == {0, 255}


def test_long_names_are_shortened_to_the_tile():
    text = shorten("a very long name of an image file that goes on and on", 120, 14)
    assert text.endswith("…") and text_width(text, 14) <= 120
    assert shorten("short", 120, 14) == "short"
