"""Confidence maps of labels: pixels below the threshold have no label."""

import numpy as np
import pytest

from taskprism.data import create_protocol
from taskprism.errors import DataError

HEIGHT, WIDTH = 24, 32


@pytest.fixture
def sure(folder):
    """The folder, with a confidence of the depth of image a that rises from left to right."""
    ramp = np.broadcast_to(np.arange(WIDTH, dtype=np.uint8) * 8, (HEIGHT, WIDTH))
    folder.save("sure/depth/a.png", np.ascontiguousarray(ramp))
    folder.config["tasks"]["depth"]["confidence"] = {"path": "sure/depth/{name}.png"}
    return folder


def samples(folder):
    dataset = create_protocol(str(folder.write())).dataset("train")
    return {sample["name"]: sample for sample in (dataset[i] for i in range(len(dataset)))}


@pytest.mark.parametrize("threshold", [0, 0.3, 1])
def test_pixels_below_the_threshold_have_no_label(sure, threshold):
    del sure.config["tasks"]["depth"]["confidence"]
    before = samples(sure)
    sure.config["tasks"]["depth"]["confidence"] = {
        "path": "sure/depth/{name}.png",
        "threshold": threshold,
    }
    after = samples(sure)
    certain = np.arange(WIDTH) * 8 / 255 >= threshold
    expected = before["a"]["valid"]["depth"].numpy() & certain
    assert np.array_equal(after["a"]["valid"]["depth"].numpy(), expected)
    assert not after["a"]["targets"]["depth"].numpy()[~expected].any()
    assert np.array_equal(after["b"]["valid"]["depth"], before["b"]["valid"]["depth"])  # no file
    assert np.array_equal(after["a"]["valid"]["semseg"], before["a"]["valid"]["semseg"])


def test_confidences_are_part_of_the_fingerprint_and_no_extra_images(sure):
    sure.config["splits"] = {"train": ["a"], "test": ["b", "c", "d"]}
    sure.config["tasks"]["depth"]["confidence"]["path"] = "rgb/{name}_sure.png"
    without = create_protocol(str(sure.write())).fingerprint()
    sure.save("rgb/a_sure.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    protocol = create_protocol(str(sure.yaml))
    assert protocol.fingerprint() != without
    assert protocol.remarks() == []


def test_a_confidence_of_another_size_or_in_color_is_refused_by_name(sure):
    path = sure.save("sure/depth/a.png", np.zeros((HEIGHT, WIDTH - 1), np.uint8))
    with pytest.raises(DataError, match=f"{path}.*31x24.*must have one size"):
        samples(sure)
    sure.save("sure/depth/a.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(DataError, match=r"RGB.*a gray image, in which white is 1"):
        samples(sure)


def test_wrong_keys_are_named(sure):
    sure.config["tasks"]["depth"]["confidence"] = {"path": "sure.png"}
    with pytest.raises(DataError, match=r"must contain \{name\}"):
        create_protocol(str(sure.write()))
    sure.config["tasks"]["depth"]["confidence"] = {"path": "{name}.png", "threshold": 2}
    with pytest.raises(DataError, match=r"tasks.depth.confidence.threshold"):
        create_protocol(str(sure.write()))
