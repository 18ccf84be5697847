"""Every benchmark, in miniature: read, checked, trained on, evaluated and packed."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from trees import TREES

from taskprism.cli import main
from taskprism.data import PROTOCOLS, create_protocol
from taskprism.data.benchmarks.base import BenchmarkProtocol
from taskprism.data.checking import check_protocol
from taskprism.data.describing import describe_protocol
from taskprism.data.shards import pack
from taskprism.errors import DataError
from taskprism.recipes.files import validate
from taskprism.training import evaluate, train

every_tree = pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
BENCHMARKS = [e.part for e in PROTOCOLS.entries() if issubclass(e.part, BenchmarkProtocol)]


def counted(problems):
    return [text for text in problems if "the published set has" in text]


def words_of(options):
    return [f"{key}={value}" for key, value in options.items()]


def test_every_benchmark_and_layout_is_covered():
    assert {tree.protocol for tree in TREES.values()} == {kind.name for kind in BENCHMARKS}
    read = {(tree.protocol, tree.variant) for tree in TREES.values()}
    shared = {"mtan_plain"}  # the same files under another name; one is enough
    wanted = {(kind.name, v.name) for kind in BENCHMARKS for v in kind().variants()}
    left = {name for name in wanted - read if name[1] not in shared}
    assert left == {("nyud41", "png")}  # read as nyud40 by the same code


@every_tree
def test_is_checked(tree, tmp_path, capsys, monkeypatch):
    root, options = tree.make(tmp_path)
    protocol = create_protocol(tree.protocol, root=root, **options)
    report = check_protocol(protocol)
    assert report.problems == counted(report.problems)
    assert len(report.problems) == len(protocol.counts)  # a miniature is smaller than the set
    assert report.splits == report.opened == tree.counts
    assert report.variant.startswith(f"{tree.variant} (")
    assert [one.task.name for one in report.labels] == [task.name for task in protocol.tasks]
    for one in report.labels:
        assert one.images > 0
        assert 0.2 < one.share <= 1
        if one.counts_classes:
            assert int(one.classes.sum()) == one.labeled
        if one.task.target_type.is_direction:
            assert one.mean[2] > 0
            if tree.protocol.startswith("nyud"):
                assert (one.ground[1] / one.ground_pixels).item() > 0.9  # floors face up
        elif not one.counts_classes:
            assert 0 <= one.low < one.high

    monkeypatch.chdir(tmp_path)
    words = ["--options", *words_of(options)] if options else []
    assert main(["data", "check", tree.protocol, str(root), *words]) == (
        2 if protocol.counts else 0
    )
    out = capsys.readouterr().out
    assert f"{tree.protocol}, variant {tree.variant} (" in out
    for split, count in tree.counts.items():
        known = f" of {protocol.counts[split]}" if split in protocol.counts else ""
        assert f"{split}: {count}{known} samples, {count} opened" in out
    picture = np.array(Image.open(f"{tree.protocol}_check.png"))
    assert picture.ndim == 3
    assert picture.std() > 10


@every_tree
def test_every_missing_and_broken_file_is_listed(tree, tmp_path):
    root, options = tree.make(tmp_path)
    protocol = create_protocol(tree.protocol, root=root, **options)
    split = protocol.splits[0]
    data = protocol.dataset(split)
    first, last = data.names[0], data.names[-1]
    label = data.variant.labels[protocol.tasks[0].name]
    broken_image = data.variant.image_path(data.root, first)
    broken_image.write_bytes(broken_image.read_bytes()[:20])
    while (gone := label.paths(data.root, last)[0]).is_file():  # some labels have two places
        gone.unlink()
    report = check_protocol(protocol)
    found = [text for text in report.problems if text not in counted(report.problems)]
    assert len([text for text in found if text.startswith(f"{gone}: missing")]) == 1
    assert (
        len([text for text in found if str(broken_image) in text and "cannot be read" in text]) == 1
    )
    assert len(found) == 2


@every_tree
def test_folder_of_another_benchmark_is_recognized(tree, tmp_path):
    """The error says what every variant expects, what was found, and whose files these are."""
    others = [other for other in TREES.values() if other.protocol[:4] != tree.protocol[:4]]
    other = others[len(tree.protocol) % len(others)]
    root, _ = other.make(tmp_path)
    with pytest.raises(DataError) as caught:
        create_protocol(tree.protocol, root=root).dataset("test" if tree.tests is None else "train")
    text = str(caught.value)
    assert f"{root} is not {tree.protocol} in any known layout" in text
    for variant in create_protocol(tree.protocol).variants():
        assert f"  {variant.name} ({variant.summary}):" in text
    assert "expects " in text
    assert f"It fits {other.protocol}, variant {other.variant!r}." in text


@every_tree
def test_empty_folder_raises(tree, tmp_path):
    (tmp_path / "empty").mkdir()
    options = {} if tree.tests is None else {"test_root": str(tmp_path / "empty")}
    protocol = create_protocol(tree.protocol, root=tmp_path / "empty", **options)
    with pytest.raises(DataError, match=f"is not {tree.protocol} in any known layout"):
        protocol.dataset(protocol.splits[0])


@pytest.mark.parametrize("kind", BENCHMARKS, ids=lambda kind: kind.name)
def test_descriptions_are_complete(kind):
    text = describe_protocol(kind.name)
    for heading in ("Get it: ", "License: ", "Used by: ", "Tasks:", "Splits: ", "Conventions:"):
        start = text.index(heading) + len(heading)
        assert text[start : start + 20].strip()
    for variant in kind().variants():
        assert f"Variant {variant.name!r}: {variant.summary}" in text
        assert all(line in text for line in variant.tree.splitlines())
        for label in variant.labels.values():  # the tree shows the endings of all files
            assert label.files[0].rpartition(".")[2] in variant.tree


@every_tree
def test_is_packed_and_read_back(tree, tmp_path):
    root, options = tree.make(tmp_path)
    protocol = create_protocol(tree.protocol, root=root, **options)
    pack(protocol, tmp_path / "tars")
    shards = create_protocol("shards", root=tmp_path / "tars")
    assert (shards.name, shards.tasks, shards.splits) == (
        protocol.name,
        protocol.tasks,
        protocol.splits,
    )
    for split in protocol.splits:
        for one, other in zip(protocol.dataset(split), shards.dataset(split), strict=True):
            assert one["name"] == other["name"]
            assert one["targets"].keys() == other["targets"].keys()
            for name, target in one["targets"].items():
                valid = one["valid"][name].as_subclass(Tensor)
                assert torch.equal(valid, other["valid"][name].as_subclass(Tensor))
                values = target.as_subclass(Tensor) * valid
                assert torch.equal(values, other["targets"][name].as_subclass(Tensor))


#: One of each data set and archive; the others differ in names of files only, or cannot be trained.
ALIKE = ("nyud41-npy", "cityscapes19-plain", "cityscapes7-mtan", "fsv-intended", "voc12-train")
TRAINED = {
    name: tree for name, tree in TREES.items() if "train" in tree.counts and name not in ALIKE
}


@pytest.mark.slow
@pytest.mark.parametrize("tree", TRAINED.values(), ids=TRAINED)
def test_two_steps_and_an_evaluation(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("taskprism.training.scores.count_macs", lambda model, size: 1)  # slow
    root, options = tree.make(tmp_path)
    options = {"input_size": [32, 64], **options}
    recipe = {
        "name": "tiny",
        "model": {
            "name": "multi_task",
            "backbone": "test_resnet",
            "options": {"neck_channels": 8},
        },
        "data": {
            "protocol": tree.protocol,
            "root": str(root),
            "options": options,
            "batch_size": 2,
        },
        "epochs": 2 if tree.counts["train"] == 2 else 1,
    }
    run = tmp_path / "run"
    train(validate(recipe, source="test"), run)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in log) == 2
    results = json.loads((run / "metrics.json").read_text())
    assert results["protocol"] == tree.protocol
    protocol = create_protocol(tree.protocol, root=root, **options)
    for task in protocol.tasks:
        assert math.isfinite(results["metrics"][task.name][task.primary_metric])
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["data_fingerprint"] == protocol.fingerprint()
    assert manifest["licenses"]["data"] == protocol.license
    assert list((run / "pictures").glob("*.png"))
    if tree is TREES["nyud40-npy"]:  # the dedicated command gives the same
        for name, values in evaluate(run, pictures=False).items():
            assert values == pytest.approx(results["metrics"][name], nan_ok=True)
