"""Released checkpoints of ASTMT: all variants are imported and give the same outputs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import taskprism
from interop.official_cases import ASTMT, PASCAL_ASTMT
from reference import astmt as reference
from reference.released_astmt import Variant
from taskprism.interop import import_official
from taskprism.models.inference import predict

# PyTorch warns for every tensor that an import without values copies nothing.
pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta")
MOBILE, FULL, NYUD = (
    ASTMT[f"astmt__{name}"]
    for name in (
        "pascal_se_mobilenet_v2_seenc_sedec",
        "pascal_se_resnet26_seenc_sedec_adapt",
        "nyud_se_resnet50_seenc_sedec_adapt",
    )
)
COMBINATIONS = list(itertools.product([True, False], repeat=4))


def own_tasks(variant: Variant) -> dict[str, int]:
    """Tasks by their names here, in another order than the released one."""
    named = [("saliency" if task == "sal" else task, n) for task, n in variant.tasks.items()]
    return dict(reversed(named))


def bring(variant: Variant, file: Path) -> Any:
    """Import without values."""
    shapes = variant.shapes()
    torch.save({name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}, file)
    with torch.device("meta"):
        model = import_official(file, "astmt", "astmt", own_tasks(variant))
    own = sum(torch.Size(shape).numel() for shape in shapes.values())
    assert sum(tensor.numel() for tensor in model.state_dict().values()) == own
    assert len(model.state_dict()) == len(shapes)
    return model


@pytest.mark.parametrize(
    ("variant", "backbone", "parameters"),
    [  # as published, without discriminators
        (FULL, "se_resnet26", 31_279_377 - 4_421),
        (NYUD, "se_resnet50", 45_018_606 - 39_172),
        (Variant(PASCAL_ASTMT, depth=101), "se_resnet101", 85_387_804),
        (MOBILE, "mobilenet_v2", 2_639_948),
    ],
)
def test_imported_backbone_and_number_of_parameters(
    variant: Variant, backbone: str, parameters: int, tmp_path: Path
) -> None:
    model = bring(variant, tmp_path / "file.pth")
    assert model.config["backbone"] == backbone
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(("se_encoder", "se_decoder", "adapters", "norm"), COMBINATIONS)
def test_every_combination_of_options_on_resnet(
    se_encoder: bool, se_decoder: bool, adapters: bool, norm: bool, tmp_path: Path
) -> None:
    variant = Variant(PASCAL_ASTMT, 26, se_encoder, se_decoder, adapters, norm)
    options = bring(variant, tmp_path / "file.pth").config["options"]
    assert (options["squeeze_encoder"], options["squeeze_decoder"]) == (se_encoder, se_decoder)
    assert (options["adapters"], options["encoder_norm_per_task"]) == (adapters, norm)


@pytest.mark.parametrize(
    ("se_encoder", "se_decoder", "norm"), list(itertools.product([True, False], repeat=3))
)
def test_every_combination_of_options_on_mobilenet(
    se_encoder: bool, se_decoder: bool, norm: bool, tmp_path: Path
) -> None:
    variant = Variant(PASCAL_ASTMT, None, se_encoder, se_decoder, False, norm)
    options = bring(variant, tmp_path / "file.pth").config["options"]
    assert (options["squeeze_encoder"], options["squeeze_decoder"]) == (se_encoder, se_decoder)
    assert (options["adapters"], options["encoder_norm_per_task"]) == (False, norm and se_encoder)


def values(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random tensors of moderate size."""
    generator = torch.Generator().manual_seed(4)
    state = {}
    for name, shape in shapes.items():
        noise = torch.rand(shape, generator=generator)
        if "num_batches" in name:
            state[name] = torch.zeros(shape, dtype=torch.long)
        elif "running_var" in name or (len(shape) == 1 and name.endswith("weight")):
            state[name] = noise + 0.5
        elif len(shape) > 1:
            state[name] = (noise - 0.5) * (12 / noise[0].numel()) ** 0.5
        else:
            state[name] = noise - 0.5
    return state


def with_aliases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """MobileNet's layers have second names, by whether they come before the low-level features."""
    aliases = {}
    for name, value in state.items():
        if name.startswith("features."):
            part = "low" if int(name.split(".")[1]) < 4 else "high"
            aliases[name.replace("features", f"features_{part}")] = value
    return {**state, **aliases}


@pytest.mark.parametrize(
    "variant",
    [
        FULL,
        MOBILE,
        Variant(PASCAL_ASTMT, 26, False, False, False),
        Variant(PASCAL_ASTMT, 26, False, True, False),
        Variant(PASCAL_ASTMT, 26, False, False, True, norm=False),
        Variant(PASCAL_ASTMT, 26, True, False, False, norm=False),
        Variant(PASCAL_ASTMT, None, False, True, False),
    ],
)
def test_outputs_match_the_reference(variant: Variant, tmp_path: Path, capsys) -> None:
    mobile = variant.depth is None
    state = values(variant.shapes())
    file = {**with_aliases(state), "discriminator.model.0.weight": torch.zeros(64, 64, 1, 1)}
    if variant == MOBILE:
        assert len(file) == 3_696 + 1  # as many as published
    torch.save(file, tmp_path / "model_epoch-59.pth")
    model = import_official(tmp_path / "model_epoch-59.pth", "astmt", "astmt", own_tasks(variant))
    messages = capsys.readouterr().err
    assert "dropped 1 tensors (discriminator.model.0.weight" in messages
    assert mobile == ("second names of layers" in messages)
    images = 255 * torch.rand(1, 3, 64, 64, dtype=torch.float64)
    double = {name: value.double() for name, value in state.items()}
    with torch.no_grad():
        single = model(images.float(), tasks=["saliency", "semseg"])
        exact = model.double()(images, tasks=["saliency", "semseg"])
        for task, released in (("saliency", "sal"), ("semseg", "semseg")):
            if mobile:
                low, high = reference.mobilenet_encoder(double, released, images)
            else:
                low, high = reference.resnet_encoder(double, released, images, variant.depth)
            expected = reference.decoder(double, released, low, high, (64, 64), mobile)
            assert expected.std() > 1e-3
            torch.testing.assert_close(exact[task], expected, rtol=1e-8, atol=1e-8)
            off = (single[task].double() - expected).norm() / expected.norm()
            assert off < 1e-4


def test_images_are_scaled_to_0_to_255(tmp_path: Path) -> None:
    state = values(MOBILE.shapes())
    torch.save(state, tmp_path / "file.pth")
    model = import_official(tmp_path / "file.pth", "astmt", "astmt", own_tasks(MOBILE))
    image = torch.rand(3, 64, 64)
    torch.testing.assert_close(model.normalize(image), 255 * image)
    task = next(task for task in model.tasks if task.name == "normals")
    with torch.no_grad():
        expected = task.decode(model(255 * image[None], tasks=["normals"])["normals"])[0]
    model.save_pretrained(tmp_path / "saved")
    for each in (model, taskprism.load(tmp_path / "saved")):
        answer = predict(each, image, tasks=["normals"])["normals"]
        torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)
