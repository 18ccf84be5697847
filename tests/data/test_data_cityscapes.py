"""Cityscapes, the official files and MTAN's."""

import numpy as np
import pytest
from PIL import Image
from torch import Tensor
from trees_cityscapes import BASELINE, FOCAL, HEIGHT, NAMES, WIDTH, write_mtan, write_official

from taskprism.data import create_protocol, transforms
from taskprism.data.benchmarks.cityscapes import EVALUATED, NINETEEN, SEVEN
from taskprism.errors import DataError, InputError, UnknownNameError


def read(sample, task):
    values = sample["targets"][task].as_subclass(Tensor).numpy()
    return values[0], sample["valid"][task].as_subclass(Tensor).numpy()[0]


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    root = tmp_path_factory.mktemp("official")
    return root, write_official(root)


def samples(root, name="cityscapes19", split="train", **options):
    return create_protocol(name, root=root, **options).dataset(split)


def test_official_names_include_cities_and_val_is_the_test_split(official):
    root, _ = official
    assert create_protocol("cityscapes19", root=root).found_variant().name == "official"
    assert samples(root).names == [f"train/{name}" for name in NAMES["train"]]
    assert samples(root, split="test").names == [f"val/{name}" for name in NAMES["val"]]


def test_nineteen_classes_and_seven_categories(official):
    root, made = official
    for sample, coarse in zip(samples(root), samples(root, "cityscapes7"), strict=True):
        ids = made[sample["name"]][1]
        labels, valid = read(sample, "semseg")
        categories, valid_too = read(coarse, "semseg")
        assert np.array_equal(valid, valid_too)
        assert np.array_equal(valid, np.isin(ids, list(EVALUATED)))
        for stored in np.unique(ids[valid]):
            category, name = EVALUATED[stored]
            assert {NINETEEN[v] for v in labels[ids == stored]} == {name}
            assert {SEVEN[v] for v in categories[ids == stored]} == {category}
    assert len(NINETEEN) == 19
    assert SEVEN == ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
    assert (NINETEEN.index("road"), NINETEEN.index("sky"), NINETEEN.index("bicycle")) == (0, 10, 18)


def test_depth_comes_from_disparity_and_camera(official):
    root, made = official
    for sample in samples(root, target="depth"):
        stored = made[sample["name"]][2].astype(np.float64)
        depth, valid = read(sample, "depth")
        disparity = (stored - 1) / 256
        with np.errstate(divide="ignore"):
            wanted = BASELINE * FOCAL / disparity
        assert np.array_equal(valid, (stored > 1) & (wanted < 80))
        np.testing.assert_allclose(depth[valid], wanted[valid], rtol=1e-6)
        assert 39 < depth[HEIGHT // 2 - 2, 5] < 41  # the building
    far = samples(root, target="depth", limit=30.0)[0]
    assert not read(far, "depth")[1][HEIGHT // 2 - 2, 5]


def test_disparity_is_in_pixels_and_scales_with_the_width(official):
    root, made = official
    sample = samples(root, target="disparity")[0]
    stored = made[sample["name"]][2].astype(np.float64)
    disparity, valid = read(sample, "disparity")
    assert np.array_equal(valid, (stored > 1) & ((stored - 1) / 256 < 80))
    np.testing.assert_allclose(disparity[valid], (stored[valid] - 1) / 256, rtol=1e-6)
    half = transforms.Resize((HEIGHT // 2, WIDTH // 4))(sample)
    assert read(half, "disparity")[0].max() == pytest.approx(disparity.max() / 4)


def test_inverse_depth_is_what_mtan_stores_and_does_not_scale(official):
    root, made = official
    sample = samples(root)[0]
    stored = made[sample["name"]][2].astype(np.float64)
    inverse, valid = read(sample, "depth")
    np.testing.assert_allclose(inverse[valid], stored[valid] / 65535, rtol=1e-6)
    assert np.array_equal(valid, stored > 1)
    half = transforms.Resize((HEIGHT // 2, WIDTH // 2))(sample)
    assert read(half, "depth")[0].max() == pytest.approx(inverse.max())
    zoomed = transforms.RandomZoom([2.0])(sample)
    found, labeled = read(zoomed, "depth")
    assert found[labeled].min() >= 2 * inverse[valid].min() * 0.999


@pytest.mark.parametrize("target", ["inverse_depth", "disparity"])
def test_options_for_sky_and_infinity(official, target):
    root, made = official
    name = "depth" if target == "inverse_depth" else target

    def label(**options):
        return read(samples(root, target=target, **options)[0], name)

    _, ids, stored = next(iter(made.values()))
    is_sky = ids == 23
    as_measured = label()
    assert np.array_equal(as_measured[1][is_sky], stored[is_sky] > 1)
    assert not label(sky="drop")[1][is_sky].any()
    values, valid = label(sky="zero")
    assert valid[is_sky].all()
    assert not values[is_sky].any()
    infinite = stored == 1
    assert infinite.any()
    assert not as_measured[1][infinite].any()
    assert label(zero_disparity="keep")[1][infinite].all()


def test_an_infinite_sky_has_no_depth_in_meters(official):
    root, _ = official
    with pytest.raises(InputError, match="sky=drop"):
        create_protocol("cityscapes19", root=root, sky="zero", target="depth")
    kept = samples(root, target="depth", zero_disparity="keep")[0]
    assert np.isfinite(read(kept, "depth")[0]).all()
    assert not read(kept, "depth")[1][HEIGHT // 2, :2].any()
    for options in ({"sky": "blue"}, {"target": "meters"}, {"zero_disparity": "lose"}):
        with pytest.raises(UnknownNameError, match="Known: "):
            create_protocol("cityscapes19", **options)


@pytest.mark.parametrize("classes", [2, 7, 19])
def test_arrays_of_mtan(tmp_path, classes):
    made = write_mtan(tmp_path)
    protocol = create_protocol(f"cityscapes{classes}", root=tmp_path)
    assert protocol.found_variant().name == "mtan"
    assert protocol.task("semseg").channels == classes
    for split, count in (("train", 4), ("test", 2)):
        data = protocol.dataset(split)
        assert len(data) == count
        for sample in data:
            arrays = made[sample["name"]]
            image = sample["image"].as_subclass(Tensor).permute(1, 2, 0).numpy()
            np.testing.assert_allclose(image, arrays["image"], atol=1e-6)
            labels, valid = read(sample, "semseg")
            stored = arrays[f"label_{classes}"]
            assert np.array_equal(valid, stored >= 0)
            assert np.array_equal(labels[valid], stored[valid])
            inverse, valid = read(sample, "depth")
            np.testing.assert_allclose(inverse, arrays["depth"][..., 0], atol=1e-7)
            assert np.array_equal(valid, arrays["depth"][..., 0] > 0)


def test_copies_with_one_folder_of_labels(tmp_path):
    write_mtan(tmp_path, labels=("label",))
    assert create_protocol("cityscapes19", root=tmp_path).found_variant().name == "mtan_plain"
    with pytest.raises(DataError, match=r"the labels .* do not occur"):
        samples(tmp_path, "cityscapes7")[0]  # these are 19 classes
    with pytest.raises(DataError, match="It fits the variant 'mtan_plain'"):
        samples(tmp_path, variant="mtan")


def test_metric_depth_needs_the_official_files(tmp_path):
    write_mtan(tmp_path)
    with pytest.raises(DataError, match="'mtan' of cityscapes19 has no labels for 'depth'"):
        samples(tmp_path, target="depth")


def test_wrong_folder_raises_with_what_was_expected(tmp_path):
    write_official(tmp_path)
    (tmp_path / "leftImg8bit").rename(tmp_path / "leftImg8bit_trainvaltest")
    with pytest.raises(DataError) as error:
        samples(tmp_path)
    message = str(error.value)
    assert "expects leftImg8bit/train, which does not exist" in message
    assert "expects train/label_19, which does not exist" in message
    assert "taskprism data describe cityscapes19" in message


def test_missing_packages_matter_only_for_their_tasks(tmp_path):
    write_official(tmp_path)
    for path in (tmp_path / "camera").rglob("*.json"):
        path.unlink()
    assert len(samples(tmp_path)) == 4
    with pytest.raises(DataError, match=r"4 files are missing: .*_camera\.json"):
        samples(tmp_path, target="depth")
    for path in (tmp_path / "disparity").rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"4 files are missing: .*_disparity\.png"):
        samples(tmp_path)
    assert len(samples(tmp_path, tasks=["semseg"])) == 4


def test_errors_name_broken_files(tmp_path):
    write_official(tmp_path)
    name = NAMES["train"][0]
    camera = tmp_path / f"camera/train/{name}_camera.json"
    camera.write_text('{"intrinsic": {"fx": 1}}')
    with pytest.raises(DataError, match=r"_camera\.json: .*extrinsic\.baseline"):
        samples(tmp_path, target="depth")[0]
    camera.write_text('{"intrinsic": {"fx": 0}, "extrinsic": {"baseline": 1}}')
    with pytest.raises(DataError, match="must be positive"):
        samples(tmp_path, target="depth")[0]
    flat = Image.fromarray(np.zeros((HEIGHT, WIDTH), dtype=np.uint8))
    flat.save(tmp_path / f"disparity/train/{name}_disparity.png")
    with pytest.raises(DataError, match="16 bits"):
        samples(tmp_path)[0]
    wrong = Image.fromarray(np.full((HEIGHT, WIDTH), 40, dtype=np.uint8))
    wrong.save(tmp_path / f"gtFine/train/{name}_gtFine_labelIds.png")
    with pytest.raises(DataError, match="the labels 40 do not occur"):
        samples(tmp_path, tasks=["semseg"])[0]


def test_weights_are_those_of_ctal():
    protocol = create_protocol("cityscapes19")
    assert {task.name: task.loss_weight for task in protocol.tasks} == {"semseg": 1, "depth": 10}
    assert protocol.task("depth").kind == "inverse_depth"
    assert protocol.task("depth").primary_metric == "rel_error"
    assert protocol.input_size == (128, 256)
    assert protocol.augmentation == "ctal"
