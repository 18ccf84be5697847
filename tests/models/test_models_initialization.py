"""Initial weights from trained models that differ in tasks, classes, layers or backbone."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import taskprism
from taskprism.errors import CheckpointError, InputError
from taskprism.models import initialize
from taskprism.tasks import create_task

SMALL = {"backbone": "test_resnet", "neck_channels": 8}
OLD, NEW = ["wall", "floor", "chair"], ["floor", "lamp", "wall", "door"]


def semseg(classes, name="semseg"):
    return create_task("semseg", name=name, channels=len(classes), class_names=classes)


def model(name="multi_task", tasks=("depth", "edge"), seed=1, auxiliary_tasks=None, **options):
    torch.manual_seed(seed)
    created = taskprism.create_model(name, list(tasks), auxiliary_tasks, **SMALL, **options)
    for buffer in created.buffers():  # running statistics that tell the models apart
        if buffer.ndim == 1 and buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return created


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder of a multi-task model with two tasks, and its tensors."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved")
    model(tasks=[semseg(OLD), "depth"]).save_pretrained(folder)
    return folder, load_file(folder / "model.safetensors")


def state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def counts(report):
    return {part.part: part.counts for part in report.parts}


def test_every_tensor_is_taken_or_left_as_it_was(saved):
    folder, tensors = saved
    network = model(tasks=["depth", "normals"], seed=2)
    before = state(network)
    report = initialize(network, folder)
    after = state(network)
    for name, tensor in after.items():
        expected = before[name] if name.startswith("heads.normals") else tensors[name]
        assert torch.equal(tensor, expected), name
    heads = sum(name.startswith("heads.normals") for name in before)
    assert counts(report)["head of normals"] == (0, 0, heads, 0)
    assert counts(report)["head of semseg"] == (0, 0, 0, heads)
    assert counts(report)["backbone"][1:] == (0, 0, 0)
    assert sum(len(part.taken) for part in report.parts) == len(before) - heads


def test_rows_of_classes_with_the_same_name_are_kept(saved):
    folder, tensors = saved
    network = model(tasks=[semseg(NEW), "depth"], seed=2)
    before = state(network)
    report = initialize(network, folder)
    after = state(network)
    changed = [name for name in after if after[name].shape != tensors[name].shape]
    assert changed == ["heads.semseg.predict.weight", "heads.semseg.predict.bias"]
    for name in changed:
        for row, label in enumerate(NEW):
            source = tensors[name][OLD.index(label)] if label in OLD else before[name][row]
            assert torch.equal(after[name][row], source), (name, label)
    assert all(torch.equal(after[name], tensors[name]) for name in after if name not in changed)
    assert counts(report)["head of semseg"][1:] == (0, 0, 0)
    (note,) = report.notes
    assert note == "semseg: 3 classes in the source, now 4. Kept: floor, wall. New: lamp, door."


def test_classes_in_another_order_are_moved_although_shapes_fit(saved):
    folder, tensors = saved
    network = model(tasks=[semseg(OLD[::-1])], seed=2)
    initialize(network, folder)
    name = "heads.semseg.predict.weight"
    assert torch.equal(network.state_dict()[name], tensors[name].flip(0))


def test_initial_heads_keep_known_classes_too(tmp_path):
    options = {"channels": 8}
    before = model("pad_net", [semseg(OLD), "depth"], **options)
    before.save_pretrained(tmp_path)
    network = model("pad_net", [semseg(NEW), "depth"], seed=2, **options)
    initialize(network, tmp_path)
    for name in ("heads.semseg.2.weight", "initial_heads.semseg.predict.weight"):
        own, source = network.state_dict()[name], before.state_dict()[name]
        assert torch.equal(own[0], source[OLD.index("floor")])


def test_auxiliary_decoders_are_taken_and_unnamed_classes_are_not_kept(tmp_path):
    tasks = [create_task("semseg", channels=3), "depth"]
    before = model("pad_net", tasks, auxiliary_tasks=["edge"], channels=8)
    before.save_pretrained(tmp_path)
    tasks = [create_task("semseg", channels=4), "depth"]
    network = model("pad_net", tasks, auxiliary_tasks=["edge"], channels=8, seed=2)
    initial = state(network)
    report = initialize(network, tmp_path)
    taken = {name for part in report.parts for name in part.taken}
    edge = {name for name in initial if name.startswith("initial_heads.edge")}
    assert edge and edge <= taken
    left = {name for part in report.parts for name in part.other_shape}
    assert left == {n for n, t in initial.items() if t.shape != before.state_dict()[n].shape}
    assert all(torch.equal(network.state_dict()[name], initial[name]) for name in left)
    assert "without names none of them is kept" in report.notes[0]


@pytest.mark.parametrize(("old", "new"), [("spatial_attention", "concat"), ("concat", "ctal")])
def test_another_distillation_keeps_everything_else(old, new, tmp_path):
    small = {"channels": 8}
    before = model("pad_net", distillation=old, **small)
    before.save_pretrained(tmp_path)
    size = {"size": (32, 32)} if new == "ctal" else {}
    network = model("pad_net", distillation=new, seed=2, **small, **size)
    report = initialize(network, tmp_path)
    numbers = counts(report)
    assert numbers["distillation"][2] > 0
    for part, (_, other, missing, unused) in numbers.items():
        assert part == "distillation" or (other, missing, unused) == (0, 0, 0), part


def test_one_backbone_initializes_several_and_the_other_way_round(tmp_path):
    shared = model("multi_task", neck="none")
    shared.save_pretrained(tmp_path / "shared")
    several = model("single_task", neck="none", seed=2)
    initialize(several, tmp_path / "shared")
    for task in ("depth", "edge"):
        for name, tensor in several.backbones[task].state_dict().items():
            assert torch.equal(tensor, shared.backbone.state_dict()[name]), name
    own = model("single_task", neck="none", seed=3)
    own.save_pretrained(tmp_path / "own")
    stitched = model("single_task", ["edge", "depth"], neck="none", seed=4)
    initialize(stitched, tmp_path / "own")
    for task in ("depth", "edge"):  # each from the backbone of its own task
        for name, tensor in stitched.backbones[task].state_dict().items():
            assert torch.equal(tensor, own.backbones[task].state_dict()[name])
    initialize(shared, tmp_path / "own")
    assert torch.equal(next(shared.backbone.parameters()), next(own.backbones.depth.parameters()))


def test_another_backbone_is_not_mixed_in(saved):
    folder, tensors = saved
    torch.manual_seed(2)
    network = taskprism.create_model(
        "multi_task", [semseg(OLD), "depth"], backbone="resnet10t", neck_channels=8
    )
    before = state(network)
    shared = [n for n in before if n in tensors and before[n].shape == tensors[n].shape]
    assert any(name.startswith("backbone.trunk") for name in shared)  # would be mixed in
    report = initialize(network, folder)
    after = state(network)
    assert all(torch.equal(after[n], before[n]) for n in before if n.startswith("backbone.trunk"))
    assert torch.equal(after["heads.depth.predict.weight"], tensors["heads.depth.predict.weight"])
    assert "The backbone is not taken" in report.notes[0]


def test_nothing_that_fits_is_an_error(saved):
    folder, _ = saved
    network = taskprism.create_model("astmt", ["normals"], backbone="se_resnet14_quarter")
    before = state(network)
    with pytest.raises(CheckpointError, match="Nothing in"):
        initialize(network, folder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_layer_that_concatenates_tasks_needs_their_order(tmp_path):
    options = {"backbone": "test_resnet"}
    torch.manual_seed(0)
    before = taskprism.create_model("nddr_cnn", ["depth", "edge"], **options)
    before.save_pretrained(tmp_path)
    torch.manual_seed(1)
    network = taskprism.create_model("nddr_cnn", ["edge", "depth"], **options)
    initial = state(network)
    report = initialize(network, tmp_path)
    mixing = [n for n in initial if n.startswith("units") and n.endswith(".0.weight")]
    left = {name for part in report.parts for name in part.other_shape}
    assert left == set(mixing)
    assert all(torch.equal(network.state_dict()[name], initial[name]) for name in mixing)


def test_files_of_weights_with_any_wrapper_are_read(saved, tmp_path):
    _, tensors = saved
    torch.save({"state_dict": {f"module.{n}": t for n, t in tensors.items()}}, tmp_path / "a.pt")
    save_file(tensors, tmp_path / "b.safetensors")
    trunk = {n.removeprefix("backbone.trunk.model."): t for n, t in tensors.items() if "trunk" in n}
    torch.save(trunk, tmp_path / "trunk.pth")
    for name in ("a.pt", "b.safetensors"):
        network = model(tasks=[semseg(OLD), "depth"], seed=2)
        report = initialize(network, tmp_path / name)
        assert all(torch.equal(t, tensors[n]) for n, t in network.state_dict().items())
        assert not any(part.missing or part.unused for part in report.parts)
    report = initialize(model(seed=2), tmp_path / "trunk.pth")
    assert counts(report)["backbone"] == (len(trunk), 0, 0, 0)
    assert not report.parts[1].taken


def test_the_images_are_normalized_as_the_source_did(saved, tmp_path):
    folder, _ = saved
    config = json.loads((folder / "config.json").read_text())
    config |= {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 0.125]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    network = model(seed=2)
    assert network.config["image_std"] != [0.5, 0.25, 0.125]  # also when described before
    report = initialize(network, tmp_path)
    image = torch.rand(1, 3, 4, 4)
    mean, std = (torch.tensor(config[k]).view(3, 1, 1) for k in ("image_mean", "image_std"))
    assert torch.equal(network.normalize(image), (image - mean) / std)
    assert network.config["image_std"] == [0.5, 0.25, 0.125]
    assert "Images are normalized" in report.notes[-1]


def test_sources_that_cannot_be_read_are_named(saved, tmp_path):
    _, tensors = saved
    for source, words in {
        tmp_path / "absent.pt": "no file",
        tmp_path / "absent": "no folder",
        tmp_path: "holds no model",
    }.items():
        with pytest.raises(CheckpointError, match=words):
            initialize(model(), source)
    bad = {**tensors, "heads.depth.predict.bias": torch.tensor([torch.nan])}
    save_file(bad, tmp_path / "bad.safetensors")
    with pytest.raises(CheckpointError, match="NaN"):
        initialize(model(), tmp_path / "bad.safetensors")


def test_no_code_is_imported_for_a_source(saved, tmp_path):
    """A model class that is not imported does not matter; a task class that is needed is named."""
    folder, _ = saved
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    config["name"] = "not_imported_model:Net"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert initialize(model(), tmp_path).parts[0].taken
    config["tasks"][1]["kind"] = "not_imported_task:Depth"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="not_imported_task"):
        initialize(model(), tmp_path)
    assert initialize(model(tasks=["edge"]), tmp_path).parts[0].taken  # that task is not needed


def test_the_report_has_the_hash_of_the_file(saved):
    folder, _ = saved
    report = initialize(model(), folder)
    content = (folder / "model.safetensors").read_bytes()
    record = report.record()
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["parts"]["head of edge"]["taken"] == 0
    assert json.loads(json.dumps(record)) == record
    assert "head of depth" in str(report)
