"""``model.predict``: averages, tiles, results and their files."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from taskprism import create_model
from taskprism.data import create_protocol
from taskprism.data.point_clouds import Intrinsics
from taskprism.errors import InputError, UnknownNameError
from taskprism.models import PredictedImage
from taskprism.models.base import MultiTaskModel
from taskprism.models.inference import _blend_weight, _tile_starts, predict, predict_batch
from taskprism.models.predictions import Predictions
from taskprism.tasks import create_task

TASKS = (
    create_task("semseg", class_names=("floor", "wall", "thing")),
    create_task("depth"),
    create_task("normals"),
    create_task("disparity"),
)


class Local(MultiTaskModel):
    """Predicts each pixel from itself, so that tiles, flips and batches must change nothing."""

    name = "local"

    def __init__(self) -> None:
        super().__init__(TASKS)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Predictions:
        self.seen.append(tuple(images.shape))
        red = images[:, :1]
        return Predictions(
            {"semseg": images * 3, "depth": red + 1, "normals": images - 0.4, "disparity": red + 2}
        )


class Mirrored(Local):
    """Normals point away from the middle of the image, as those of a convex surface do."""

    def forward(self, images: Tensor) -> Predictions:
        outputs = super().forward(images)
        side = torch.linspace(-1, 1, images.shape[-1]).expand_as(images[:, :1])
        outputs["normals"] = torch.cat([side, torch.zeros_like(side), torch.ones_like(side)], 1)
        return outputs


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(3, 150, 210, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> MultiTaskModel:
    torch.manual_seed(0)
    return create_model("multi_task", TASKS, backbone="test_resnet", neck_channels=8).eval()


def assert_close(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], msg=name, **tolerance)


@pytest.mark.parametrize(("tile", "overlap"), [(64, 0), (64, 16), (100, 50), (33, 16), (500, 64)])
def test_tiles_of_a_local_network_give_the_whole_image(image, tile, overlap):
    model = Local()
    whole = predict(model, image)
    assert_close(predict(model, image, tile=tile, overlap=overlap), whole, rtol=1e-5, atol=1e-5)
    assert all(max(shape[-2:]) <= tile for shape in model.seen[1:])


def test_blending_leaves_no_seams(network, image):
    """The mean of two overlapping tiles is continuous: near a border, the other one counts."""
    weight = _blend_weight(64, 64, 16)
    assert weight[32, 32] == 1 and weight[0, 32] < 0.1
    assert torch.equal(weight, weight.flip(0)) and torch.equal(weight, weight.T)
    blended = predict(network, image, tile=64, overlap=32)["depth"]
    hard = predict(network, image, tile=64, overlap=0)["depth"]
    starts = _tile_starts(210, 64, 0)[1:]

    def step(values):  # jumps at the borders of hard tiles, against those elsewhere
        jumps = (values[..., 1:] - values[..., :-1]).abs().mean(dim=(0, 1))
        return jumps[[start - 1 for start in starts]].mean() / jumps.mean()

    assert step(blended) < step(hard)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200, 1000])
@pytest.mark.parametrize(("tile", "overlap"), [(64, 0), (64, 32), (33, 7)])
def test_tiles_cover_every_pixel_and_overlap_enough(length, tile, overlap):
    starts = _tile_starts(length, tile, overlap)
    assert starts[0] == 0 and starts[-1] + tile >= length
    assert length <= tile or starts[-1] + tile == length
    assert all(second - first <= tile - overlap for first, second in pairwise(starts))


def test_averages_with_the_mirror_image_are_symmetric(network, image):
    how = {"flip": True, "scales": (0.75, 1, 1.25)}
    direct = predict(network, image, **how)
    mirrored = predict(network, image.flip(-1), **how)
    for task in TASKS:
        back = task.target_type.after_horizontal_flip(mirrored[task.name].flip(-1))
        torch.testing.assert_close(back, direct[task.name], rtol=1e-4, atol=1e-4, msg=task.name)
    assert_close(predict(Mirrored(), image, flip=True), predict(Mirrored(), image))


def test_the_mean_of_scales_is_that_of_their_outputs(network, image):
    parts = [predict(network, image, (int(150 * s), int(210 * s)))["depth"] for s in (1, 2)]
    both = predict(network, image, scales=(1, 2), tasks=["depth"])["depth"]
    own = predict(network, image, tasks=["depth"])["depth"]
    assert not torch.allclose(own, both)
    assert (both - sum(parts) / 2).abs().mean() < 0.3 * (own - both).abs().mean()
    lengths = predict(Local(), image, scales=(0.5, 1, 2))["disparity"]  # pixels of the image
    assert 1.9 < lengths.mean() / predict(Local(), image)["disparity"].mean() * 2 < 2.6


def test_batches_of_different_sizes_are_those_of_single_images(network, image):
    images = [image, image[:, :64], image.flip(1), image[:, :64, :100]]
    together = predict_batch(network, images)
    for one, result in zip(images, together, strict=True):
        assert_close(result, predict(network, one), rtol=1e-3, atol=1e-4)


def test_the_recorded_size_is_used_unless_told_otherwise(image):
    model = Local()
    sizes = []
    for recorded, size in [
        (None, None),
        ((75, 105), None),
        ((75, 105), "native"),
        (None, (60, 84)),
    ]:
        model.input_size = recorded
        model.predict(image, size=size)
        sizes.append(model.seen[-1][-2:])
    assert sizes == [(150, 210), (75, 105), (150, 210), (60, 84)]


def test_wrong_options_are_named(network, image):
    for options, message in [
        ({"size": "huge"}, "size must be"),
        ({"scales": ()}, "scales must be"),
        ({"scales": (0.001,)}, "scales must be"),
        ({"tile": 8}, "tile must be at least 32"),
        ({"tile": 64, "overlap": 40}, "overlap must be from 0 to half of the tile"),
    ]:
        with pytest.raises(InputError, match=message):
            network.predict(image, **options)
    with pytest.raises(UnknownNameError, match="albedo"):
        network.predict(image, ["albedo"])
    fixed = create_model("ctal", ["depth", "edge"], backbone="test_resnet", size=(64, 64))
    with pytest.raises(InputError, match=r"accepts images of \(64, 64\) only"):
        predict(fixed, image, scales=(1, 2))
    assert fixed.predict(image).depth.shape == (150, 210)


def test_results_have_arrays_in_real_units_and_names(network, image):
    result = network.predict(image)
    assert result.semseg.shape == (150, 210) and result.semseg.dtype == np.uint8
    assert result.normals.shape == (150, 210, 3) and result.depth.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(result.normals, axis=-1), 1, atol=1e-5)
    assert np.array_equal(result["depth"], result.depth)
    assert result.class_names == {"semseg": ("floor", "wall", "thing")}
    assert repr(result) == "PredictedImage('image', 150x210: semseg, depth, normals, disparity)"
    assert "depth" in dir(result) and result.size == (150, 210)
    with pytest.raises(AttributeError, match="no task or attribute 'albedo'; its tasks: semseg"):
        result.albedo  # noqa: B018
    assert "data:image/png;base64," in result._repr_html_()


def test_lists_folders_and_files_are_predicted(network, image, tmp_path):
    pixels = (image * 255).byte().permute(1, 2, 0).numpy()
    for name in ("b", "a"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (one,) = network.predict([tmp_path / "a.png"], ["depth"])
    both = network.predict([pixels, tmp_path / "b.png"], batch_size=2)
    assert [result.name for result in both] == ["image_1", "b"] and list(one.tensors) == ["depth"]
    found = network.predict(tmp_path)
    assert [result.name for result in found] == ["a", "b"]
    single = network.predict(str(tmp_path / "a.png"))
    assert isinstance(single, PredictedImage)
    np.testing.assert_allclose(single.depth, both[0].depth, rtol=1e-3, atol=1e-4)


def test_overlays_mix_colors_and_image(network, image):
    result = network.predict(image)
    gray = (image.mean(0) * 255).numpy()
    none = np.asarray(result.overlay("depth", opacity=0))
    assert np.abs(none[..., 0] - gray).max() <= 1
    assert np.array_equal(result.overlay("depth", opacity=1), result.picture("depth"))
    with pytest.raises(InputError, match="opacity"):
        result.overlay(opacity=2)


def test_saved_files_hold_the_predictions(network, image, tmp_path):
    result = network.predict(image)
    camera = Intrinsics(200, 200, 104.5, 74.5)
    kinds = ("panels", "pictures", "overlays", "arrays", "labels", "points")
    files = result.save(tmp_path, kinds, camera)
    assert len(set(files)) == len(files) == 1 + 4 * 4 + 1
    assert all(file.is_file() for file in files)
    assert np.array_equal(np.load(tmp_path / "normals" / "image.npy"), result.normals)
    with Image.open(tmp_path / "labels" / "semseg" / "image.png") as opened:
        assert opened.mode == "P" and np.array_equal(np.asarray(opened), result.semseg)
    classes = json.loads((tmp_path / "labels" / "semseg" / "classes.json").read_text())
    assert classes == {"0": "floor", "1": "wall", "2": "thing"}
    keys = json.loads((tmp_path / "labels" / "labels.json").read_text())
    assert keys["depth"]["encoding"] == {"scale": "1/1000"}
    Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(
        tmp_path / "labels" / "image.png"
    )
    description = {
        "name": "mine",
        "root": ".",
        "image": "{name}.png",
        "input_size": [150, 210],
        "splits": {"train": ["image"], "test": ["image"]},
        "tasks": keys,
    }
    (tmp_path / "labels" / "data.yaml").write_text(json.dumps(description))
    sample = create_protocol(tmp_path / "labels" / "data.yaml").dataset("train")[0]
    depth = sample["targets"]["depth"][sample["valid"]["depth"]]
    np.testing.assert_allclose(depth, result.depth[sample["valid"]["depth"][0]], atol=5.1e-4)
    with pytest.raises(InputError, match="needs the task depth and the intrinsics"):
        result.save(tmp_path, ["points"])
    with pytest.raises(UnknownNameError, match="video"):
        result.save(tmp_path, ["video"])


def test_a_point_cloud_projects_back_to_its_pixels(network, image, tmp_path):
    result = network.predict(image, ["depth"])
    result.tensors["depth"] = result.tensors["depth"] + 1
    result.tensors["depth"][0, 3, 5] = float("nan")
    camera = Intrinsics(200, 210, 104.5, 74.5)
    (file,) = result.save(tmp_path, ["points"], camera)
    header, _, body = file.read_bytes().partition(b"end_header\n")
    assert b"element vertex 31499" in header
    kinds = [(axis, "<f4") for axis in "xyz"] + [(color, "u1") for color in "rgb"]
    points = np.frombuffer(body, dtype=kinds)
    columns = points["x"] / points["z"] * camera.fx + camera.cx
    rows = points["y"] / points["z"] * camera.fy + camera.cy
    expected_rows, expected_columns = np.nonzero(np.isfinite(result.depth))
    np.testing.assert_allclose(rows, expected_rows, atol=1e-2)
    np.testing.assert_allclose(columns, expected_columns, atol=1e-2)
    np.testing.assert_array_equal(points["z"], result.depth[expected_rows, expected_columns])
    red = (image[0] * 255).round().byte().numpy()[expected_rows, expected_columns]
    np.testing.assert_array_equal(points["r"], red)
