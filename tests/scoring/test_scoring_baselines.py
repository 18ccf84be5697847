"""Constant baselines compared with manual calculations."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from taskprism.cli import main
from taskprism.data.sample import Sample, collate
from taskprism.errors import DataError
from taskprism.scoring.baselines import fit_constants
from taskprism.scoring.evaluation import score
from taskprism.tasks import ValidMask, create_task


def sample(labels: dict[str, tuple[list, list]]) -> Sample:
    """An image with a single row, from a list of values and of validity per task."""
    targets, valid = {}, {}
    width = 0
    for name, (values, mask) in labels.items():
        task = create_task(name, 3) if name == "semseg" else create_task(name)
        array = torch.tensor(values, dtype=task.target_dtype).reshape(len(mask), -1).T
        targets[name] = task.target_type(array[:, None])
        valid[name] = ValidMask(torch.tensor(mask)[None, None])
        width = len(mask)
    return {
        "name": "row",
        "image": tv_tensors.Image(torch.zeros(3, 1, width)),
        "targets": targets,
        "valid": valid,
    }


def constants(task, samples):
    model = fit_constants(samples, [task])
    output = model(torch.zeros(2, 3, 4, 5))[task.name]
    assert output.shape == (2, task.channels, 4, 5)
    assert (output == output[:1, :, :1, :1]).all()
    return task.decode(output)[0, :, 0, 0]


YES, NO = True, False


def test_majority_class_counts_valid_pixels_of_all_images():
    samples = [
        sample({"semseg": ([0, 0, 0, 2], [NO, NO, YES, YES])}),
        sample({"semseg": ([2, 1, 1, 2], [YES, YES, NO, YES])}),
    ]
    assert constants(create_task("semseg", 3), samples).item() == 2


def test_mean_depth_is_over_pixels():
    samples = [
        sample({"depth": ([1.0, 9.0], [YES, NO])}),
        sample({"depth": ([2.0, 6.0], [YES, YES])}),
    ]
    assert constants(create_task("depth"), samples).item() == pytest.approx(3.0)


def test_mean_normal_has_unit_length():
    samples = [sample({"normals": ([[0, 0, 1], [0, 0.6, 0.8], [1, 0, 0]], [YES, YES, NO])})]
    length = math.hypot(0.6, 1.8)
    expected = torch.tensor([0, 0.6 / length, 1.8 / length])
    torch.testing.assert_close(constants(create_task("normals"), samples), expected)


def test_edge_probability_minimizes_the_balanced_loss():
    labels = [1.0] + [0.0] * 24
    samples = [sample({"edge": (labels, [YES] * 25)})]
    task = create_task("edge", positive_weight=0.8)
    found = constants(task, samples).item()
    assert found == pytest.approx(0.8 * 0.04 / (0.8 * 0.04 + 0.2 * 0.96))
    assert found < 0.5  # all background

    def loss(probability: float) -> float:
        return -0.8 * 0.04 * math.log(probability) - 0.2 * 0.96 * math.log(1 - probability)

    assert all(loss(found) <= loss(other / 100) for other in range(1, 100))


def test_albedo_is_the_mean_color():
    samples = [sample({"albedo": ([[0.0, 0.5, 1.0], [0.5, 0.5, 0.0]], [YES, YES])})]
    torch.testing.assert_close(
        constants(create_task("albedo"), samples), torch.tensor([0.25, 0.5, 0.5])
    )


def test_images_without_labels_are_ignored_and_no_label_raises():
    unlabeled = sample({"depth": ([5.0, 5.0], [NO, NO])})
    labeled = sample({"depth": ([1.0, 2.0], [YES, YES])})
    other = sample({"edge": ([1.0, 0.0], [YES, YES])})
    assert constants(create_task("depth"), [unlabeled, other, labeled]).item() == 1.5
    with pytest.raises(DataError, match="depth"):
        fit_constants([unlabeled, other], [create_task("depth")])


def test_baseline_is_scored_with_the_metrics_of_the_tasks():
    tasks = [create_task("semseg", 3), create_task("depth")]
    train = [sample({"semseg": ([0, 0, 1, 2], [YES] * 4), "depth": ([1, 1, 3, 3], [YES] * 4)})]
    test = [sample({"semseg": ([0, 1, 1, 0], [YES] * 4), "depth": ([2, 5, 2, 2], [YES] * 4)})]
    results = score(fit_constants(train, tasks), [collate(test, tasks)])
    assert results["semseg"]["miou"] == pytest.approx((2 / 4 + 0) / 2)  # class 2 is absent
    assert results["depth"]["rmse"] == pytest.approx(1.5)  # one of four pixels is 3 m off


@pytest.fixture
def folder(tmp_path):
    """Four tiny images, two of them for testing, with classes and depth."""
    random = np.random.default_rng(0)
    for part in ("rgb", "semseg", "depth"):
        (tmp_path / part).mkdir()
    for index in range(4):
        rgb = random.integers(0, 256, (16, 24, 3)).astype(np.uint8)
        Image.fromarray(rgb).save(tmp_path / "rgb" / f"{index}.png")
        classes = np.zeros((16, 24), np.uint8)
        classes[:4] = 1
        Image.fromarray(classes).save(tmp_path / "semseg" / f"{index}.png")
        millimeters = np.full((16, 24), 1000 * (index + 1), np.uint16)
        Image.fromarray(millimeters).save(tmp_path / "depth" / f"{index}.png")
    (tmp_path / "train.txt").write_text("0\n1\n")
    (tmp_path / "test.txt").write_text("2\n3\n")
    (tmp_path / "toy.yaml").write_text(
        "name: toy\nimage: rgb/{name}.png\ninput_size: [16, 24]\n"
        "splits: {train: train.txt, test: test.txt}\ntasks:\n"
        "  semseg: {path: 'semseg/{name}.png', classes: [floor, wall]}\n"
        "  depth: {path: 'depth/{name}.png', encoding: {scale: 0.001}, ignore: [0]}\n"
    )
    return tmp_path


def test_command_writes_a_run_that_compare_shows(folder, tmp_path, capsys):
    out = tmp_path / "runs" / "trivial"
    command = ["baseline", str(folder / "toy.yaml"), "--root", str(folder), "--out", str(out)]
    assert main(command) == 0
    content = json.loads((out / "metrics.json").read_text())
    assert content["metrics"]["semseg"]["miou"] == pytest.approx(0.75 / 2)
    # 3 m and 4 m, compared with the 1.5 m of the training images.
    assert content["metrics"]["depth"]["rmse"] == pytest.approx(math.sqrt((1.5**2 + 2.5**2) / 2))
    assert len(list((out / "pictures").glob("*.png"))) == 2
    assert main(["compare", str(tmp_path / "runs")]) == 0
    assert "trivial" in capsys.readouterr().out
