"""Tiny teachers of every kind, saved in folders."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch

from taskprism import create_model
from taskprism.models import MultiTaskModel

TASKS = [
    {"kind": "semseg", "class_names": ["floor", "wall", "thing"]},
    {"kind": "depth"},
    {"kind": "normals"},
    {"kind": "saliency"},
]


@pytest.fixture(scope="session")
def network() -> MultiTaskModel:
    """A small network of four tasks, whose depth is positive."""
    torch.manual_seed(0)
    model = create_model("multi_task", TASKS, backbone="test_resnet", neck="none")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") and "depth" in name and parameter.numel() == 1:
                parameter.fill_(2.0)
    return model.eval()


@pytest.fixture(scope="session")
def saved(network: MultiTaskModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder, as save_pretrained writes it."""
    folder = tmp_path_factory.mktemp("models") / "network"
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def onnx_file(network: MultiTaskModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as ONNX, with dynamic batch and fixed size 64 x 64."""
    onnx = pytest.importorskip("onnx")
    names = [task.name for task in network.tasks]
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            outputs = self.network(self.network.normalize(images))
            return tuple(outputs[name] for name in names)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on tracing, and on the exporter
        torch.onnx.export(
            Plain().eval(),
            (torch.rand(2, 3, 64, 64),),
            str(path),
            input_names=["images"],
            output_names=names,
            dynamic_axes={"images": {0: "batch"}},
            dynamo=False,  # the new exporter takes ten times as long
        )
    model = onnx.load(str(path))
    tasks = json.dumps([task.to_config() for task in network.tasks])
    onnx.helper.set_model_props(model, {"taskprism.tasks": tasks, "taskprism.license": "own"})
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="session")
def depth_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Depth Anything of relative depth, with random weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=28,
        patch_size=14,
        out_indices=[1, 2],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        reassemble_factors=[2, 1],
        neck_hidden_sizes=[8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
    )
    folder = tmp_path_factory.mktemp("transformers") / "depth"
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    size = {"height": 28, "width": 28}
    transformers.DPTImageProcessor(size=size, ensure_multiple_of=14).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    return folder


@pytest.fixture(scope="session")
def segmentation_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SegFormer with five classes, with random weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 8],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 1],
        mlp_ratios=[1, 1],
        decoder_hidden_size=16,
        id2label={0: "wall", 1: "floor", 2: "ceiling", 3: "cup", 4: "a/c"},
    )
    folder = tmp_path_factory.mktemp("transformers") / "segmentation"
    transformers.SegformerForSemanticSegmentation(config).eval().save_pretrained(folder)
    size = {"height": 64, "width": 64}
    transformers.SegformerImageProcessor(size=size).save_pretrained(folder)
    return folder
