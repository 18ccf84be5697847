"""PASCAL-Context, the single-task sets and shards: two steps of training, then evaluation."""

import json
import math

import pytest
from trees_pascal import write_pascal
from trees_single import (
    write_bsds,
    write_fsv,
    write_msra10k,
    write_pascal_s,
    write_sbd,
    write_voc,
)

from taskprism.cli.data_pack import pack_shards
from taskprism.data import create_protocol
from taskprism.training import train
from taskprism.training.recipe_files import validate


def write_packed(root):
    write_pascal(root.parent / "plain")
    options = ("input_size=[32,32]", "evaluation=network")
    pack_shards("pascal_context", root.parent / "plain", out=root, options=options)


def write_both(root):
    write_msra10k(root)
    write_pascal_s(root.parent / "tests")


CASES = {
    "pascal_context": write_pascal,
    "fsv": write_fsv,
    "voc12": write_voc,
    "sbd": write_sbd,
    "msra10k": write_both,
    "bsds500": write_bsds,
    "shards": write_packed,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_steps_and_an_evaluation(tmp_path, name):
    root = tmp_path / "data"
    CASES[name](root)
    options = {} if name == "shards" else {"input_size": [32, 32]}
    if name == "msra10k":
        options["test_root"] = str(tmp_path / "tests")
    recipe = {
        "name": "tiny",
        "model": {
            "name": "multi_task",
            "backbone": "test_resnet",
            "options": {"neck_channels": 8},
        },
        "data": {"protocol": name, "root": str(root), "options": options, "batch_size": 2},
        "epochs": 1,
    }
    run = tmp_path / "run"
    train(validate(recipe, source="test"), run)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in log) >= 1
    results = json.loads((run / "metrics.json").read_text())
    protocol = create_protocol(name, root=root, **options)
    assert results["protocol"] == protocol.name
    for task in protocol.tasks:
        assert math.isfinite(results["metrics"][task.name][task.primary_metric])
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["data_fingerprint"] == protocol.fingerprint()
