"""Teachers of every kind: labels in real units at the size of the image, and confidence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from taskprism.errors import CheckpointError, InputError, UnknownNameError
from taskprism.models.inference import predict
from taskprism.tasks import create_task
from taskprism.teachers import Teacher, create_teacher
from taskprism.teachers.base import find_kind


@pytest.fixture
def images() -> list[torch.Tensor]:
    return [torch.rand(3, 40, 56), torch.rand(3, 40, 56), torch.rand(3, 50, 34)]


def test_labels_of_a_saved_model_are_its_predictions_of_each_image(saved, network, images):
    labels = create_teacher(saved).label(images)
    for image, label in zip(images, labels, strict=True):
        expected = predict(network, image)
        for task in network.tasks:
            assert label[task.name].values.shape == expected[task.name].shape
            torch.testing.assert_close(
                label[task.name].values, expected[task.name], rtol=1e-4, atol=1e-4
            )
            assert label[task.name].confidence.shape == (1, *image.shape[-2:])


def test_confidence_is_the_probability_or_the_agreement_with_the_mirror_image(saved, network):
    image = torch.rand(3, 64, 64)
    label = create_teacher(saved).label([image])[0]
    with torch.no_grad():
        output = network(network.normalize(image[None]))
        mirror = network(network.normalize(image.flip(-1)[None]))
    probability = output["semseg"].softmax(1).max(1).values
    torch.testing.assert_close(label["semseg"].confidence, probability)
    positive = output["saliency"].sigmoid()[0]
    torch.testing.assert_close(label["saliency"].confidence, (2 * positive - 1).abs())
    near, far = output["depth"][0].clamp(min=0), mirror["depth"][0].flip(-1).clamp(min=0)
    relative = (near - far).abs() / torch.maximum(near, far)
    torch.testing.assert_close(label["depth"].confidence, 0.5 ** (relative / 0.05))
    normal = F.normalize(output["normals"][0], dim=0)
    other = F.normalize(
        mirror["normals"][0].flip(-1) * torch.tensor([-1, 1, 1]).view(3, 1, 1), dim=0
    )
    angle = torch.rad2deg((normal * other).sum(0, keepdim=True).clamp(-1, 1).acos())
    torch.testing.assert_close(
        label["normals"].confidence, 0.5 ** (angle / 15), atol=2e-3, rtol=2e-3
    )


def test_an_onnx_file_gives_the_labels_of_its_network(onnx_file, saved, images):
    teacher = create_teacher(onnx_file)
    assert teacher.input_size == (64, 64) and teacher.license == "own"
    same = create_teacher(saved, options={"size": [64, 64]})
    image = torch.rand(3, 64, 64)
    found, expected = teacher.label([image])[0], same.label([image])[0]
    for name in expected:
        torch.testing.assert_close(
            found[name].values.float(), expected[name].values.float(), rtol=1e-3, atol=1e-3
        )
    assert [label["depth"].values.shape[1:] for label in teacher.label(images)] == [
        (40, 56),
        (40, 56),
        (50, 34),
    ]


def test_an_onnx_file_without_tasks_or_with_another_output_name_is_refused(onnx_file, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(onnx_file))
    path = tmp_path / "other.onnx"
    for props, message in (
        ({}, r"metadata lack the key 'taskprism.tasks'"),
        ({"taskprism.tasks": "["}, "is not JSON"),
        ({"taskprism.tasks": '[{"kind": "edge"}]'}, "no output for edge; the outputs are semseg"),
        ({"taskprism.tasks": '[{"kind": "os:system"}]'}, "os"),
    ):
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, props)
        onnx.save(model, str(path))
        with pytest.raises((InputError, UnknownNameError), match=message):
            create_teacher(path)
    path.write_bytes(b"no model")
    with pytest.raises(CheckpointError, match="Cannot read"):
        create_teacher(path)


def test_relative_depth_becomes_inverse_depth_between_0_and_1(depth_model, images):
    teacher = create_teacher(depth_model)
    assert [task.kind for task in teacher.tasks] == ["inverse_depth"]
    assert teacher.license == "cc-by-nc-4.0"
    labels = teacher.label(images)
    for image, label in zip(images, labels, strict=True):
        values = label["inverse_depth"].values
        assert values.shape == (1, *image.shape[-2:])
        assert 0 <= values.min() < values.max() == 1
    with pytest.raises(InputError, match="predicts inverse depth"):
        create_teacher(depth_model, options={"depth": "metric"})


def test_depth_without_a_unit_must_be_stated(depth_model, tmp_path):
    folder = copy_with(depth_model, tmp_path / "metric", depth_estimation_type="metric")
    assert create_teacher(folder).tasks[0].kind == "depth"
    transformers = pytest.importorskip("transformers")
    backbone = transformers.AutoConfig.from_pretrained(depth_model).backbone_config
    settings = {"neck_hidden_sizes": [8, 8], "reassemble_factors": [2, 1], "add_projection": False}
    config = transformers.DPTConfig(
        backbone_config=backbone, fusion_hidden_size=8, **settings, hidden_size=16
    )
    with torch.random.fork_rng():
        transformers.DPTForDepthEstimation(config).save_pretrained(tmp_path / "dpt")
    size = {"height": 28, "width": 28}
    transformers.DPTImageProcessor(size=size).save_pretrained(tmp_path / "dpt")
    with pytest.raises(InputError, match="does not say whether it predicts meters"):
        create_teacher(tmp_path / "dpt")
    for stated, kind in (("metric", "depth"), ("inverse", "inverse_depth")):
        teacher = create_teacher(tmp_path / "dpt", options={"depth": stated})
        assert teacher.tasks[0].kind == kind


def copy_with(folder: Path, target: Path, **config: object) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    stored = json.loads((folder / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**stored, **config}))
    return target


def test_classes_of_a_segmentation_model_are_those_of_its_own_pipeline(segmentation_model):
    transformers = pytest.importorskip("transformers")
    teacher = create_teacher(segmentation_model)
    assert teacher.tasks[0].class_names == ("wall", "floor", "ceiling", "cup", "a-c")
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image = torch.from_numpy(picture).permute(2, 0, 1) / 255
    label = teacher.label([image])[0]["semseg"]
    pipeline = transformers.pipeline("image-segmentation", model=str(segmentation_model))
    for part in pipeline(Image.fromarray(picture)):
        index = [*pipeline.model.config.id2label.values()].index(part["label"])
        mask = np.asarray(part["mask"]) > 0
        assert (label.values[0].numpy() == index)[mask].mean() > 0.98  # resizing differs


def test_classes_can_be_merged_and_left_out(segmentation_model, tmp_path):
    file = tmp_path / "classes.yaml"
    file.write_text("{wall: building, ceiling: building, 1: floor, cup: null}")
    teacher = create_teacher(segmentation_model, options={"classes": str(file)})
    assert teacher.tasks[0].class_names == ("building", "floor")
    assert teacher.notes == [
        f"1 of 5 classes of the model are not in {file}, so their pixels get no label: a/c."
    ]
    image = torch.rand(3, 64, 64)
    all_of_them = create_teacher(segmentation_model)
    logits = F.interpolate(
        all_of_them.outputs([image], ["semseg"])[0]["semseg"][:, :5].exp(),
        (64, 64),
        mode="nearest",
    )[0]
    merged = torch.stack([logits[0] + logits[2], logits[1]])
    nothing = logits[3] + logits[4]
    output = teacher.outputs([image], ["semseg"])[0]["semseg"]
    close = F.interpolate(output.exp(), (64, 64), mode="nearest")[0]
    torch.testing.assert_close(close, torch.cat([merged, nothing[None]]))
    label = teacher.label([image])[0]["semseg"]
    grown = F.interpolate(output, (64, 64), mode="bilinear").softmax(1)[0]
    assert (label.confidence[0] == 0).equal(grown[2] >= grown[:2].max(0).values)
    file.write_text("{walls: building}")
    with pytest.raises(UnknownNameError, match="Did you mean 'wall'"):
        create_teacher(segmentation_model, options={"classes": str(file)})


def test_fingerprints_follow_weights_and_options(saved, segmentation_model, tmp_path):
    teacher = create_teacher(saved)
    assert teacher.fingerprint() == create_teacher(saved).fingerprint()
    other = create_teacher(saved)
    with torch.no_grad():
        next(other.model.parameters()).add_(1)
    assert other.fingerprint() != teacher.fingerprint()
    assert create_teacher(saved, options={"size": [32, 32]}).fingerprint() != teacher.fingerprint()
    file = tmp_path / "classes.json"
    file.write_text('{"wall": "floor"}')
    merged = create_teacher(segmentation_model, options={"classes": str(file)})
    assert merged.fingerprint() != create_teacher(segmentation_model).fingerprint()


class Bright(Teacher):
    """Own kind of teacher: bright pixels are salient."""

    name = "bright"

    def __init__(self, source, device="cpu", imports=(), gain: float = 8.0):
        self.tasks = (create_task("saliency"),)
        self.gain = gain

    def outputs(self, images, tasks):
        return [{"saliency": self.gain * (i.mean(0)[None, None] - 0.5)} for i in images]

    def fingerprint(self):
        return str(self.gain)


def test_a_kind_of_your_own(images):
    teacher = create_teacher("", f"{__name__}:Bright", options={"gain": 2})
    bright = images[0].mean(0) > 0.5
    assert (teacher.label(images)[0]["saliency"].values[0] > 0.5).equal(bright)
    with pytest.raises(UnknownNameError, match="Did you mean 'gain'"):
        create_teacher("", Bright, options={"gian": 2})
    with pytest.raises(InputError, match="gain"):
        create_teacher("", Bright, options={"gain": "large"})
    with pytest.raises(UnknownNameError, match="task of this teacher"):
        teacher.label(images, ["depth"])


def test_the_kind_is_found_from_the_source(saved, onnx_file, depth_model, tmp_path):
    kinds = [find_kind(str(source)) for source in (saved, onnx_file, depth_model)]
    assert kinds == ["model", "onnx", "transformers"]
    with pytest.raises(InputError, match="is no teacher"):
        find_kind(str(tmp_path / "missing"))
