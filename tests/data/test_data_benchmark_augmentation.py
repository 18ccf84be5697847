"""The papers' augmentations by name: what they do to images, labels and borders."""

import pickle

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from trees_cityscapes import write_official
from trees_nyud import write_nyud, write_nyud13

from taskprism.data import PROTOCOLS, create_protocol, transforms
from taskprism.data.benchmarks.base import BenchmarkProtocol
from taskprism.errors import InputError
from taskprism.tasks import ClassMap, DepthMap, NormalMap, ValidMask


def sample(height, width, classes=None):
    """Depth tells the column, so that one can see where pixels went."""
    columns = torch.arange(1.0, width + 1).expand(1, height, width).clone()
    labels = torch.zeros(1, height, width, dtype=torch.int64) if classes is None else classes
    everywhere = torch.ones(1, height, width, dtype=torch.bool)
    normals = torch.zeros(3, height, width)
    normals[0], normals[2] = 0.6, 0.8
    return {
        "name": "a",
        "image": tv_tensors.Image((columns / width).expand(3, -1, -1).clone()),
        "targets": {
            "semseg": ClassMap(labels),
            "depth": DepthMap(columns),
            "normals": NormalMap(normals),
        },
        "valid": {n: ValidMask(everywhere.clone()) for n in ("semseg", "depth", "normals")},
    }


def plain(tensor):
    return tensor.as_subclass(Tensor)


BENCHMARKS = [e.part for e in PROTOCOLS.entries() if issubclass(e.part, BenchmarkProtocol)]


@pytest.mark.parametrize("protocol", BENCHMARKS, ids=lambda p: p.name)
def test_every_set_ends_at_the_input_size_and_tests_are_not_random(protocol):
    for name in protocol.augmentations:
        for border in ("ignore", "zero"):
            made = create_protocol(
                protocol.name, augmentation=name, border=border, input_size=[48, 64]
            )
            one = made.train_transform()(sample(40, 60))
            assert one["image"].shape[-2:] == (48, 64)
            assert {t.shape[-2:] for t in one["targets"].values()} == {(48, 64)}
            assert {t.shape[-2:] for t in one["valid"].values()} == {(48, 64)}
            assert (plain(one["targets"]["depth"])[plain(one["valid"]["depth"])] > 0).all()
            # CTAL's code flips its test images; here no test transform draws anything.
            state = torch.get_rng_state()
            tests = [made.evaluation_transform()(sample(40, 60)) for _ in range(2)]
            assert torch.equal(state, torch.get_rng_state())
            assert torch.equal(plain(tests[0]["image"]), plain(tests[1]["image"]))
            assert tests[0]["image"].shape[-2:] == (48, 64)


def test_mti_net_zooms_before_it_resizes():
    torch.manual_seed(0)
    transform = create_protocol("nyud40", input_size=[30, 60]).train_transform()
    seen = set()
    for _ in range(40):
        one = transform(sample(20, 40))
        flipped = plain(one["targets"]["normals"])[0].max() < 0
        assert plain(one["valid"]["depth"]).all()  # factors are at least 1: no border
        depth = plain(one["targets"]["depth"])[0, 0]
        spread = (depth.max() - depth.min()).item()
        factor = min((1.0, 1.2, 1.5), key=lambda f: abs((40 / f - 1) / f - spread))
        assert spread == pytest.approx((40 / factor - 1) / factor, abs=1.5)
        seen.add((bool(flipped), factor))
    assert len(seen) == 6


def test_astmt_fills_borders_with_background_only_when_asked():
    for border in ("ignore", "zero"):
        transform = create_protocol("nyud41", border=border, input_size=[64, 64]).train_transform()
        shares = []
        for seed in range(8):
            torch.manual_seed(seed)
            classes = torch.full((1, 60, 80), 5)
            one = transform(sample(60, 80, classes))
            labels, valid = plain(one["targets"]["semseg"]), plain(one["valid"]["semseg"])
            depth_valid = plain(one["valid"]["depth"])
            shares.append(valid.float().mean().item())
            assert set(labels[valid].tolist()) <= ({5} if border == "ignore" else {0, 5})
            # Depth and normals know no border label in either convention.
            assert torch.equal(depth_valid, labels == 5)
            assert torch.equal(plain(one["valid"]["normals"]), depth_valid)
        assert (min(shares) == 1) == (border == "zero")


def test_mtan_windows_divide_depth_by_the_zoom():
    torch.manual_seed(0)
    transform = create_protocol(
        "nyud13", augmentation="mtan", input_size=[36, 60]
    ).train_transform()
    factors = set()
    for _ in range(30):
        one = transform(sample(36, 60))
        depth = plain(one["targets"]["depth"])[0, 0]
        spread = (depth.max() - depth.min()).item()
        factor = min((1.0, 1.2, 1.5), key=lambda f: abs((60 / f - 1) / f - spread))
        assert spread == pytest.approx((60 / factor - 1) / factor, abs=1.6)
        assert plain(one["valid"]["depth"]).all()
        factors.add(factor)
    assert factors == {1.0, 1.2, 1.5}


def test_ctal_only_flips():
    torch.manual_seed(0)
    transform = create_protocol("cityscapes19", input_size=[16, 32]).train_transform()
    first = sample(16, 32)
    seen = [plain(transform(first)["image"]) for _ in range(12)]
    original = plain(first["image"])
    flips = [torch.equal(image, original.flip(-1)) for image in seen]
    assert all(torch.equal(i, original) or f for i, f in zip(seen, flips, strict=True))
    assert 0 < sum(flips) < 12


def test_atrc_pads_tests_in_the_middle_and_never_resizes(tmp_path):
    write_nyud(tmp_path, "png")  # 34 x 44
    options = {"augmentation": "atrc", "input_size": [41, 64], "root": tmp_path}
    protocol = create_protocol("nyud40", **options)
    assert not protocol.scores_at_label_size
    raw = protocol.dataset("test")[0]
    one = protocol.dataset("test", protocol.evaluation_transform())[0]
    inside = (slice(None), slice(3, 37), slice(10, 54))
    for task in raw["targets"]:
        padded, valid = plain(one["targets"][task]), plain(one["valid"][task])
        assert torch.equal(padded[inside], plain(raw["targets"][task]))
        assert torch.equal(valid[inside], plain(raw["valid"][task]))
        outside = torch.ones_like(valid)
        outside[inside] = False
        assert not valid[outside].any()
    # The border is what normalization makes 0 of: ImageNet's mean color.
    assert plain(one["image"])[:, 0, 0].tolist() == pytest.approx([0.485, 0.456, 0.406])
    small = create_protocol("nyud40", **{**options, "input_size": [32, 64]})
    with pytest.raises(InputError, match=r"34 x 44 .* cannot be padded to 32 x 64"):
        small.dataset("test", small.evaluation_transform())[0]


def test_balanced_crops_avoid_windows_of_one_class():
    classes = torch.zeros(1, 40, 200, dtype=torch.int64)
    classes[..., 180:] = 1
    crop = transforms.BalancedCrop((40, 40), tries=500)
    shares = []
    for seed in range(10):
        torch.manual_seed(seed)
        one = crop(sample(40, 200, classes))
        shares.append(plain(one["targets"]["semseg"]).float().mean().item())
        depth = plain(one["targets"]["depth"])[0, 0]
        assert torch.equal(depth, torch.arange(depth[0], depth[0] + 40))
    assert all(0.25 < share < 0.75 for share in shares)
    torch.manual_seed(0)
    once = transforms.BalancedCrop((40, 40), tries=1)
    plain_shares = [
        plain(once(sample(40, 200, classes))["targets"]["semseg"]).float().mean().item()
        for _ in range(30)
    ]
    assert min(plain_shares) == 0


def test_balanced_crops_ignore_unlabeled_pixels():
    classes = torch.zeros(1, 20, 60, dtype=torch.int64)
    classes[..., 30:] = 3
    one = sample(20, 60, classes)
    one["valid"]["semseg"] = ValidMask(classes == 3)  # class 0 has no labels at all
    crop = transforms.BalancedCrop((20, 20), tries=3)
    torch.manual_seed(0)
    assert crop(one)["image"].shape[-2:] == (20, 20)  # never balanced, taken all the same
    nothing = {**one, "targets": {}, "valid": {}}
    assert crop(nothing)["image"].shape[-2:] == (20, 20)


def test_small_images_are_padded_by_crops_without_labels():
    crop = transforms.BalancedCrop((30, 50), fill=(0.5, 0.25, 0.125))
    one = crop(sample(20, 40))
    valid = plain(one["valid"]["semseg"])[0]
    assert valid[:20, :40].all()
    assert valid.sum() == 800
    assert plain(one["image"])[:, -1, -1].tolist() == [0.5, 0.25, 0.125]


def test_rescale_takes_factors_from_a_list():
    rescale = transforms.RandomRescale(factors=(0.5, 2.0))
    sizes = {tuple(rescale(sample(20, 40))["image"].shape[-2:]) for _ in range(20)}
    assert sizes == {(10, 20), (40, 80)}
    with pytest.raises(InputError, match="must be positive"):
        transforms.RandomRescale(factors=(0.0,))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("nyud40", lambda root: write_nyud(root, "npy")),
        ("nyud13", write_nyud13),
        ("cityscapes19", write_official),
    ],
)
def test_data_sets_can_be_pickled(tmp_path, name, write):
    write(tmp_path)
    protocol = create_protocol(name, root=tmp_path)
    for augmentation in protocol.augmentations:
        made = create_protocol(name, root=tmp_path, augmentation=augmentation)
        data = pickle.loads(pickle.dumps(made.dataset("test", made.evaluation_transform())))
        pickle.loads(pickle.dumps(made.train_transform()))
    again = data[0]
    first = made.dataset("test", made.evaluation_transform())[0]
    for task, target in first["targets"].items():
        np.testing.assert_array_equal(plain(again["targets"][task]), plain(target))


def test_fingerprints_depend_on_data_and_options(tmp_path):
    write_official(tmp_path)
    made = create_protocol("cityscapes19", root=tmp_path)
    before = made.fingerprint()
    assert before == create_protocol("cityscapes19", root=tmp_path).fingerprint()
    assert (
        before == create_protocol("cityscapes19", root=tmp_path, augmentation="none").fingerprint()
    )
    others = [
        create_protocol("cityscapes7", root=tmp_path),
        create_protocol("cityscapes19", root=tmp_path, target="disparity"),
        create_protocol("cityscapes19", root=tmp_path, sky="drop"),
    ]
    assert len({before, *(other.fingerprint() for other in others)}) == 4
    path = next(tmp_path.rglob("*_labelIds.png"))
    path.write_bytes(path.read_bytes() + b"\0")
    assert made.fingerprint() != before
