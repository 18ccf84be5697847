"""Performance against resources: points, their ratios, table and plot."""

from pathlib import Path

import pytest

from taskprism.analysis.resource_plot import plot_resources, resource_points, resource_table
from taskprism.errors import InputError, UnknownNameError
from taskprism.scoring import RunResult
from taskprism.scoring.compare import compare


def run(name, scores, backbone="small", seed=0, parameters=4_000_000, macs=2_000_000_000):
    metrics = {"semseg": "miou", "depth": "rmse"}
    return RunResult(
        path=Path(f"{name}-{backbone}-{seed}-{'-'.join(scores)}"),
        name=name,
        model="single_task" if name.startswith("single") else name,
        backbone=backbone,
        protocol="toy",
        split="test",
        seed=seed,
        epoch=1,
        metrics={task: {metrics[task]: value} for task, value in scores.items()},
        higher_is_better={task: {metrics[task]: task == "semseg"} for task in scores},
        primary={task: metrics[task] for task in scores},
        parameters=parameters,
        macs=macs,
    )


SINGLE = [run("single_semseg", {"semseg": 0.5}), run("single_depth", {"depth": 1.0})]
METHODS = [
    run("mti_net", {"semseg": 0.6, "depth": 0.8}, parameters=6_000_000),
    run("multi_task", {"semseg": 0.4, "depth": 1.0}, macs=1_000_000_000),
]


def test_points_are_relative_to_all_single_task_networks():
    points = {point.name: point for point in resource_points(compare([*SINGLE, *METHODS]))}
    assert points["single"].gain.mean == 0 and points["single"].parameters == 8_000_000
    assert points["mti_net"].gain.mean == pytest.approx(20)
    assert points["mti_net"].parameter_ratio == pytest.approx(6 / 8)
    assert points["multi_task"].gain.mean == pytest.approx(-10)
    assert points["multi_task"].mac_ratio == pytest.approx(1 / 4)


def test_one_baseline_can_serve_several_backbones():
    """As in figure 5 of ASTMT: every variant against the best single-task networks."""
    large = [
        run("single_semseg", {"semseg": 0.8}, "large"),
        run("single_depth", {"depth": 0.5}, "large"),
    ]
    comparison = compare([*SINGLE, *large, *METHODS])
    points = {point.name: point for point in resource_points(comparison, "single (large)")}
    assert points["single (large)"].gain.mean == 0
    assert points["single (small)"].gain.mean == pytest.approx((-37.5 - 100) / 2)
    assert points["mti_net"].gain.mean == pytest.approx((-25 - 60) / 2)
    with pytest.raises(UnknownNameError, match=r"'single \(huge\)'"):
        resource_points(comparison, "single (huge)")


def test_missing_single_task_runs_are_reported_with_advice():
    with pytest.raises(InputError, match="--baseline"):
        resource_points(compare(METHODS))
    points = {point.name: point for point in resource_points(compare(METHODS), "multi_task")}
    assert points["mti_net"].gain.mean == pytest.approx((50 + 20) / 2)


def test_rows_without_size_are_left_out():
    unknown = run("pad_net", {"semseg": 0.5, "depth": 0.9}, parameters=None)
    names = {point.name for point in resource_points(compare([*SINGLE, *METHODS, unknown]))}
    assert names == {"single", "mti_net", "multi_task"}


def test_table_and_plot_show_every_method():
    again = [run("mti_net", {"semseg": 0.7, "depth": 0.8}, seed=1, parameters=6_000_000)]
    points = resource_points(compare([*SINGLE, *METHODS, *again]))
    table = resource_table(points, {"mti_net": 0.0123})
    (line,) = [line for line in table.splitlines() if line.startswith("| mti_net")]
    assert line == "| mti_net | small | 6.00 M | 0.75 | 2.00 G | 0.50 | 12.3 | +25.00 ± 7.07 |"
    assert "ms per image" not in resource_table(points)
    figure = plot_resources(points, "toy test")
    assert [axis.get_xlabel() for axis in figure.axes] == [
        "million parameters",
        "billion multiply-adds",
    ]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["single", "mti_net", "multi_task"]
