"""From a run to a model on the hub, and back from the code in its card."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from tests.fake_hub import TOKEN, FakeHub

import taskprism
from taskprism.cli import main
from taskprism.errors import DataError, InputError
from taskprism.export import push_run, save_run
from taskprism.models.hub import load
from taskprism.recipes.files import validate
from taskprism.training import train

FILES = {"README.md", "config.json", "model.safetensors", "panel.png"}


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "shared"
    values = {
        "name": "shared",
        "model": {"name": "multi_task", "backbone": "test_resnet"},
        "data": {"protocol": str(tiny_data), "batch_size": 4},
        "tasks": ["semseg", "depth"],
        "epochs": 1,
    }
    values["model"]["options"] = {"neck_channels": 8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taskprism.training.scores.count_macs", lambda model, size: 1)
        return train(validate(values, source="test"), folder)


def single_task_run(run: Path, folder: Path, factor: float) -> Path:
    """Run of single-task networks whose scores are known multiples of those of ``run``."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoints", "pictures"))
    (folder / "image_states.npz").unlink()
    content = json.loads((run / "metrics.json").read_text())
    content |= {"run": "single_task", "model": "single_task"}
    for values in content["metrics"].values():
        values.update({name: factor * value for name, value in values.items() if value})
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


def test_the_card_states_scores_licenses_and_gain(run, tmp_path) -> None:
    manifest = run / "manifest.json"
    content = json.loads(manifest.read_text())
    content["licenses"]["weights"] = f"file {tmp_path}/weights.pth (license: mit)"
    manifest.write_text(json.dumps(content))
    other = single_task_run(run, tmp_path / "single_task", 0.5)
    folder = save_run(run, tmp_path / "out", "me/rooms", compare_with=[other], license="apache-2.0")
    assert {file.name for file in folder.iterdir()} == FILES
    card = ModelCard.load(folder / "README.md")
    data = card.data
    assert (data.license, data.library_name, data.model_name) == (
        "apache-2.0",
        "taskprism",
        "rooms",
    )
    assert data.pipeline_tag == "image-to-image" and {"semseg", "depth"} <= set(data.tags)
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    for task, values in metrics.items():
        for metric, value in values.items():
            if value is not None:
                assert f"| {task} | {metric} " in card.text and f"{value:.4f}" in card.text
    named = {result.metric_name: result.metric_value for result in data.eval_results}
    assert named["depth rmse"] == pytest.approx(metrics["depth"]["rmse"], abs=1e-6)
    assert "Protocol `tiny`, split `test`, weights of epoch 1 (last), seed 0." in card.text
    assert "- Data: made by a test" in card.text
    assert "- Initial weights: file weights.pth (license: mit)" in card.text
    assert "| epochs | 1 |" in card.text and "| main tasks | semseg, depth |" in card.text
    # Half of the error of depth and half of the mIoU: Δm = (+100 % - 100 %) / 2.
    assert "## Comparison" in card.text and "single_task" in card.text
    assert re.search(r"\| shared .*0\.00", card.text)
    for private in (str(tmp_path), str(run), "image07"):
        assert private not in card.content
    with Image.open(folder / "panel.png") as picture:
        assert picture.width > 3 * 300
    assert "![Predictions](panel.png)" in card.text


def test_a_run_is_uploaded_and_the_code_in_its_card_runs(
    run, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (60, 40), (90, 120, 30)).save("photo.jpg")
    with FakeHub() as hub:
        hub.redirect(monkeypatch, tmp_path / "cache")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        words = ["push", str(run), "me/rooms", "--private", "--picture", "photo.jpg"]
        assert main(words) == 0
        assert f"Uploaded {run} to {hub.url}/me/rooms/commit/" in capsys.readouterr().out
        assert set(hub.files("me/rooms")) == FILES and hub.models["me/rooms"].private
        card = ModelCard(hub.files("me/rooms")["README.md"].decode())
        assert "Rachel Michetti" not in card.text
        code = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)
        assert code is not None and len(code[1].split("\n\n")) == 2
        assert len([line for line in code[1].splitlines() if line]) == 5
        exec(compile(code[1], "README.md", "exec"), {})
        assert capsys.readouterr().out == "(40, 60)\n"
        assert Path("results/depth/photo.npy").is_file()
        words = ["predict", "me/rooms@main", "photo.jpg", "--out", "again", "--outputs", "arrays"]
        assert main(words) == 0
        first, again = Path("results/depth/photo.npy"), Path("again/depth/photo.npy")
        assert first.read_bytes() == again.read_bytes()
        assert main(["predict", "me/rooms@v2", "photo.jpg", "--out", "again"]) == 2
        assert "has no revision 'v2'" in capsys.readouterr().err


def test_a_saved_model_is_shared_without_scores(run, tmp_path, capsys) -> None:
    load(run).save_pretrained(tmp_path / "model")
    words = ["push", str(tmp_path / "model"), "me/rooms", "--save-to", str(tmp_path / "out")]
    assert main(words) == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES - {"panel.png"}
    assert "## Scores" not in (tmp_path / "out" / "README.md").read_text()
    assert taskprism.load(tmp_path / "out").input_size == (32, 32)


def test_scores_of_other_weights_are_refused(run, tmp_path) -> None:
    with pytest.raises(InputError, match=r"those of checkpoint 'last'.*--checkpoint best"):
        save_run(run, tmp_path / "out", "me/rooms", checkpoint="best")
    with pytest.raises(InputError, match="Cannot read the picture"):
        save_run(run, tmp_path / "out", "me/rooms", picture=run / "recipe.yaml")
    unfinished = shutil.copytree(run, tmp_path / "run")
    (unfinished / "metrics.json").unlink()
    with pytest.raises(DataError, match=r"has no metrics\.json"):
        push_run(unfinished, "me/rooms")
    assert not (tmp_path / "out").exists()
    assert yaml.safe_load((run / "recipe.yaml").read_text())["name"] == "shared"
