"""Folders of files in the published formats."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.io
from PIL import Image

from reference import boundaries as reference
from taskprism.errors import DataError, InputError
from taskprism.metrics.boundaries import (
    BoundaryConvention,
    BoundaryCounts,
    BoundaryScores,
    count_pairs,
    evenly_spaced,
    find_pairs,
    plot_curves,
    read_names,
    score_folders,
)
from taskprism.metrics.boundaries.files import read_annotations, read_prediction
from taskprism.progress import tracked

FEW = BoundaryConvention(thresholds=evenly_spaced(9))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("berkeley")
    reference.write_berkeley_tree(root)
    return root


def png(path, values):
    Image.fromarray(values).save(path)
    return path


def npy(path, values):
    np.save(path, values)
    return path


def test_berkeley_annotations(tree):
    for number, name in enumerate(("coffee", "chelsea", "astronaut")):
        path = tree / "groundTruth" / f"{name}.mat"
        boundaries, labels = read_annotations(path, False), read_annotations(path, True)
        assert len(boundaries) == len(labels) == number + 1
        for lines, segments in zip(boundaries, labels, strict=True):
            assert (lines.dtype, segments.dtype) == (np.uint8, np.uint16)
            assert set(np.unique(lines)) == {0, 1}
            assert segments.min() == 1


def test_counts_of_a_folder_are_the_sum_over_images(tree):
    pairs = find_pairs(tree / "predictions", tree / "groundTruth")
    assert [pair.name for pair in pairs] == ["astronaut", "chelsea", "coffee"]
    total = BoundaryCounts.zero(9)
    for pair in pairs:
        prediction = np.asarray(Image.open(pair.prediction)) / np.float32(255)
        cell = scipy.io.loadmat(pair.truth)["groundTruth"]
        people = [cell[0, k]["Boundaries"][0, 0] for k in range(cell.shape[1])]
        total += BoundaryCounts.of_image(prediction, people, FEW)
    expected = BoundaryScores.of(total, FEW)
    found = score_folders(tree / "predictions", tree / "groundTruth", FEW)
    assert found.as_json() == expected.as_json()
    assert found.images == 3


def test_two_workers_give_the_same_as_one(tree):
    pairs = find_pairs(tree / "predictions", tree / "groundTruth")
    one, two = count_pairs(pairs, FEW), count_pairs(pairs, FEW, workers=2)
    np.testing.assert_array_equal(one.totals, two.totals)
    np.testing.assert_array_equal(one.best, two.best)
    assert one.images == two.images == 3


def test_an_error_in_a_worker_names_the_file(tree, tmp_path):
    for path in (tree / "predictions").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "coffee.png").write_bytes(b"no picture")
    pairs = find_pairs(tmp_path, tree / "groundTruth")
    with pytest.raises(DataError, match=r"coffee\.png: this prediction cannot be read"):
        count_pairs(pairs, FEW, workers=2)
    with pytest.raises(InputError, match="workers must be an integer of at least 1"):
        count_pairs(pairs, FEW, workers=0)


def test_seism_convention_reads_segmentations(tree):
    labels = BoundaryConvention(thresholds=evenly_spaced(9), ground_truth="seism")
    paths = tree / "predictions", tree / "groundTruth"
    raw, seism = score_folders(*paths, FEW), score_folders(*paths, labels)
    # The tree's boundaries are made from its labels in the same way.
    assert raw.as_json() == seism.as_json()


def test_a_list_selects_images(tree, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("coffee\n\nastronaut\n")
    assert read_names(listed) == ["coffee", "astronaut"]
    found = score_folders(tree / "predictions", tree / "groundTruth", FEW, names=read_names(listed))
    assert found.images == 2
    for content, message in ((" \n", "empty"), ("a\nb\na\n", "a is listed twice")):
        listed.write_text(content)
        with pytest.raises(DataError, match=message):
            read_names(listed)
    with pytest.raises(DataError, match="no such list"):
        read_names(tmp_path / "absent.txt")


def test_single_files(tree):
    prediction, truth = tree / "predictions" / "coffee.png", tree / "groundTruth" / "coffee.mat"
    assert score_folders(prediction, truth, FEW).images == 1


def test_predictions_of_every_kind_are_probabilities(tmp_path):
    steps = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = steps / np.float32(255)
    for values in (
        read_prediction(png(tmp_path / "a.png", steps)),
        read_prediction(png(tmp_path / "b.png", steps.astype(np.uint16) * 257)),
        read_prediction(npy(tmp_path / "c.npy", expected[None])),
        read_prediction(npy(tmp_path / "d.npy", expected.astype(np.float64)[..., None])),
        read_prediction(npy(tmp_path / "e.npy", steps)),
    ):
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected, atol=1e-7)
    binary = npy(tmp_path / "f.npy", steps > 7)
    assert set(np.unique(read_prediction(binary))) == {0, 1}


def test_annotations_of_every_kind(tmp_path):
    lines = np.eye(8, 9, dtype=np.uint8)
    three = np.stack([lines, lines[::-1], 1 - lines])
    assert len(read_annotations(png(tmp_path / "a.png", lines * 255), False)) == 1
    assert len(read_annotations(npy(tmp_path / "b.npy", lines), False)) == 1
    assert len(read_annotations(npy(tmp_path / "c.npy", three), False)) == 3
    palette = Image.fromarray(lines, mode="P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "d.png")
    np.testing.assert_array_equal(read_annotations(tmp_path / "d.png", True)[0], lines)
    scipy.io.savemat(tmp_path / "e.mat", {"LabelMap": lines.astype(np.uint16)})
    np.testing.assert_array_equal(read_annotations(tmp_path / "e.mat", True)[0], lines)


def test_broken_predictions_name_the_file(tmp_path):
    color = png(tmp_path / "color.png", np.zeros((4, 4, 3), dtype=np.uint8))
    cases = {
        "one channel, got mode RGB": color,
        r"one channel \(H, W\), got shape \(2, 4, 4\)": npy(
            tmp_path / "two.npy", np.zeros((2, 4, 4))
        ),
        "Apply a sigmoid": npy(tmp_path / "logits.npy", np.full((4, 4), 3.0)),
        "expected numbers, got <U1": npy(tmp_path / "text.npy", np.full((4, 4), "a")),
        "no such prediction": tmp_path / "absent.npy",
    }
    for message, path in cases.items():
        with pytest.raises(DataError, match=message) as error:
            read_prediction(path)
        assert path.name in str(error.value)


def test_broken_annotations_name_the_file(tmp_path):
    scipy.io.savemat(tmp_path / "labels.mat", {"LabelMap": np.zeros((4, 4))})
    scipy.io.savemat(tmp_path / "other.mat", {"anno": np.zeros((4, 4))})
    (tmp_path / "bad.mat").write_bytes(b"no mat file")
    cases = {
        "this is a label map. Use a convention with ground truth 'seism'": tmp_path / "labels.mat",
        "expected groundTruth or LabelMap, found anno": tmp_path / "other.mat",
        "this ground truth cannot be read": tmp_path / "bad.mat",
        r"got shape \(4,\)": npy(tmp_path / "line.npy", np.zeros(4)),
    }
    for message, path in cases.items():
        with pytest.raises(DataError, match=message) as error:
            read_annotations(path, False)
        assert path.name in str(error.value)


def test_folders_must_have_the_same_images(tree, tmp_path):
    predictions, truths = tmp_path / "predictions", tmp_path / "truths"
    with pytest.raises(DataError, match="no such prediction folder"):
        find_pairs(predictions, truths)
    predictions.mkdir()
    truths.mkdir()
    with pytest.raises(DataError, match=r"no prediction \(\.png, \.npy\)"):
        find_pairs(predictions, truths)
    lines = np.eye(8, dtype=np.uint8)
    for name in ("a", "b"):
        png(predictions / f"{name}.png", lines)
    png(truths / "a.png", lines)
    with pytest.raises(DataError, match=r"no ground truth for 1 of 2 images \(b\)\. Give a list"):
        find_pairs(predictions, truths)
    assert len(find_pairs(predictions, truths, ["a"])) == 1
    with pytest.raises(DataError, match=r"no prediction for 1 of 2 images \(c\)"):
        find_pairs(predictions, truths, ["a", "c"])
    npy(truths / "a.npy", lines)
    with pytest.raises(DataError, match="has the same name"):
        find_pairs(predictions, truths)


def test_different_sizes_are_refused_with_the_files(tmp_path):
    prediction = png(tmp_path / "a.png", np.zeros((8, 9), dtype=np.uint8))
    truth = npy(tmp_path / "b.npy", np.zeros((9, 8), dtype=np.uint8))
    with pytest.raises(
        DataError, match=r"a\.png and .*b\.npy: .*8 x 9 pixels, the ground truth 9 x 8"
    ):
        score_folders(prediction, truth)


def test_progress_is_plain_lines_without_a_terminal(capsys):
    assert list(tracked(iter("abc"), 3, "images")) == list("abc")
    captured = capsys.readouterr()
    assert captured.err == "images: 3/3\n"
    assert captured.out == ""


def test_starts_without_pytorch():
    """The command and its workers do not import libraries that they do not use."""
    code = "import sys, taskprism.cli.edges; print({'torch', 'matplotlib'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_plots_are_written(tree, tmp_path):
    scores = score_folders(tree / "predictions", tree / "groundTruth", FEW)
    for name in ("curve.png", "curve.pdf"):
        plot_curves({"gradient": scores, "again": scores}, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000
    with pytest.raises(DataError, match=r"curve\.xyz: the plot cannot be written"):
        plot_curves({"gradient": scores}, tmp_path / "curve.xyz")
