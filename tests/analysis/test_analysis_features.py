"""Feature maps of tasks: which are collected, and their colors are principal components."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from taskprism.analysis.features import (
    choose_places,
    collect_features,
    feature_sheet,
    principal_pictures,
)
from taskprism.errors import InputError
from taskprism.models import create_model

TASKS = {"semseg": 5, "depth": 1, "normals": 3}
SIZE = (32, 48)
OPTIONS = {"neck_channels": 8}


def build(name, backbone="test_resnet", **options):
    return create_model(name, TASKS, backbone=backbone, **options).eval()


def kept(model, images):
    return {place.place: place for place in collect_features(model, images)}


@pytest.fixture
def images():
    return torch.rand(2, 3, *SIZE)


def test_features_of_mti_net_equal_outputs_of_its_modules(images):
    model = build("mti_net", **OPTIONS)
    places = kept(model, images)
    with torch.no_grad():
        maps = model.backbone(images)
        features, initial = model.front_end(maps)
        for scale, module in enumerate(model.distillations):
            refined = module(features[scale], initial[scale])
            for task in TASKS:
                own = places[f"front_end.heads.{scale}.*"]
                torch.testing.assert_close(own.tasks[task], features[scale][task])
                torch.testing.assert_close(own.shared, maps[scale])
                known = places[f"distillations.{scale}"].tasks[task]
                torch.testing.assert_close(known, refined[task])
    order = list(places)
    assert order[0] == "front_end.heads.3.*" and order[-1].startswith("heads.*")
    assert not any(module._forward_hooks for module in model.modules())


def test_features_of_astmt_are_those_of_each_task(images):
    model = build("astmt", "se_resnet14_quarter")
    places = kept(model, images)
    last = places["decoder.refine"]
    with torch.no_grad():
        for task in TASKS:
            expected = model.interface(images, [task])[task][-1]
            torch.testing.assert_close(last.tasks[task], expected)
    assert not torch.equal(last.tasks["depth"], last.tasks["normals"])


def test_shared_backbones_have_separate_places(images):
    model = build("multi_task", **OPTIONS)
    places = kept(model, images)
    maps = model.backbone(images)
    alone = [place for place in places.values() if not place.tasks]
    assert [place.shared.shape for place in alone] == [each.shape for each in maps[1:]]
    (together,) = [place for place in places.values() if place.tasks]
    torch.testing.assert_close(together.shared, maps[0])
    assert set(together.tasks) == set(TASKS)


def test_single_task_networks_show_their_backbones(images):
    places = kept(build("single_task", **OPTIONS), images)
    assert {"backbones.*[0]", "backbones.*[3]"} <= set(places)
    assert all(place.shared is None for place in places.values())


@pytest.mark.parametrize("name", ["pad_net", "atrc", "dense_mtl", "concat"])
def test_other_models_have_features_too(name, images):
    places = kept(build(name, **OPTIONS), images)
    assert sum(set(place.tasks) == set(TASKS) for place in places.values()) >= 2
    for place in places.values():
        widths = {each.shape[1] for each in place.tasks.values()}
        assert len(widths) <= 1
        assert all(each.ndim == 4 and len(each) == 2 for each in place.tasks.values())


def test_the_model_keeps_its_mode(images):
    model = build("multi_task", **OPTIONS).train()
    collect_features(model, images)
    assert model.training


def test_colors_are_principal_components_of_all_tasks_together():
    maps = {"a": torch.randn(6, 4, 5), "b": torch.randn(6, 3, 2) * 2 + 1}
    pictures, share = principal_pictures(maps)
    rows = np.concatenate([each.flatten(1).T.numpy() for each in maps.values()])
    reference = PCA(3).fit(rows)
    assert share == pytest.approx(reference.explained_variance_ratio_.sum(), abs=1e-5)
    components = reference.transform(rows)
    low, high = np.percentile(components, [1, 99], axis=0)
    unit = np.clip((components - low) / (high - low), 0, 1)
    drawn = np.concatenate([picture.reshape(-1, 3) for picture in pictures.values()]) / 255
    for channel in range(3):  # a component's sign is free
        error = min(
            abs(drawn[:, channel] - side).max() for side in (unit[:, channel], 1 - unit[:, channel])
        )
        assert error < 0.01
    assert pictures["a"].shape == (4, 5, 3) and pictures["b"].shape == (3, 2, 3)


def test_equal_features_have_equal_colors():
    same = torch.randn(7, 3, 4)
    pictures, _ = principal_pictures({"a": same, "b": same.clone(), "c": torch.randn(7, 3, 4)})
    assert (pictures["a"] == pictures["b"]).all()
    assert (pictures["a"] != pictures["c"]).any()


def test_maps_without_variance_or_of_few_channels_are_drawn():
    pictures, share = principal_pictures({"a": torch.ones(4, 3, 3)})
    assert share == 0 and (pictures["a"] == 128).all()
    pictures, share = principal_pictures({"a": torch.randn(1, 3, 3)})
    assert share == pytest.approx(1) and (pictures["a"][..., 1:] == 128).all()


def test_places_are_chosen_by_name_or_across_the_network(images):
    places = collect_features(build("mti_net", **OPTIONS), images)
    spread = choose_places(places, [], 3)
    assert [spread[0], spread[-1]] == [places[0], places[-1]] and len(spread) == 3
    distilled = choose_places(places, ["distillations.?", "front_end.heads.0.*"], 3)
    assert len(distilled) == 5
    with pytest.raises(InputError, match=r"matches 'encoder\*'. Places: front_end"):
        choose_places(places, ["encoder*"], 3)


def test_a_sheet_has_a_row_per_place_and_a_column_per_task(images):
    model = build("mti_net", **OPTIONS)
    small, large = (feature_sheet(model, images[0], rows=rows, title="one") for rows in (1, 3))
    assert small.dtype == np.uint8 and small.shape[1] == large.shape[1]
    assert large.shape[0] > small.shape[0]
    fewer = create_model("multi_task", {"depth": 1}, backbone="test_resnet", **OPTIONS)
    assert feature_sheet(fewer, images[0]).shape[1] < small.shape[1]
