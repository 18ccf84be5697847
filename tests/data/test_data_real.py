"""The shipped YAMLs on the real images they describe."""

import pytest
import torch
from torch import Tensor

from taskprism.data import collate, create_protocol


@pytest.fixture(scope="module")
def osd(real_data):
    return create_protocol("osd_rgbd", root=real_data / "osd_rgbd")


@pytest.fixture(scope="module")
def clothing(real_data):
    return create_protocol("clothing_parts", root=real_data / "clothing_parts")


def values(sample, task):
    return sample["targets"][task].as_subclass(Tensor)


def valid(sample, task):
    return sample["valid"][task].as_subclass(Tensor)


def test_osd_has_its_splits(osd):
    assert len(osd.dataset("train")) == 45
    assert len(osd.dataset("test")) == 62


def test_clothing_is_split_without_overlap(clothing):
    train, test = clothing.dataset("train"), clothing.dataset("test")
    assert (len(train), len(test)) == (90, 30)
    assert not set(train.names) & set(test.names)


@pytest.mark.parametrize("index", [0, 30, 61])
def test_osd_samples(osd, index):
    sample = osd.dataset("test")[index]
    assert sample["image"].shape == (3, 480, 640)
    assert set(sample["targets"]) == {"semseg", "depth", "normals", "edge", "saliency"}
    depth = values(sample, "depth")[valid(sample, "depth")]
    assert depth.min() > 0.4
    assert depth.max() < 4
    normals, seen = values(sample, "normals"), valid(sample, "normals")[0]
    assert (normals.norm(dim=0)[seen] - 1).abs().max() < 1e-5
    assert (normals[2][seen] > 0).float().mean() > 0.99  # visible surfaces face the camera
    table = seen & valid(sample, "semseg")[0] & (values(sample, "semseg")[0] == 0)
    assert (normals[1][table] > 0).float().mean() > 0.95  # seen from above
    assert normals[:, table].mean(1)[1] > 0.4
    semseg, known = values(sample, "semseg"), valid(sample, "semseg")
    assert set(semseg[known].unique().tolist()) == {0, 1}
    assert torch.equal(values(sample, "saliency")[known] == 1, semseg[known] == 1)
    edges = values(sample, "edge")[valid(sample, "edge")]
    assert set(edges.unique().tolist()) == {0.0, 1.0}
    assert 0.001 < edges.mean() < 0.1


def test_osd_depth_and_normals_are_of_one_surface(osd):
    """Normals computed from the depth of the table point where the stored ones do."""
    sample = osd.dataset("train")[0]
    depth, known = values(sample, "depth")[0].double(), valid(sample, "depth")[0]
    rows, columns = torch.meshgrid(torch.arange(480.0), torch.arange(640.0), indexing="ij")
    x, y = (columns - 319.5) / 525 * depth, -(rows - 239.5) / 525 * depth
    table = known & valid(sample, "normals")[0] & (values(sample, "semseg")[0] == 0)
    table &= valid(sample, "semseg")[0]
    points = torch.stack([x[table], y[table], -depth[table]])
    centerd = points - points.mean(1, keepdim=True)
    normal = torch.linalg.eigh(centerd @ centerd.T).eigenvectors[:, 0]
    normal = normal * normal[2].sign()
    stored = values(sample, "normals")[:, table].double().mean(1)
    assert (normal @ stored / stored.norm()) > 0.995


def test_osd_has_many_ignored_pixels(osd):
    dataset = osd.dataset("train", osd.evaluation_transform())
    share = [float(valid(dataset[i], "semseg").float().mean()) for i in range(0, 45, 9)]
    assert 0.4 < sum(share) / len(share) < 0.8


@pytest.mark.parametrize("index", [0, 29])
def test_clothing_samples(clothing, index):
    sample = clothing.dataset("test")[index]
    parts = values(sample, "human_parts")
    assert parts.dtype == torch.int64
    assert valid(sample, "human_parts").all()
    assert 0 <= parts.min() <= parts.max() <= 7
    assert len(parts.unique()) >= 4
    assert torch.equal(values(sample, "saliency") == 1, parts > 0)
    assert clothing.task("human_parts").class_names[0] == "background"


@pytest.mark.parametrize("sampling", ["balanced", "concatenated"])
def test_both_train_together(real_data, sampling):
    joint = create_protocol(
        ["osd_rgbd", "clothing_parts"], root=real_data, input_size=(96, 96), sampling=sampling
    )
    assert len(joint.tasks) == 6
    dataset = joint.dataset("train", joint.train_transform())
    assert len(dataset) == (180 if sampling == "balanced" else 135)
    batch = collate([dataset[0], dataset[len(dataset) - 1]], joint.tasks)
    assert batch.images.shape == (2, 3, 96, 96)
    labeled = {name: mask.flatten(1).any(1).tolist() for name, mask in batch.valid.items()}
    assert labeled.pop("saliency") == [True, True]
    assert labeled.pop("human_parts") == [False, True]
    assert set(map(tuple, labeled.values())) == {(True, False)}
    for task in joint.tasks:
        output = torch.zeros(2, task.channels, 96, 96, requires_grad=True)
        loss = task.loss(output, batch.targets[task.name], batch.valid[task.name])
        assert loss.isfinite()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["osd_rgbd", "clothing_parts"])
def test_everything_reads(real_data, name):
    protocol = create_protocol(name, root=real_data / name)
    for split in protocol.splits:
        dataset = protocol.dataset(split, protocol.evaluation_transform())
        for index in range(len(dataset)):
            sample = dataset[index]
            assert set(sample["targets"]) == {task.name for task in protocol.tasks}
            assert all(valid(sample, name).any() for name in sample["targets"])
