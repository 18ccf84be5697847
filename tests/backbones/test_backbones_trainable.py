"""Which part of a backbone is trained, at which rates, and what is kept for the backward pass."""

from __future__ import annotations

import timm
import torch
from pytest import approx, fixture, mark, raises
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from taskprism import create_model
from taskprism.backbones import Backbone, create_backbone, set_trainable, trunks
from taskprism.errors import InputError, RecipeError
from taskprism.recipes.files import validate
from taskprism.recipes.schema import OptimizerSettings
from taskprism.training.optimizers import parameter_groups

NORMS = (nn.BatchNorm2d, nn.LayerNorm)


def trained(module):
    return {name for name, p in module.named_parameters() if p.requires_grad}


def trunk_of(name):
    return create_backbone(name, neck="none")


@mark.parametrize(
    ("name", "number", "prefixes"),
    [
        ("test_resnet", 2, ("model.layer3", "model.layer4")),
        ("test_vit", 1, ("model.model.blocks.5", "model.model.norm", "model.model.fc_norm")),
        ("test_efficientnet", 1, ("model.blocks.3", "model.blocks.4", "model.bn2", "model.conv_h")),
        ("hrnet_w18_small_v2", 1, ("model.stage4", "model.transition3")),
    ],
)
def test_last_trains_the_last_stages_or_blocks(name, number, prefixes):
    trunk = trunk_of(name)
    everything = trained(trunk)
    trunk.set_trainable(f"last:{number}")
    chosen = trained(trunk)
    assert chosen
    assert all(each.startswith(prefixes) for each in chosen), sorted(chosen)[:3]
    assert sorted(chosen) == sorted(n for n in everything if n in trunk_names(trunk, number))


def trunk_names(trunk, number):
    return {name for names in trunk.layer_groups(coarse=True)[-number:] for name in names}


@mark.parametrize("name", ["test_resnet", "test_vit"])
def test_norms_trains_scales_and_shifts_only(name):
    trunk = trunk_of(name)
    trunk.set_trainable("norms")
    expected = {
        f"{path}.{key}"
        for path, module in trunk.named_modules()
        if isinstance(module, NORMS)
        for key, _ in module.named_parameters()
    }
    assert trained(trunk) == expected
    trunk.set_trainable("all")
    assert trained(trunk) == {key for key, _ in trunk.named_parameters()}


@fixture(scope="module")
def stages():
    torch.manual_seed(0)
    return create_model("multi_task", ["depth"], backbone="test_resnet", neck_channels=8)


def step(model, images):
    model.train()
    model.zero_grad()
    sum(output.mean() for output in model(images).values()).backward()


def test_frozen_layers_keep_weights_statistics_and_no_gradient(stages):
    trunk = stages.backbone.trunk
    set_trainable(stages, "last:1")
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    step(stages, torch.rand(2, 3, 32, 32))
    for name, parameter in trunk.named_parameters():
        assert (parameter.grad is not None) == name.startswith("model.layer4"), name
    changed = {n for n, value in trunk.state_dict().items() if not torch.equal(value, before[n])}
    assert changed  # the running statistics of the last stage
    assert all("layer4" in name for name in changed)
    assert all(p.grad is not None for p in stages.heads.parameters())
    set_trainable(stages, "last:1", freeze_batch_norm=True)
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    step(stages, torch.rand(2, 3, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
    assert any(p.grad is not None for p in trunk.parameters())
    set_trainable(stages, "all")


def test_a_frozen_backbone_keeps_no_activations(stages):
    """The bytes that autograd saves in the trunk, counted by its own hooks."""
    images, saved = torch.rand(2, 3, 64, 64), []
    hooks = saved_tensors_hooks(lambda t: saved.append(t.nbytes) or t, lambda t: t)
    totals = {}
    for part in ("all", "last:1", "none"):
        set_trainable(stages, part)
        stages.train()
        saved.clear()
        with hooks:
            maps = stages.backbone.trunk(images)
        totals[part] = sum(saved)
        assert all(each.requires_grad == (part == "all") for each in maps[:-1])
    assert totals["none"] == 0 < totals["last:1"] < 0.5 * totals["all"]
    modes = {module.training for module in stages.backbone.trunk.modules()}
    assert modes == {False}
    assert stages.heads.training
    set_trainable(stages, "all")
    assert {module.training for module in stages.backbone.trunk.modules()} == {True}
    assert not stages.eval().backbone.trunk.training


def test_frozen_encoders_pass_gradients_to_units_between_their_stages():
    model = create_model("cross_stitch", ["depth", "edge"], backbone="test_resnet")
    set_trainable(model, "none")
    assert list(trunks(model)) == ["backbones.depth", "backbones.edge"]
    step(model, torch.rand(2, 3, 32, 32))
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.units.parameters())
    assert all(p.grad is None for p in model.backbones.parameters())


def test_adapters_are_what_a_backbone_declares():
    options = {"backbone": "se_resnet14_quarter", "squeeze_encoder": False, "norm_per_task": False}
    model = create_model("astmt", ["depth", "edge"], adapters=True, **options)
    set_trainable(model, "adapters")
    chosen = trained(model.encoder)
    assert chosen == {n for n, _ in model.encoder.named_parameters() if ".adapter." in n} != set()
    step(model, torch.rand(2, 3, 32, 32))
    assert {n for n, p in model.encoder.named_parameters() if p.grad is not None} == chosen
    with raises(InputError, match="has no adapters"):
        set_trainable(create_model("astmt", ["depth"], adapters=False, **options), "adapters")


def test_low_rank_updates_are_adapters_of_their_layers():
    trunk = create_backbone("test_vit", neck="none", low_rank={"rank": 2})
    trunk.set_trainable("adapters")
    updates = {n for n, _ in trunk.named_parameters() if ".shared." in n or ".tasks." in n}
    assert trained(trunk) == updates != set()
    for number, names in enumerate(trunk.layer_groups(coarse=False)[1:]):
        assert all(f"blocks.{number}." in name for name in names if name in updates)


class Own(Backbone):
    channels, strides = (4,), (2,)

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1))
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)) for _ in range(3)
        )
        self.norm = nn.GroupNorm(1, 4)

    def forward(self, images):
        x = self.stem(images) + self.position
        for stage in self.stages:
            x = stage(x)
        return [self.norm(x)]


def test_groups_of_a_backbone_without_timm_follow_its_layers():
    own = Own()
    groups = own.layer_groups()
    assert [len(names) for names in groups] == [3, 4, 4, 6]
    assert groups[0] == ["position", "stem.weight", "stem.bias"]
    own.set_trainable("last:1")
    assert trained(own) == {
        *(f"stages.2.{layer}.{key}" for layer in (0, 1) for key in ("weight", "bias")),
        "norm.weight",
        "norm.bias",
    }
    with raises(InputError, match="has 4 groups of layers"):
        own.set_trainable("last:5")
    with raises(InputError, match="last:N"):
        own.set_trainable("first:1")


def test_an_unknown_part_is_an_error_of_the_recipe():
    with raises(RecipeError, match=r"backbone.trainable.*all, none, norms, adapters, or last:N"):
        validate({"backbone": {"trainable": "last:0"}}, source="test")


@mark.parametrize(
    ("name", "layers"),
    [
        ("test_resnet", [r"conv1|bn1", "layer1", "layer2", "layer3", "layer4"]),
        (
            "swin_tiny_patch4_window7_224",
            [
                r"patch_embed",
                *(f"layers.{s}.blocks.{b}" for s, n in enumerate((2, 2, 6, 2)) for b in range(n)),
            ],
        ),
    ],
)
def test_layer_decay_gives_each_layer_its_rate(name, layers):
    """lr * decay ** (layers after it), counted by hand from the names of timm's parameters."""
    with torch.device("meta"):
        model = create_model("multi_task", ["depth"], backbone=name, neck_channels=8)
        names = [n for n, _ in timm.create_model(name).named_parameters()]
    settings = OptimizerSettings(lr=1.0, backbone_lr_factor=0.5, layer_decay=0.8)
    rates = {id(p): g["lr"] for g in parameter_groups(model, settings) for p in g["params"]}
    trunk = dict(model.backbone.trunk.named_parameters())
    for index, layer in enumerate(layers):
        own = [n for n in names if any(n.startswith(f"{each}.") for each in layer.split("|"))]
        assert own
        for each in own:
            parameter = trunk["model." + each.replace("layers.", "layers_")]
            assert rates[id(parameter)] == approx(0.5 * 0.8 ** (len(layers) - index)), each
    for parameter in model.backbone.pyramid.parameters():
        assert rates[id(parameter)] == 0.5
    assert all(rates[id(parameter)] == 1.0 for parameter in model.heads.parameters())


def test_frozen_parameters_have_no_place_in_the_optimizer(stages):
    set_trainable(stages, "none")
    groups = parameter_groups(stages, OptimizerSettings())
    found = {id(p) for group in groups for p in group["params"]}
    assert found == {id(p) for p in stages.parameters() if p.requires_grad}
    assert not found & {id(p) for p in stages.backbone.trunk.parameters()}
    set_trainable(stages, "all")
