"""The real stereo pair of scikit-image, read as a folder."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import color, filters
from torch import Tensor
from torchvision import tv_tensors

from taskprism.cli import main
from taskprism.data import create_protocol, transforms
from taskprism.data.checking import check_protocol
from taskprism.data.derived import normals_from_depth
from taskprism.data.sample import Sample
from taskprism.tasks.depth import DepthMap
from taskprism.tasks.normals import NormalMap
from taskprism.tasks.target import ValidMask

SCRIPT = Path(__file__).parents[2] / "examples" / "motorcycle.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("motorcycle", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def whole(example):
    return example.labels()


@pytest.fixture(scope="module")
def folder(example, tmp_path_factory, whole):
    root = tmp_path_factory.mktemp("motorcycle")
    example.labels = lambda: whole  # computed once
    return example.write(root)


def points(example, depth):
    """Right, up and toward in meters, ``(H, W, 3)``."""
    rows, columns = np.indices(depth.shape)
    x = (columns - example.CENTER[0]) / example.FOCAL * depth
    y = -(rows - example.CENTER[1]) / example.FOCAL * depth
    return np.stack([x, y, -depth], axis=2)


def test_depth_follows_from_the_calibration(example, whole):
    depth, disparity = whole["depth"], whole["disparity"]
    known = disparity > 0
    assert known.mean() == pytest.approx(0.927, abs=1e-3)
    assert np.array_equal(known, depth > 0)
    # By hand, in millimeters: 994.978 * 193.001 / (59.9 + 31.086) = 2110.6.
    assert depth[known].min() == pytest.approx(2.11, abs=0.005)
    assert depth[known].max() == pytest.approx(5.017, abs=0.005)
    assert depth[known].argmin() == disparity[known].argmax()


def test_normals_are_those_of_planes_through_the_points(example, whole):
    """Singular vectors of 3-D points, an independent fit, at random pixels of smooth surfaces."""
    depth, normals = whole["depth"], whole["normals"]
    cloud = points(example, depth)
    generator = np.random.default_rng(0)
    angles = []
    while len(angles) < 200:
        row, column = generator.integers(5, 495), generator.integers(5, 736)
        window = np.s_[row - 5 : row + 6, column - 5 : column + 6]
        near = depth[window]
        if near.min() == 0 or near.max() > 1.05 * near.min() or not normals[row, column].any():
            continue
        around = cloud[window].reshape(-1, 3)
        direction = np.linalg.svd(around - around.mean(axis=0))[2][2]
        cosine = abs(direction @ normals[row, column])
        angles.append(math.degrees(math.acos(min(cosine, 1.0))))
    assert np.median(angles) < 1
    assert np.percentile(angles, 90) < 6
    visible = (normals * cloud).sum(axis=2) < 0
    assert visible[normals.any(axis=2)].mean() > 0.99  # surfaces face the camera


def test_the_garage_floor_faces_up(whole):
    floor = whole["normals"][450:, :150].reshape(-1, 3)
    floor = floor[floor.any(axis=1)]
    assert len(floor) > 7000
    assert floor[:, 1].mean() > 0.96  # the camera looks down a little
    assert floor[:, 1].std() < 0.02


def test_edges_run_where_depth_jumps(whole):
    edge, depth = whole["edge"], whole["depth"]
    assert 0.01 < (edge == 255).mean() < 0.05
    inside = (edge[1:-1, 1:-1] == 255) & (depth[1:-1, 1:-1] > 0)
    around = np.stack(
        [depth[1 + r : 499 + r, 1 + c : 740 + c] for r in (-1, 0, 1) for c in (-1, 0, 1)]
    )
    complete = (around > 0).all(axis=0)
    step = around.max(axis=0) / np.where(complete, around.min(axis=0), 1)
    assert (step[inside & complete] > 1.04).all()
    assert (step[~inside & complete] < 1.04).mean() > 0.97


def sample(whole, **labels):
    image = torch.from_numpy(whole["image"]).permute(2, 0, 1).float() / 255
    depth = torch.from_numpy(whole["depth"])[None]
    normals = torch.from_numpy(whole["normals"]).permute(2, 0, 1).contiguous()
    return Sample(
        name="motorcycle",
        image=tv_tensors.Image(image),
        targets={"depth": DepthMap(depth), "normals": NormalMap(normals)},
        valid={
            "depth": ValidMask(depth > 0),
            "normals": ValidMask(normals.abs().sum(dim=0, keepdim=True) > 0),
        },
    )


def agreement(transformed, focal, center):
    """Median angle between normals that went through a transform and those of such depth."""
    depth = transformed["targets"]["depth"].as_subclass(Tensor)[0].numpy()
    again, fitted = normals_from_depth(depth, (focal, focal), center)
    normals = transformed["targets"]["normals"].as_subclass(Tensor).permute(1, 2, 0).numpy()
    both = fitted & transformed["valid"]["normals"].as_subclass(Tensor)[0].numpy()
    assert both.mean() > 0.5
    cosine = (again * normals).sum(axis=2)[both].clip(-1, 1)
    return float(np.median(np.degrees(np.arccos(cosine))))


def test_normals_and_depth_agree_after_a_flip(example, whole):
    flipped = transforms.RandomHorizontalFlip(1.0)(sample(whole))
    x, y = example.CENTER
    assert agreement(flipped, example.FOCAL, (740 - x, y)) < 0.01


def test_normals_and_depth_agree_after_a_rotation(example, whole):
    turned = transforms.ScaleRotate(degrees=(20.0, 20.0))(sample(whole))
    x, y = example.CENTER[0] - 370, example.CENTER[1] - 249.5
    angle = math.radians(20)  # counter-clockwise, in an image whose y points down
    center = (
        370 + x * math.cos(angle) + y * math.sin(angle),
        249.5 - x * math.sin(angle) + y * math.cos(angle),
    )
    # Nearest neighbors roughen the depth. Turned the wrong way, the median would be 20 degrees.
    assert agreement(turned, example.FOCAL, center) < 2


def test_normals_and_depth_agree_after_a_resize(example, whole):
    smaller = transforms.Resize((400, 593))(sample(whole))
    x, y = example.CENTER
    center = ((x + 0.5) * 0.8 - 0.5, (y + 0.5) * 0.8 - 0.5)
    assert agreement(smaller, example.FOCAL * 0.8, center) < 2


def test_tiles_are_read_as_a_folder(folder, whole):
    report = check_protocol(create_protocol(str(folder)))
    assert report.problems == []
    assert report.splits == {"train": 4, "test": 2}
    protocol = create_protocol(str(folder))
    tile = protocol.dataset("test")[1]  # the second row, the first column
    assert np.array_equal(
        tile["targets"]["depth"].as_subclass(Tensor)[0].numpy(), whole["depth"][250:, :247]
    )
    np.testing.assert_allclose(
        tile["targets"]["normals"].as_subclass(Tensor).permute(1, 2, 0).numpy(),
        whole["normals"][250:, :247],
        atol=1e-6,
    )
    resized = protocol.evaluation_transform()(tile)
    ratio = resized["targets"]["disparity"].max() / tile["targets"]["disparity"].max()
    assert ratio == pytest.approx(240 / 247, rel=1e-3)


def test_the_edges_command_scores_a_gradient_detector(example, whole, tmp_path):
    for name in ("maps", "perfect", "truth"):
        (tmp_path / name).mkdir()
    edge = (whole["edge"] == 255).astype(np.uint8) * 255
    gray = filters.gaussian(color.rgb2gray(whole["image"]), 2)
    gradient = filters.sobel(gray)
    np.save(tmp_path / "maps/left.npy", (gradient / gradient.max()).astype(np.float32))
    np.save(tmp_path / "perfect/left.npy", (edge > 0).astype(np.float32))
    np.save(tmp_path / "truth/left.npy", edge)
    scores = {}
    for name in ("maps", "perfect"):
        file = tmp_path / f"{name}.json"
        words = [str(tmp_path / name), str(tmp_path / "truth"), "--thresholds", "9"]
        words += ["--no-nms"] if name == "perfect" else []
        assert main(["edges", *words, "--json", str(file)]) == 0
        scores[name] = json.loads(file.read_text())
    assert scores["perfect"]["odsF"] == 1
    assert 0.2 < scores["maps"]["odsF"] < 0.6  # texture is not depth


@pytest.mark.slow
def test_a_network_is_trained_and_scored(folder, tmp_path):
    words = ["rooms/multi_task", "--data.protocol", str(folder)]
    words += ["--tasks", "depth", "normals", "edge", "--model.backbone", "test_resnet"]
    words += ["--model.pretrained", "False", "--data.options.input_size", "[64, 64]"]
    words += ["--data.batch_size", "2", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert main(["train", *words]) == 0
    results = json.loads((tmp_path / "run/metrics.json").read_text())
    assert results["protocol"] == "motorcycle"
    assert results["primary"]["edge"] == "odsf"
    assert all(
        math.isfinite(value) for task in results["metrics"].values() for value in task.values()
    )
