"""odsF of benchmarks: ground truth of edge scores, and reports of protocols."""

import json

import numpy as np
import pytest
import scipy.io
import torch
from skimage.morphology import thin
from torch import Tensor
from trees_nyud import write_nyud
from trees_pascal import TRAIN, VAL, write_pascal
from trees_single import write_bsds

from taskprism.cli import main
from taskprism.cli.data import pack_shards
from taskprism.data import create_protocol
from taskprism.data.checking import check_protocol
from taskprism.data.sample import collate
from taskprism.errors import DataError, InputError, UnknownNameError
from taskprism.metrics.boundaries import (
    BoundaryCounts,
    BoundaryScores,
    convention,
    score_folders,
)
from taskprism.recipes.files import validate
from taskprism.training import train

SMALL = {"input_size": [32, 32]}


def logits(sample, seed):
    """Somewhere near the label, at its own size: ``(1, 1, H, W)``."""
    target = sample["targets"]["edge"].as_subclass(Tensor)[None, :1]
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(seed))
    return 2 * target - 1 + 1.5 * noise


def edge_scores(protocol, samples, batch_size=1):
    task = protocol.task("edge")
    metrics = task.metrics()
    outputs = [logits(sample, seed) for seed, sample in enumerate(samples)]
    for start in range(0, len(samples), batch_size):
        batch = collate(samples[start : start + batch_size], [task])
        output = torch.cat(outputs[start : start + batch_size])
        task.update_metrics(metrics, output, batch.targets["edge"], batch.valid["edge"])
    return {key: value.item() for key, value in metrics.compute().items()}


def expected(samples, annotations, name):
    """The same from probabilities and the files' own content, by the functions for arrays."""
    chosen = convention(name)
    counts = BoundaryCounts.zero(len(chosen.thresholds))
    for seed, (sample, maps) in enumerate(zip(samples, annotations, strict=True)):
        probability = logits(sample, seed)[0, 0].sigmoid().numpy()
        counts += BoundaryCounts.of_image(probability, maps, chosen)
    return BoundaryScores.of(counts, chosen)


def assert_equal(found, scores):
    assert found["odsf"] == scores.ods_f
    assert found["oisf"] == scores.ois_f
    assert found["ap"] == scores.average_precision
    assert 0 < found["odsf"] < 1


@pytest.mark.parametrize("name", ["pascal", "pascal_survey"])
def test_pascal_is_scored_against_boundaries_of_context_labels(tmp_path, name):
    photos = write_pascal(tmp_path)
    options = {"edge_odsf": True, "edge_convention": name}
    protocol = create_protocol("pascal_context", root=tmp_path, tasks=["edge"], **options)
    samples = list(protocol.dataset("test"))
    found = edge_scores(protocol, samples)
    assert_equal(found, expected(samples, [[photos[one].context] for one in VAL], name))
    plain = create_protocol("pascal_context", root=tmp_path, tasks=["edge"])
    assert plain.task("edge").primary_metric == "loss"
    assert protocol.task("edge").primary_metric == "odsf"
    for one, other in zip(samples, plain.dataset("test"), strict=True):
        assert one["targets"]["edge"].shape[0] == 2
        assert torch.equal(one["targets"]["edge"][:1], other["targets"]["edge"])
    assert found["loss"] == edge_scores(plain, samples)["loss"]
    assert all(sample["targets"]["edge"].shape[0] == 1 for sample in protocol.dataset("train"))
    assert protocol.fingerprint() != plain.fingerprint()


def test_boundaries_of_context_labels_by_plain_loops(tmp_path):
    photos = write_pascal(tmp_path)
    protocol = create_protocol("pascal_context", root=tmp_path, tasks=["edge"], edge_odsf=True)
    labels = photos[VAL[0]].context.astype(int)
    wanted = np.zeros(labels.shape, dtype=bool)
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1]):
            window = labels[row : row + 2, column : column + 2]
            wanted[row, column] = (window != labels[row, column]).any()
    found = protocol.dataset("test")[0]["targets"]["edge"][1]
    assert np.array_equal(found.as_subclass(Tensor).numpy() > 0, thin(wanted))


@pytest.mark.parametrize("name", ["nyud40", "nyud41"])
def test_nyud_edges_are_scored_as_label_maps(tmp_path, name):
    made = write_nyud(tmp_path, "png")
    protocol = create_protocol(name, root=tmp_path, tasks=["edge"], edge_odsf=True)
    dataset = protocol.dataset("test")
    samples = list(dataset)
    maps = [[made[one].edge.astype(np.int64)] for one in dataset.names]
    assert_equal(edge_scores(protocol, samples), expected(samples, maps, "nyud"))


def test_bsds_is_scored_against_every_annotator(tmp_path):
    write_bsds(tmp_path / "data")
    protocol = create_protocol("bsds500", root=tmp_path / "data", edge_odsf=True)
    dataset = protocol.dataset("test")
    samples = list(dataset)
    assert [sample["targets"]["edge"].shape[0] for sample in samples] == [5, 6]
    found = edge_scores(protocol, samples)
    (tmp_path / "maps").mkdir()
    for seed, (name, sample) in enumerate(zip(dataset.names, samples, strict=True)):
        path = tmp_path / "maps" / f"{name.rpartition('/')[2]}.npy"
        np.save(path, logits(sample, seed)[0, 0].sigmoid().numpy())
    truth = tmp_path / "data/data/groundTruth/test"
    assert_equal(found, score_folders(tmp_path / "maps", truth, convention("default")))


def test_images_with_fewer_annotators_share_a_batch(tmp_path):
    write_bsds(tmp_path)
    options = {**SMALL, "edge_odsf": True, "evaluation": "network"}
    protocol = create_protocol("bsds500", root=tmp_path, **options)
    samples = list(protocol.dataset("test", protocol.evaluation_transform()))
    assert edge_scores(protocol, samples, 2) == edge_scores(protocol, samples, 1)


def test_edge_list_selects_the_scored_images(tmp_path):
    photos = write_pascal(tmp_path)
    (tmp_path / "test_new.txt").write_text(VAL[1] + "\n")
    options = {"edge_odsf": True, "edge_list": "test_new.txt"}
    protocol = create_protocol("pascal_context", root=tmp_path, tasks=["edge"], **options)
    samples = list(protocol.dataset("test"))
    maps = [[np.zeros_like(photos[VAL[0]].context)], [photos[VAL[1]].context]]
    scores = expected(samples, maps, "pascal")
    task = protocol.task("edge")
    metrics = task.metrics()
    for seed, sample in enumerate(samples):
        batch = collate([sample], [task])
        task.update_metrics(
            metrics, logits(sample, seed), batch.targets["edge"], batch.valid["edge"]
        )
    assert metrics["odsf"].images == 1
    assert scores.images == 2
    both = metrics["odsf"].scores()
    assert both.recall.tolist() == scores.recall.tolist()  # the other image has no boundary
    assert (both.precision >= scores.precision).all()
    options["edge_list"] = "nowhere.txt"
    with pytest.raises(DataError, match=r"nowhere\.txt cannot be read"):
        create_protocol("pascal_context", root=tmp_path, **options).dataset("test")


def test_packed_benchmarks_keep_their_annotators(tmp_path):
    write_bsds(tmp_path / "data")
    pack_shards("bsds500", tmp_path / "data", out=tmp_path / "packed", options=("edge_odsf=true",))
    plain = create_protocol("bsds500", root=tmp_path / "data", edge_odsf=True)
    packed = create_protocol("shards", root=tmp_path / "packed")
    assert packed.task("edge") == plain.task("edge")
    for split in ("train", "test"):
        for one, other in zip(packed.dataset(split), plain.dataset(split), strict=True):
            assert torch.equal(one["targets"]["edge"], other["targets"]["edge"])


def test_checks_look_at_the_labels_only(tmp_path):
    write_bsds(tmp_path)
    plain, scored = (
        check_protocol(create_protocol("bsds500", root=tmp_path, edge_odsf=scored))
        for scored in (False, True)
    )
    assert plain.problems == scored.problems
    assert plain.labels[0].mean.tolist() == scored.labels[0].mean.tolist()


def test_map_with_unexpected_values_raises(tmp_path):
    photos = write_pascal(tmp_path)
    context = photos[VAL[0]].context
    path = tmp_path / "pascal-context/trainval" / f"{VAL[0]}.mat"
    scipy.io.savemat(path, {"LabelMap": np.stack([context, context], axis=2)})
    protocol = create_protocol("pascal_context", root=tmp_path, tasks=["edge"], edge_odsf=True)
    with pytest.raises(DataError, match=f"{VAL[0]}.mat"):
        protocol.dataset("test")[0]
    assert len(protocol.dataset("train")) == len(TRAIN)


def test_any_protocol_scores_its_own_edges_by_options_of_its_tasks():
    changes = {"edge": {"odsf": True, "odsf_thresholds": 5, "primary_metric": "odsf"}}
    protocol = create_protocol(
        "rooms", tasks=["edge", "depth"], task_options=changes, input_size=(24, 32), test_length=2
    )
    assert protocol.tasks[0] == create_protocol("rooms").tasks[1]
    task = protocol.task("edge")
    assert len(task.boundary_convention.thresholds) == 5
    sample = protocol.dataset("test")[0]
    metrics = task.metrics()
    truth = sample["targets"]["edge"].as_subclass(Tensor)[None]
    task.update_metrics(metrics, 20 * truth - 10, truth, torch.ones_like(truth, dtype=torch.bool))
    scores = metrics["odsf"].scores()
    lines = thin(truth[0, 0].numpy() > 0)  # labels of rooms are two pixels wide
    assert metrics["odsf"].totals[1].tolist() == [lines.sum()] * 5
    assert scores.ods_f > 0.9
    assert task.higher_is_better == {"ap": True, "loss": False, "odsf": True, "oisf": True}
    with pytest.raises(InputError, match="no field odfs"):
        create_protocol("rooms", task_options={"edge": {"odfs": True}})
    with pytest.raises(InputError, match="channels of task 'depth' cannot be changed"):
        create_protocol("rooms", task_options={"depth": {"channels": 2}})
    with pytest.raises(UnknownNameError, match="edge"):
        create_protocol("rooms", task_options={"edges": {}})


@pytest.mark.slow
def test_evaluation_of_a_run_reports_odsf(tmp_path):
    write_bsds(tmp_path / "data")
    recipe = {
        "name": "tiny",
        "model": {
            "name": "multi_task",
            "backbone": "test_resnet",
            "options": {"neck_channels": 8},
        },
        "data": {
            "protocol": "bsds500",
            "root": str(tmp_path / "data"),
            "options": {**SMALL, "edge_odsf": True},
            "batch_size": 2,
        },
        "epochs": 1,
    }
    train(validate(recipe, source="test"), tmp_path / "run")
    results = json.loads((tmp_path / "run/metrics.json").read_text())
    assert results["primary"] == {"edge": "odsf"}
    assert set(results["metrics"]["edge"]) == {"ap", "loss", "odsf", "oisf"}
    assert 0 <= results["metrics"]["edge"]["odsf"] <= 1
    assert results["higher_is_better"]["edge"]["odsf"]


@pytest.mark.slow
def test_a_run_can_be_scored_by_odsf_afterwards(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("taskprism.training.scores.count_macs", lambda model, size: 1)  # slow
    write_bsds(tmp_path / "data")
    recipe = {
        "model": {
            "name": "multi_task",
            "backbone": "test_resnet",
            "options": {"neck_channels": 8},
        },
        "data": {
            "protocol": "bsds500",
            "root": str(tmp_path / "data"),
            "options": SMALL,
            "batch_size": 2,
        },
        "epochs": 1,
    }
    train(validate(recipe, source="test"), tmp_path / "run")
    before = json.loads((tmp_path / "run/metrics.json").read_text())
    assert set(before["metrics"]["edge"]) == {"loss"}
    words = ["evaluate", str(tmp_path / "run"), "--no-pictures", "--options", "edge_odsf=true"]
    assert main(words) == 0
    assert "odsf" in capsys.readouterr().out
    after = json.loads((tmp_path / "run/metrics.json").read_text())
    assert after["primary"] == {"edge": "odsf"}
    assert 0 <= after["metrics"]["edge"]["odsf"] <= after["metrics"]["edge"]["oisf"] <= 1
    assert after["metrics"]["edge"]["loss"] == pytest.approx(before["metrics"]["edge"]["loss"])
