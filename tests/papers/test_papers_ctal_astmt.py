"""The tables of CTAL and ASTMT: sizes, learning rates and shared runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from taskprism.papers import load_table
from taskprism.papers.settings import row_recipe
from taskprism.scoring.resources import count_macs, count_parameters
from taskprism.training import Recipe, load_recipe
from taskprism.training.experiment import Experiment, build_experiment, build_protocol
from taskprism.training.optimizers import create_optimizer, learning_rate_factor
from taskprism.training.steps import rate_factors

DIRECT = {"model.options.distillation_options.method": "direct"}


def built(row: str, **overrides: Any) -> Experiment:
    """The experiment of a row, without values, which sizes do not need."""
    with torch.device("meta"):
        return build_experiment(load_recipe(row, {"model.pretrained": False, **overrides}))


def parameters_of(row: str) -> int:
    return count_parameters(built(row).model)


def macs_of(row: str, **overrides: Any) -> int:
    made = built(row, **overrides)
    return count_macs(made.model, made.protocol.input_size)


def printed(table: str, row: str, column: str = "flops") -> float:
    return load_table(table).row(row).paper[column]


def nameless(row: str) -> Recipe:
    return load_recipe(row, {"name": "row"})


#: Counts of the released code, or of its modules if there is no code for the row.
PARAMETERS = {
    "ctal/1/nyud_stl": 11_807_897,
    "ctal/1/cityscapes_ctal_ms": 8_474_086,
    "astmt/3b/multi_task": 19_255_449,
    "astmt/3b/adapters": 25_643_929,
    "astmt/3c/decoder": 19_283_276,
    "astmt/3e/r50_sea": 40_311_260,
    "astmt/4a/sea": 37_722_346,
    "astmt/6a/uber_sea": 36_452_159,
    "astmt/7/encoder_decoder": 2_639_948,
    # five single-task networks: the one for segmentation, with other numbers of outputs
    "astmt/3b/single_task": 5 * 19_259_396 - 65 * (5 * 21 - (1 + 21 + 7 + 3 + 1)),
}


@pytest.mark.parametrize("row", PARAMETERS)
def test_parameters_agree_with_the_released_code(row: str) -> None:
    assert parameters_of(row) == PARAMETERS[row]


def test_relative_parameters_of_ctals_table_5() -> None:
    table = load_table("ctal/5")
    base = parameters_of("ctal/5/stl")
    paper = {key: row.paper["parameters"] for key, row in table.rows.items() if key != "stl"}
    ours = {key: parameters_of(f"ctal/5/{key}") / base for key in paper}
    assert ours == pytest.approx(paper, abs=1.5e-3)


@pytest.mark.parametrize("row", ["mtl", "mti_net"])
def test_operations_of_ctals_table_5(row: str) -> None:
    """Multiply-adds for a batch of 8."""
    assert macs_of(f"ctal/5/{row}") * 8e-9 == pytest.approx(printed("ctal/5", row), rel=0.04)


@pytest.mark.parametrize("row", ["pap_net", "ctal_ss", "ctal_ms_8"])
def test_operations_of_ctals_table_5_with_explicit_affinities(row: str) -> None:
    ours = macs_of(f"ctal/5/{row}", **DIRECT) * 8e-9
    assert ours == pytest.approx(printed("ctal/5", row), rel=0.04)


@pytest.mark.parametrize("row", load_table("ctal/2").rows)
def test_parameters_on_a_transformer(row: str) -> None:
    expected = printed("ctal/2", row, "parameters")
    assert parameters_of(f"ctal/2/{row}") / 1e6 == pytest.approx(expected, abs=0.15)


def test_operations_on_a_transformer() -> None:
    assert 2e-9 * macs_of("ctal/2/ctal_ss") == pytest.approx(printed("ctal/2", "ctal_ss"), rel=0.02)


@pytest.mark.parametrize("row", ["stl", "mtl", "pad_net", "ctal_ss"])
def test_parameters_and_operations_are_swapped_in_ctals_table_3(row: str) -> None:
    swapped = row != "stl"
    expected = printed("ctal/3", row, "flops" if swapped else "parameters")
    assert parameters_of(f"ctal/3/{row}") / 1e6 == pytest.approx(expected, abs=0.15)
    assert ("flops" in load_table("ctal/3").row(row).misprints) == swapped


def test_operations_are_printed_as_parameters_in_ctals_table_3() -> None:
    expected = printed("ctal/3", "mtl", "parameters")
    assert 2e-9 * macs_of("ctal/3/mtl") == pytest.approx(expected, rel=0.02)


def learning_rates(row: str) -> set[float]:
    made = built(row)
    optimizer = create_optimizer(
        made.model, made.recipe.optimizer, rate_factors(made.recipe, made.model, None)
    )
    return {round(group["lr"], 6) for group in optimizer.param_groups}


@pytest.mark.parametrize(
    ("row", "rates"),
    [
        ("astmt/3b/single_task", {0.005}),
        ("astmt/3b/squeeze", {0.001, 0.005}),
        ("astmt/4a/single_task", {0.005}),
        ("astmt/4a/sea", {0.00125, 0.005}),
        ("astmt/4b/multi_task", {0.001667, 0.005}),
    ],
)
def test_learning_rate_of_shared_layers_is_divided_by_the_number_of_tasks(
    row: str, rates: set[float]
) -> None:
    assert learning_rates(row) == rates


def test_multi_scale_systems_use_restarts_on_cityscapes() -> None:
    for row, restarts in (("mti_net", True), ("ctal_ms", True), ("ctal_ss", False)):
        recipe = load_recipe(f"ctal/1/cityscapes_{row}")
        factor = learning_rate_factor(recipe.schedule, recipe.epochs, epoch=25, step=0, steps=1)
        assert (factor == 1) == restarts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ctal/5/ctal_ss", "ctal/1/nyud_ctal_ss"),
        ("ctal/4/cityscapes_ctal_ms", "ctal/1/cityscapes_ctal_ms"),
        ("ctal/8/ms_050", "ctal/9/ms_3"),
        ("astmt/3b/squeeze", "astmt/3d/modulation"),
        ("astmt/3e/r26_single_task", "astmt/3a/single_task"),
        ("astmt/5a/r50_sea", "astmt/4a/sea"),
        ("astmt/6c/sea", "astmt/5b/r50_sea"),
    ],
)
def test_rows_with_equal_recipes_share_a_run(one: str, other: str) -> None:
    assert nameless(one) == nameless(other)


@pytest.mark.parametrize("table", ["3a", "3b", "3c", "3d", "5a", "5b", "6a", "7"])
def test_rows_of_each_astmt_table_differ(table: str) -> None:
    rows = [
        nameless(f"astmt/{table}/{row}").model_dump_json()
        for row in load_table(f"astmt/{table}").rows
    ]
    assert len(set(rows)) == len(rows)


def test_only_rows_with_adversarial_training_have_a_discriminator() -> None:
    for table in ("3d", "4a", "6b"):
        for row in load_table(f"astmt/{table}").rows:
            recipe = load_recipe(f"astmt/{table}/{row}")
            assert (recipe.stepping.adversarial.weight > 0) == (
                "adversarial" in row or row.endswith("sea")
            )
            assert recipe.stepping.adversarial.kernel_size == (1 if table == "3d" else 3)


def test_other_data_keep_the_metrics_of_the_paper() -> None:
    """Edges by odsF and depth by its relative error, which are not the defaults of rooms."""
    recipes = [
        row_recipe(load_table(table), row, protocol="rooms", budget="tiny")
        for table, row in (("astmt/3b", "squeeze"), ("ctal/1", "nyud_mtl"), ("ctal/3", "mtl"))
    ]
    protocols = [build_protocol(recipe.data) for recipe in recipes if recipe is not None]
    primary = [{task.name: task.primary_metric for task in each.tasks} for each in protocols]
    assert (primary[0]["edge"], primary[0]["saliency"]) == ("odsf", "max_miou")
    assert "odsf" in protocols[0].task("edge").higher_is_better
    assert primary[1]["depth"] == "rel_error"
    assert (primary[2]["edge"], primary[2]["saliency"]) == ("loss", "max_f")
