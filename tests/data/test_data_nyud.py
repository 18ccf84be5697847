"""NYUD-v2 in the archives in use."""

import numpy as np
import pytest
from torch import Tensor
from trees_nyud import HEIGHT, TRAIN, VAL, WIDTH, write_nyud, write_nyud13

from taskprism.data import create_protocol
from taskprism.errors import DataError, InputError, UnknownNameError

KINDS = ["mat", "npy", "png"]


def read(sample, task):
    values = sample["targets"][task].as_subclass(Tensor).numpy()
    return values, sample["valid"][task].as_subclass(Tensor).numpy()[0]


@pytest.fixture(scope="module", params=KINDS)
def tree(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return request.param, root, write_nyud(root, request.param)


def test_each_archive_is_recognized(tree):
    kind, root, _ = tree
    for name in ("nyud40", "nyud41"):
        assert create_protocol(name, root=root).found_variant().name == kind


def test_splits_are_those_of_the_lists(tree):
    _, root, _ = tree
    protocol = create_protocol("nyud40", root=root)
    assert protocol.dataset("train").names == list(TRAIN)
    assert protocol.dataset("test").names == list(VAL)  # val is the test set of the papers


@pytest.mark.parametrize(("protocol", "first"), [("nyud40", 1), ("nyud41", 0)])
def test_values_are_those_that_were_written(tree, protocol, first):
    kind, root, scenes = tree
    dataset = create_protocol(protocol, root=root).dataset("train")
    for name, sample in zip(TRAIN, dataset, strict=False):
        wanted = scenes[name]
        assert sample["name"] == name
        assert sample["image"].shape == (3, HEIGHT, WIDTH)
        image = sample["image"].as_subclass(Tensor).permute(1, 2, 0).numpy()
        difference = np.abs(image - wanted.image / 255)
        assert difference.max() < 1e-6 if kind == "png" else difference.mean() < 0.02

        labels, valid = read(sample, "semseg")
        assert np.array_equal(valid, wanted.classes >= first)
        assert np.array_equal(labels[0][valid], wanted.classes[valid].astype(int) - first)

        depth, valid = read(sample, "depth")
        assert np.array_equal(valid, wanted.depth > 0)
        assert np.array_equal(depth[0], wanted.depth)

        edge, valid = read(sample, "edge")
        assert valid.all()
        assert np.array_equal(edge[0], wanted.edge)

        normals, valid = read(sample, "normals")
        labeled = np.linalg.norm(wanted.normals, axis=2) > 0
        if kind == "mat":  # JPEG blurs across the seams
            assert (valid == labeled).mean() > 0.95
            valid &= labeled
        else:
            assert np.array_equal(valid, labeled)
        cosine = (normals.transpose(1, 2, 0) * wanted.normals).sum(axis=2)[valid]
        limit = {"mat": 8.0, "npy": 0.1, "png": 0.6}[kind]
        assert np.degrees(np.arccos(cosine.clip(-1, 1))).mean() < limit
        lengths = np.linalg.norm(normals, axis=0)
        np.testing.assert_allclose(lengths[valid], 1, atol=1e-5)


def test_png_normals_without_direction_are_not_labels(tmp_path):
    # 127 and 128 decode to a vector of length 0.007, which normalizing would make a label of.
    write_nyud(tmp_path, "png")
    sample = create_protocol("nyud40", root=tmp_path, tasks=["normals"]).dataset("train")[0]
    normals, valid = read(sample, "normals")
    assert not valid[-3:, :5].any()
    assert not normals[:, -3:, :5].any()
    assert valid.sum() == valid.size - 15


def test_axes_of_normals_are_an_option(tmp_path):
    write_nyud(tmp_path, "npy")
    options = {"root": tmp_path, "tasks": ["normals"]}
    up = create_protocol("nyud40", **options)
    down = create_protocol("nyud40", normals_axes=["right", "down", "toward"], **options)
    first, second = (read(p.dataset("train")[0], "normals")[0] for p in (up, down))
    np.testing.assert_array_equal(first * np.array([1, -1, 1])[:, None, None], second)
    assert first[1, -1, -1] > 0.9  # the floor faces up
    assert up.fingerprint() != down.fingerprint()


def test_thirteen_classes_of_numbered_arrays(tmp_path):
    made = write_nyud13(tmp_path)
    protocol = create_protocol("nyud13", root=tmp_path)
    assert [len(protocol.dataset(split)) for split in protocol.splits] == [4, 2]
    for sample in protocol.dataset("test"):
        one, classes = made[sample["name"]]
        image = sample["image"].as_subclass(Tensor).permute(1, 2, 0).numpy()
        np.testing.assert_allclose(image, one.image / 255, atol=1e-6)
        labels, valid = read(sample, "semseg")
        assert np.array_equal(valid, classes >= 0)
        assert np.array_equal(labels[0][valid], classes[valid])
        depth, valid = read(sample, "depth")
        assert np.array_equal(depth[0], one.depth)
        assert np.array_equal(valid, one.depth > 0)
        normals, valid = read(sample, "normals")
        np.testing.assert_allclose(normals.transpose(1, 2, 0), one.normals, atol=1e-6)
        assert np.array_equal(valid, one.normals.any(axis=2))
    assert protocol.task("semseg").class_names[4] == "floor"


def test_numbers_are_sorted_as_numbers(tmp_path):
    write_nyud13(tmp_path)
    for part in ("image", "label", "depth", "normal"):
        folder = tmp_path / "train" / part
        (folder / "3.npy").rename(folder / "10.npy")
    names = create_protocol("nyud13", root=tmp_path).dataset("train").names
    assert names == ["train/0", "train/1", "train/2", "train/10"]


def test_normals_whose_components_cancel_are_labels(tmp_path):
    # Masks made by summing the channels lose them.
    write_nyud13(tmp_path)
    path = tmp_path / "train/normal/0.npy"
    normals = np.load(path)
    normals[20, 20] = np.array([1, -1, 0]) / np.sqrt(2)
    np.save(path, normals)
    sample = create_protocol("nyud13", root=tmp_path).dataset("train")[0]
    assert read(sample, "normals")[1][20, 20]


def test_mixed_folder_matches_no_variant(tmp_path):
    write_nyud(tmp_path, "npy")
    for path in (tmp_path / "normals").iterdir():
        path.rename(path.with_suffix(".png"))
    with pytest.raises(DataError) as error:
        create_protocol("nyud40", root=tmp_path).dataset("train")
    message = str(error.value)
    assert "expects normals/{name}.npy, found 6 .png there" in message
    assert "mat (ASTMT's NYUD_MT.tgz)" in message
    assert "expects images/{name}.png, found 6 .jpg there" in message
    assert "taskprism data describe nyud40" in message


def test_error_suggests_the_parent_or_child_folder(tmp_path):
    root = tmp_path / "NYUD_MT"
    write_nyud(root, "npy")
    for wrong in (tmp_path, root / "images"):
        with pytest.raises(DataError, match=rf"{root.name} fits"):
            create_protocol("nyud40", root=wrong).dataset("train")


def test_option_variant_selects_a_layout(tmp_path):
    write_nyud(tmp_path, "npy")
    assert create_protocol("nyud40", root=tmp_path, variant="npy").found_variant().name == "npy"
    with pytest.raises(DataError, match="It fits the variant 'npy'"):
        create_protocol("nyud40", root=tmp_path, variant="png").dataset("train")
    with pytest.raises(UnknownNameError, match="variant of nyud40"):
        create_protocol("nyud40", root=tmp_path, variant="npz")


def test_two_matching_variants_raise(tmp_path):
    write_nyud(tmp_path / "a", "npy")
    write_nyud(tmp_path / "b", "png")
    for path in (tmp_path / "b").rglob("*.png"):
        target = tmp_path / "a" / path.relative_to(tmp_path / "b")
        if not target.exists():
            path.rename(target)
    with pytest.raises(DataError, match="fits the variants 'npy', 'png'"):
        create_protocol("nyud40", root=tmp_path / "a").dataset("train")


def test_errors_name_missing_folders_and_files(tmp_path):
    write_nyud(tmp_path, "npy")
    (tmp_path / "depth/0003.npy").unlink()
    with pytest.raises(DataError, match=r"1 files are missing: .*0003\.npy") as error:
        create_protocol("nyud40", root=tmp_path).dataset("train")
    assert "taskprism data check nyud40" in str(error.value)
    for path in (tmp_path / "edge").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="5 files are missing"):
        create_protocol("nyud40", root=tmp_path).dataset("train")
    some = create_protocol("nyud40", root=tmp_path, tasks=["semseg", "normals"])
    assert set(some.dataset("train")[0]["targets"]) == {"semseg", "normals"}


def test_without_a_root_there_are_no_data(tmp_path):
    protocol = create_protocol("nyud40")
    assert len(protocol.tasks) == 4
    with pytest.raises(DataError, match=r"protocol 'nyud40'.*describe nyud40"):
        protocol.dataset("train")
    with pytest.raises(DataError, match="does not exist"):
        create_protocol("nyud40", root=tmp_path / "gone").dataset("train")


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("segmentation/0003.png", np.full((HEIGHT, WIDTH), 41, np.uint8), "labels 41 do not occur"),
        ("depth/0003.npy", np.full((HEIGHT, WIDTH), -1, np.float32), "must not be negative"),
        ("depth/0003.npy", np.ones((HEIGHT, WIDTH, 2), np.float32), "needs one channel"),
        ("depth/0003.npy", np.ones((8, 9), np.float32), "9x8 pixels .* 44x34"),
        ("edge/0003.npy", np.full((HEIGHT, WIDTH), 0.5, np.float32), "only 0 and 1 occur"),
        ("normals/0003.npy", np.ones((HEIGHT, WIDTH), np.float32), r"normals are \(H, W, 3\)"),
    ],
)
def test_error_names_the_file_with_wrong_content(tmp_path, path, values, message):
    write_nyud(tmp_path, "npy")
    if path.endswith(".png"):
        from PIL import Image

        Image.fromarray(values).save(tmp_path / path)
    else:
        np.save(tmp_path / path, values)
    with pytest.raises(DataError, match=message) as error:
        create_protocol("nyud40", root=tmp_path).dataset("train")[0]
    assert "0003" in str(error.value)


def test_conventions_of_the_three_protocols():
    forty, forty_one, thirteen = (create_protocol(f"nyud{n}") for n in (40, 41, 13))
    weights = {task.name: task.loss_weight for task in forty.tasks}
    assert weights == {"semseg": 1, "depth": 1, "normals": 10, "edge": 50}
    assert forty.task("semseg").absent_classes == "zero"
    assert forty.task("depth").primary_metric == "rmse"
    assert forty_one.task("depth").primary_metric == "rmse_image_mean"
    assert forty_one.task("semseg").class_names[:2] == ("background", "wall")
    assert (forty.task("edge").positive_weight, forty_one.task("edge").positive_weight) == (
        0.95,
        0.8,
    )
    assert {task.loss_weight for task in thirteen.tasks} == {1.0}
    assert thirteen.task("normals").losses[0].name == "cosine"
    assert [p.input_size for p in (forty, forty_one, thirteen)] == [
        (480, 640),
        (512, 512),
        (288, 384),
    ]


@pytest.mark.parametrize(
    "options",
    [{"augmentation": "flip"}, {"border": "reflect"}, {"evaluation": "half"}],
)
def test_unknown_options_raise_with_the_known_ones(options):
    with pytest.raises(UnknownNameError, match="Known: "):
        create_protocol("nyud40", **options)
    with pytest.raises(InputError, match="has no option"):
        create_protocol("nyud40", color=True)
