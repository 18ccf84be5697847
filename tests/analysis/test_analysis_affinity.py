"""Label affinity: counts against a slow reference, what is left out, plot and command."""

import json
import math

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from reference import label_affinity as reference
from taskprism.analysis.affinity import PairMatch, label_affinity, plot_affinity
from taskprism.cli import main
from taskprism.data import create_protocol
from taskprism.errors import InputError, UnknownNameError
from taskprism.scoring.evaluation import evenly_spaced
from taskprism.tasks import TASKS, create_task
from taskprism.tasks.target import ValidMask

TASKS_USED = [
    create_task("semseg", channels=3),
    create_task("depth"),
    create_task("normals"),
    create_task("edge"),
]
HEIGHT, WIDTH = 9, 11


def labels(seed):
    """Labels that are neither all alike nor all different, and some invalid pixels."""
    rng = np.random.default_rng(seed)
    normals = rng.normal([0, 0, 4], 1, (HEIGHT, WIDTH, 3)).transpose(2, 0, 1)
    values = {
        "semseg": rng.integers(0, 2, (1, HEIGHT, WIDTH)),
        "depth": rng.uniform(2, 2.3, (1, HEIGHT, WIDTH)).astype(np.float32),
        "normals": (normals / np.linalg.norm(normals, axis=0)).astype(np.float32),
        "edge": (rng.random((1, HEIGHT, WIDTH)) < 0.3).astype(np.float32),
    }
    valid = {name: rng.random((HEIGHT, WIDTH)) < 0.85 for name in values}
    values["depth"][:, ~valid["depth"]] = np.nan  # what is invalid may hold anything
    return values, valid


def sample(values, valid, names):
    types = {task.name: task.target_type for task in TASKS_USED}
    return {
        "name": "one",
        "image": tv_tensors.Image(torch.rand(3, HEIGHT, WIDTH)),
        "targets": {name: types[name](torch.from_numpy(values[name].copy())) for name in names},
        "valid": {name: ValidMask(torch.from_numpy(valid[name].copy())[None]) for name in names},
    }


def numbers(match: PairMatch):
    return [match.both_similar, match.first_only, match.second_only, match.both_dissimilar]


@pytest.mark.parametrize("kernel", [3, 5])
def test_counts_equal_the_reference(kernel):
    images = [labels(seed) for seed in (0, 1)]
    result = label_affinity(
        [sample(values, valid, list(values)) for values, valid in images],
        TASKS_USED,
        dilations=(1, 2, 5, 40),
        kernel=kernel,
    )
    assert result.images == 2 and len(result.matches) == 6 * 4
    for match in result.matches:
        expected = np.zeros(4, int)
        for values, valid in images:
            counts = reference.count(values, valid, match.dilation, kernel)
            expected += counts[match.first, match.second]
        assert numbers(match) == expected.tolist(), match
    near = [match for match in result.matches if match.dilation == 1]
    assert all(min(numbers(match)) > 0 for match in near)  # the test sees every outcome


def test_pairs_with_a_missing_label_are_left_out():
    values, valid = labels(0)
    whole, partly = sample(values, valid, list(values)), sample(values, valid, ["semseg", "depth"])
    one = label_affinity([whole], TASKS_USED, [1])
    two = label_affinity([whole, partly], TASKS_USED, [1])
    for before, after in zip(one.matches, two.matches, strict=True):
        twice = {before.first, before.second} == {"semseg", "depth"}
        assert after.pairs == before.pairs * (2 if twice else 1)


def test_shares_equal_ratios_of_counts():
    match = PairMatch("a", "b", 1, both_similar=6, first_only=1, second_only=2, both_dissimilar=3)
    assert match.pairs == 12
    assert match.agreement == pytest.approx(9 / 12)
    assert match.similar == pytest.approx(6 / 9)
    assert match.dissimilar == pytest.approx(3 / 6)
    chance = (7 * 8 + 5 * 4) / 144
    assert match.beyond_chance == pytest.approx((9 / 12 - chance) / (1 - chance))
    nothing = PairMatch("a", "b", 1, 0, 0, 0, 0)
    assert math.isnan(nothing.agreement) and math.isnan(nothing.similar)


def test_equal_tasks_agree_and_independent_tasks_agree_by_chance():
    noise = torch.randint(0, 2, (2, 1, 200, 200))
    first, second = create_task("semseg", channels=2), create_task("saliency")

    def compare(one, two):
        full = ValidMask(torch.ones(1, 200, 200))
        image = {
            "name": "noise",
            "image": tv_tensors.Image(torch.rand(3, 200, 200)),
            "targets": {
                "semseg": first.target_type(one),
                "saliency": second.target_type(two.float()),
            },
            "valid": {"semseg": full, "saliency": full},
        }
        return label_affinity([image], [first, second], [3]).matches[0]

    same = compare(noise[0], noise[0])
    assert same.agreement == same.similar == same.dissimilar == same.beyond_chance == 1
    assert abs(compare(noise[0], noise[1]).beyond_chance) < 0.02


def test_thresholds_can_be_set():
    values, valid = labels(0)
    images = [sample(values, valid, ["semseg", "depth"])]
    tasks = TASKS_USED[:2]
    everything = label_affinity(images, tasks, [1], thresholds={"depth": 10.0})
    assert everything.thresholds == {"semseg": 0.5, "depth": 10.0}
    assert everything.matches[0].first_only + everything.matches[0].both_similar == (
        label_affinity(images, tasks, [1]).matches[0].first_only
        + label_affinity(images, tasks, [1]).matches[0].both_similar
    )
    assert everything.matches[0].both_dissimilar == 0
    with pytest.raises(UnknownNameError, match="normals"):
        label_affinity(images, tasks, thresholds={"normals": 1.0})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 4}, "odd and at least 3"),
        ({"dilations": [0]}, "at least 1"),
        ({"dilations": []}, "at least 1"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        label_affinity([], TASKS_USED, **options)
    with pytest.raises(InputError, match="at least two"):
        label_affinity([], TASKS_USED[:1])


@pytest.mark.parametrize("kind", TASKS.names())
def test_every_task_defines_similarity(kind):
    """On labels of rooms: 0 to itself, symmetric, one channel, some pixels are similar."""
    task = create_task(kind, channels=7 if kind in ("semseg", "human_parts") else None)
    protocol = create_protocol("rooms", train_length=1, input_size=(48, 64))
    image = protocol.dataset("train", protocol.evaluation_transform())[0]
    source = kind if kind in image["targets"] else "disparity"
    target = image["targets"][source].as_subclass(torch.Tensor)
    difference = task.target_type.difference
    left, right = target[..., :-3], target[..., 3:]
    assert difference(left, right).shape == (1, 48, 61)
    torch.testing.assert_close(difference(left, right), difference(right, left))
    assert difference(target, target).max() < 0.1 * task.target_type.similar_within
    alike = (difference(left, right) < task.target_type.similar_within).float().mean()
    assert 0.1 < alike <= 1


def test_small_angles_between_normals_are_exact():
    kind = create_task("normals").target_type
    turned = torch.tensor([0.0, 0.01, 15.0, 90.0, 180.0]).deg2rad()
    first = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1).expand(3, 1, 5)
    second = torch.stack([turned.sin(), torch.zeros(5), turned.cos()])[:, None]
    torch.testing.assert_close(kind.difference(first, second)[0, 0], turned.rad2deg())


def test_evenly_spaced_indices_cover_the_sequence():
    assert evenly_spaced(5, None) == evenly_spaced(5, 9) == [0, 1, 2, 3, 4]
    assert evenly_spaced(10, 4) == [0, 3, 6, 9]
    assert evenly_spaced(10, 1) == [0]


def test_command_writes_numbers_and_a_plot(tmp_path, capsys):
    command = ["analyze", "affinity", "rooms", "--tasks", "semseg", "depth", "--images", "2"]
    options = ["--dilations", "1", "4", "--thresholds", "depth=0.2", "--out", str(tmp_path)]
    assert main([*command, *options]) == 0
    content = json.loads((tmp_path / "affinity.json").read_text())
    assert content["thresholds"] == {"semseg": 0.5, "depth": 0.2} and content["images"] == 2
    assert [match["dilation"] for match in content["matches"]] == [1, 4]
    assert (tmp_path / "affinity.png").read_bytes()[1:4] == b"PNG"
    assert "semseg – depth" in capsys.readouterr().out


def test_command_names_what_is_wrong(tmp_path, capsys):
    command = ["analyze", "affinity", "rooms", "--images", "1", "--out", str(tmp_path / "out")]
    assert main([*command, "--thresholds", "depth"]) == 2
    assert "Expected TASK=NUMBER" in capsys.readouterr().err
    assert main([*command, "--tasks", "depth"]) == 2
    assert "at least two" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["analyze", "affinities"]) == 2
    assert "Did you mean 'affinity'" in capsys.readouterr().err


def test_many_pairs_have_distinct_lines():
    values, valid = labels(0)
    tasks = [*TASKS_USED, create_task("semseg", channels=3, name="other")]
    image = sample(values, valid, list(values))
    image["targets"]["other"] = image["targets"]["semseg"]
    image["valid"]["other"] = image["valid"]["semseg"]
    figure = plot_affinity(label_affinity([image], tasks, [1, 2]), "title")
    lines = figure.axes[0].get_lines()
    assert len(lines) == 10
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 10
