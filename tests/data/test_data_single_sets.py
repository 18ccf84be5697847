"""FSV, and the sets of ASTMT's single-task table."""

import numpy as np
import pytest
from PIL import Image
from torch import Tensor
from trees_single import (
    HEIGHT,
    WIDTH,
    write_bsds,
    write_fsv,
    write_msra10k,
    write_pascal_s,
    write_sbd,
    write_voc,
)

from taskprism.data import create_protocol
from taskprism.data.benchmarks.fsv import frames
from taskprism.errors import DataError, InputError, UnknownNameError


def read(sample, task):
    values = sample["targets"][task].as_subclass(Tensor).numpy()
    return values, sample["valid"][task].as_subclass(Tensor).numpy()[0]


@pytest.mark.parametrize("kind", ["published", "intended"])
def test_fsv(tmp_path, kind):
    made = write_fsv(tmp_path)
    protocol = create_protocol("fsv", root=tmp_path, disparity=kind)
    assert protocol.found_variant().name == "gta"
    assert [len(protocol.dataset(split)) for split in protocol.splits] == [4, 2]
    for sample in protocol.dataset("train"):
        kinds, albedo, code = made[sample["name"]]
        labels, valid = read(sample, "semseg")
        assert valid.all()
        assert np.array_equal(labels[0], np.array([0, 0, 1, 2, 0, 0, 0, 0])[kinds])
        colors, valid = read(sample, "albedo")
        assert valid.all()
        np.testing.assert_allclose(colors.transpose(1, 2, 0), albedo / 255, atol=1e-6)
        disparity, valid = read(sample, "disparity")
        # Python's own integers; the red byte is the lowest.
        for row, column in ((0, 5), (3, 9), (20, 40), (7, 1)):
            red, green, blue = (int(byte) for byte in code[row, column])
            stored = red + 256 * green + (65536 * blue if kind == "intended" else 0)
            assert disparity[0, row, column] == pytest.approx(stored / 8192)
            assert valid[row, column] == (stored > 0)
        # Bytes 1, 2, 3: the 16-bit arithmetic of ASTMT's code gives 513.
        assert disparity[0, 0, 5] * 8192 == (513 if kind == "published" else 197121)
        assert not valid[:, :3].any()
        assert (disparity.max() < 8) == (kind == "published")


def test_fsv_disparity_does_not_scale_with_the_width(tmp_path):
    write_fsv(tmp_path)
    protocol = create_protocol("fsv", root=tmp_path, input_size=(16, 24), evaluation="network")
    plain = read(protocol.dataset("test")[0], "disparity")[0]
    small = read(protocol.dataset("test", protocol.evaluation_transform())[0], "disparity")[0]
    assert np.isin(small, plain).all()  # sampled, not scaled with the width


def test_fsv_tests_on_every_nth_frame(tmp_path):
    (tmp_path / "gt_sets").mkdir()
    names = [f"{number}" for number in range(15001)]
    (tmp_path / "gt_sets/gta_test.txt").write_text("\n".join(names))
    strided = frames(tmp_path, split="test", stride=True)
    assert strided[:3] == ["gta_test/0", "gta_test/3", "gta_test/6"]
    assert len(strided) == 5001
    assert len(frames(tmp_path, split="test", stride=False)) == 15001
    with pytest.raises(UnknownNameError, match="intended, published"):
        create_protocol("fsv", disparity="float")


def test_fsv_unknown_kinds_raise(tmp_path):
    write_fsv(tmp_path)
    path = tmp_path / "gta_train/00000_object_id.png"
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 9, np.uint8)).save(path)
    with pytest.raises(DataError, match="kind of object 9"):
        create_protocol("fsv", root=tmp_path).dataset("train")[0]


def test_voc_with_the_images_of_sbd(tmp_path):
    labeled, more = write_voc(tmp_path)
    plain = create_protocol("voc12", root=tmp_path, train_set="train")
    assert plain.dataset("train").names == ["a", "b"]
    protocol = create_protocol("voc12", root=tmp_path)
    train, test = protocol.dataset("train"), protocol.dataset("test")
    assert train.names == ["a", "b", "s", "t"]  # v is in VOC's val
    assert test.names == ["v", "w"]
    for dataset in (train, test):
        for sample in dataset:
            name = sample["name"]
            wanted = labeled.get(name, more.get(name))  # VOC's labels win
            labels, valid = read(sample, "semseg")
            assert np.array_equal(valid, wanted != 255)
            assert np.array_equal(labels[0][valid], wanted[valid])
    assert (labeled["a"] != more["a"]).any()
    assert protocol.fingerprint() != plain.fingerprint()
    assert (protocol.counts["train"], plain.counts["train"]) == (10582, 1464)


def test_void_can_be_background(tmp_path):
    labeled, _ = write_voc(tmp_path)
    protocol = create_protocol("voc12", root=tmp_path, train_set="train", void="background")
    labels, valid = read(protocol.dataset("train")[0], "semseg")
    assert valid.all()
    assert np.array_equal(labels[0], np.where(labeled["a"] == 255, 0, labeled["a"]))


def test_trainaug_without_sbd_says_so(tmp_path):
    write_voc(tmp_path)
    (tmp_path / "benchmark_RELEASE").rename(tmp_path / "sbd")
    with pytest.raises(DataError, match=r"expects benchmark_RELEASE/dataset/train\.txt"):
        create_protocol("voc12", root=tmp_path).dataset("train")
    assert len(create_protocol("voc12", root=tmp_path, train_set="train").dataset("test")) == 2


def test_sbd(tmp_path):
    made = write_sbd(tmp_path)
    protocol = create_protocol("sbd", root=tmp_path)
    assert protocol.dataset("train").names == ["a", "s"]
    for sample in protocol.dataset("test"):
        labels, valid = read(sample, "semseg")
        assert valid.all()
        assert np.array_equal(labels[0], made[sample["name"]])


def test_msra10k_trains_and_pascal_s_tests(tmp_path):
    msra, pascal = write_msra10k(tmp_path / "msra"), write_pascal_s(tmp_path / "pascal")
    protocol = create_protocol(
        "msra10k", root=tmp_path / "msra", test_root=str(tmp_path / "pascal")
    )
    train = protocol.dataset("train")
    assert train.names == ["101", "22", "3", "4"]
    for sample in train:  # soft, as they are
        labels, valid = read(sample, "saliency")
        assert valid.all()
        np.testing.assert_allclose(labels[0], msra[sample["name"]] / 255, atol=1e-7)
    assert protocol.dataset("test").names == ["1", "2"]
    cut = create_protocol("msra10k", root=tmp_path / "msra", threshold=0.5)
    labels, _ = read(cut.dataset("train")[0], "saliency")
    assert np.array_equal(labels[0], msra["101"] > 127)
    with pytest.raises(DataError, match="option test_root"):
        cut.dataset("test")
    assert cut.fingerprint() != protocol.fingerprint()

    alone = create_protocol("pascal_s", root=tmp_path / "pascal")
    for sample in alone.dataset("test"):  # cut at 0.2, as ASTMT's evaluation does
        labels, _ = read(sample, "saliency")
        assert np.array_equal(labels[0], pascal[sample["name"]] > 51)
    assert not alone.task("saliency").soft
    assert protocol.task("saliency").max_f == "astmt"
    with pytest.raises(InputError, match="no split 'train'"):
        alone.dataset("train")
    with pytest.raises(InputError, match=r"\[0, 1\)"):
        create_protocol("pascal_s", threshold=128)


@pytest.mark.parametrize("n_votes", [1, 3, None])
def test_bsds_counts_votes(tmp_path, n_votes):
    made = write_bsds(tmp_path)
    protocol = create_protocol("bsds500", root=tmp_path, n_votes=n_votes)
    assert [len(protocol.dataset(split)) for split in protocol.splits] == [4, 1, 2]
    for sample in protocol.dataset("test"):
        drawn = made[sample["name"]]
        edge, valid = read(sample, "edge")
        assert valid.all()
        total = drawn.sum(axis=0)
        wanted = total / total.max() if n_votes is None else total >= n_votes
        np.testing.assert_allclose(edge[0], wanted, atol=1e-7)
    assert protocol.task("edge").soft == (n_votes is None)


def test_bsds_trains_with_val_too(tmp_path):
    write_bsds(tmp_path)
    both = create_protocol("bsds500", root=tmp_path, train_set="trainval").dataset("train")
    assert both.names == ["train/10", "train/12003", "train/8143", "train/9", "val/3096"]
    with pytest.raises(InputError, match="at least 1"):
        create_protocol("bsds500", n_votes=0)


@pytest.mark.parametrize("name", ["fsv", "voc12", "sbd", "msra10k", "pascal_s", "bsds500"])
def test_wrong_folder_raises_with_what_is_expected(tmp_path, name):
    protocol = create_protocol(name, root=tmp_path)
    with pytest.raises(DataError, match=rf"is not {name} in any known layout") as error:
        protocol.dataset("test" if name == "pascal_s" else "train")
    assert "expects" in str(error.value)
    assert f"describe {name}" in str(error.value)
