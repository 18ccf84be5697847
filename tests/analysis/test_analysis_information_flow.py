"""Information flow: scores at every scale, kept in the run until its weights change."""

import json

import pytest
import torch
from torch.nn import functional

from reference.untrained_runs import SIZE, make_run
from taskprism.analysis.features import stride_of
from taskprism.analysis.information_flow import (
    FILE,
    flow_gain,
    flow_statistic,
    information_flow,
    places,
    plot_flow,
    score_flow,
)
from taskprism.data import create_protocol
from taskprism.data.sample import collate
from taskprism.errors import DataError, InputError
from taskprism.models.hub import load
from taskprism.progress import Reporter

TASKS = ["semseg", "depth"]
QUIET = Reporter(quiet=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("flow") / "run", "mti_net", TASKS)


@pytest.fixture(scope="module")
def flow(run):
    return information_flow(run, reporter=QUIET)


def test_every_scale_is_scored_like_the_final_output(run, flow):
    """Against all images at once, upsampled and scored one scale at a time."""
    assert list(flow) == [4, 8, 16, 32, "final"]
    protocol = create_protocol("rooms", input_size=SIZE, test_length=3)
    dataset = protocol.dataset("test", protocol.evaluation_transform())
    model = load(run / "checkpoints" / "last")
    batch = collate([dataset[i] for i in range(3)], model.tasks)
    with torch.no_grad():
        outputs = model(model.normalize(batch.images))
    for place, predictions in zip(flow, [*outputs.initial, outputs], strict=True):
        for task in model.tasks:
            large = functional.interpolate(predictions[task.name], SIZE, mode="bilinear")
            metrics = task.metrics()
            metrics.update(task.decode(large), batch.targets[task.name], batch.valid[task.name])
            expected = {
                key: pytest.approx(float(v), rel=1e-4) for key, v in metrics.compute().items()
            }
            assert flow[place][task.name] == expected


def test_scores_are_kept_until_the_weights_change(run, flow, monkeypatch):
    calls = []
    original = score_flow
    monkeypatch.setattr(
        "taskprism.analysis.information_flow.score_flow",
        lambda *arguments: calls.append(1) or original(*arguments),
    )
    assert information_flow(run, reporter=QUIET) == flow and not calls
    assert information_flow(run, refresh=True, reporter=QUIET) == flow and len(calls) == 1
    file = run / FILE
    content = json.loads(file.read_text())
    assert content["primary"] == {"semseg": "miou", "depth": "rmse"} and content["split"] == "test"
    file.write_text(json.dumps(content | {"weights": "of another epoch"}))
    assert information_flow(run, reporter=QUIET) == flow and len(calls) == 2
    file.write_text("{")
    with pytest.raises(DataError, match="Delete it"):
        information_flow(run, reporter=QUIET)
    del content["metrics"]
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="not complete"):
        information_flow(run, reporter=QUIET)
    file.unlink()


def test_models_without_initial_predictions_are_refused_with_advice(tmp_path):
    run = make_run(tmp_path / "run", "multi_task", ["depth"])
    with pytest.raises(InputError, match=r"no initial predictions. Train a model .* mti_net"):
        information_flow(run, reporter=QUIET)
    assert not (run / FILE).exists()


@pytest.mark.parametrize(
    ("image", "maps", "stride"),
    [
        ((144, 192), (5, 6), 32),
        ((96, 128), (24, 32), 4),
        ((480, 640), (15, 20), 32),
        ((288, 384), (48, 64), 6),
        ((33, 47), (9, 12), 4),
        ((40, 40), (40, 40), 1),
    ],
)
def test_strides_are_found_from_rounded_sizes(image, maps, stride):
    assert stride_of(image, maps) == stride


FLOWS = [
    {4: {"a": {"m": 0.4}, "b": {"e": 2.0}}, "final": {"a": {"m": 0.6}, "b": {"e": 1.0}}},
    {4: {"a": {"m": 0.6}}, "final": {"a": {"m": 0.8}, "b": {"e": 0.5}}},
]


def test_gains_and_spreads_are_over_the_runs_that_have_all_tasks():
    primary, better = {"a": "m", "b": "e"}, {"a": True, "b": False}
    assert places([*FLOWS, {32: {}}]) == [32, 4, "final"]
    mean = flow_statistic(FLOWS, 4, "a", "m")
    assert mean.mean == pytest.approx(0.5) and mean.count == 2
    baselines = [{"a": 0.5, "b": 1.0}] * 2
    final = flow_gain(FLOWS, "final", baselines, primary, better)
    assert final.mean == pytest.approx(((20 + 0) / 2 + (60 + 50) / 2) / 2)
    own = flow_gain(FLOWS, "final", [{"a": 0.5, "b": 1.0}, {"a": 0.8, "b": 0.5}], primary, better)
    assert own.mean == pytest.approx(((20 + 0) / 2 + 0) / 2)
    coarse = flow_gain(FLOWS, 4, baselines, primary, better)
    assert coarse.count == 1 and coarse.mean == pytest.approx((-20 - 100) / 2)
    assert flow_gain(FLOWS, 4, [{}, {}], primary, better) is None


def test_the_plot_has_a_panel_per_task_and_one_for_the_gain():
    primary, better = {"a": "m", "b": "e"}, {"a": True, "b": False}
    assert len(plot_flow(FLOWS, primary, better).axes) == 2
    figure = plot_flow(FLOWS, primary, better, [{"a": 0.5, "b": 1.0}] * 2, "title")
    assert len(figure.axes) == 3
    labels = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert labels == ["1/4", "final"]
