"""Models on a hub that runs in this process: download, upload, and what can go wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants
from PIL import Image
from tests.fake_hub import READER, TOKEN, FakeHub

import taskprism
from taskprism.errors import CheckpointError, InputError
from taskprism.models import MultiTaskModel


@pytest.fixture(scope="module")
def model() -> MultiTaskModel:
    return taskprism.create_model(
        "multi_task", {"semseg": 5, "depth": 1}, backbone="test_resnet", neck_channels=8
    )


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.redirect(monkeypatch, tmp_path / "cache")
        yield hub


def test_a_model_is_uploaded_and_loaded_with_its_revision(hub, model, tmp_path) -> None:
    url = model.push_to_hub("me/rooms", token=TOKEN)
    assert url.startswith(f"{hub.url}/me/rooms/commit/")
    assert set(hub.files("me/rooms")) == {"README.md", "config.json", "model.safetensors"}
    model.input_size = (32, 48)
    try:
        model.push_to_hub("me/rooms", token=TOKEN, revision="v1", commit_message="Add size")
    finally:
        model.input_size = None
    assert hub.models["me/rooms"].messages == ["Upload model with taskprism", "Add size"]
    assert taskprism.load("me/rooms").input_size is None
    for loaded in (
        taskprism.load("me/rooms@v1"),
        taskprism.load("me/rooms", revision="v1"),
        type(model).from_pretrained("me/rooms", revision="v1", cache_dir=tmp_path / "other"),
    ):
        assert loaded.input_size == (32, 48)
        for name, value in model.state_dict().items():
            assert value.equal(loaded.state_dict()[name]), name
    assert (tmp_path / "other" / "models--me--rooms").is_dir()
    count = len(hub.requests)
    taskprism.load("me/rooms", revision="v1", local_files_only=True)
    assert len(hub.requests) == count
    card = ModelCard(hub.files("me/rooms")["README.md"].decode())
    assert card.data.library_name == "taskprism" and card.data.pipeline_tag == "image-to-image"
    assert "| semseg | semseg | 5 | - |" in card.text


def test_the_code_in_the_docs_runs(hub, model, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30)).save("photo.jpg")
    model.save_pretrained("model")
    hub.add("me/rooms", Path("model"), revision="v1")
    page = Path(__file__).parents[2] / "docs" / "hub.md"
    code = re.search(r"```{code-block} python\n(.*?)```", page.read_text(), re.DOTALL)
    assert code is not None
    exec(compile(code[1], str(page), "exec"), {})
    assert Path("results/panels/photo.png").is_file()


def test_a_private_model_needs_a_token(hub, model, monkeypatch) -> None:
    model.push_to_hub("me/secret", token=TOKEN, private=True)
    assert hub.models["me/secret"].private
    with pytest.raises(CheckpointError, match=r"no such model that you may read.*hf auth login"):
        taskprism.load("me/secret")
    assert taskprism.load("me/secret", token=READER).config == model.config
    monkeypatch.setenv("HF_TOKEN", READER)
    assert taskprism.load("me/secret").config == model.config
    assert TOKEN not in str(hub.files("me/secret"))


def test_errors_of_loading_say_what_to_do(hub, model, tmp_path, monkeypatch) -> None:
    model.save_pretrained(tmp_path / "model")
    hub.add("me/rooms", tmp_path / "model")
    hub.add("me/gated", tmp_path / "model").gated = True
    hub.add("me/other", {"README.md": b"of another library"})
    for hub_id, options, message in [
        ("me/none", {}, "No folder is named 'me/none', and the hub has no such model"),
        ("me/rooms", {"revision": "v9"}, "has no revision 'v9'. Give a branch, tag or commit"),
        ("me/gated", {"token": READER}, f"Accept its terms at {hub.url}/me/gated, and log in"),
        ("me/rooms", {"local_files_only": True}, "Load it once without local_files_only"),
        ("me/other", {}, "holds no model of taskprism: it has no config.json"),
        ("me/a--b", {}, "no valid id of the hub"),
    ]:
        with pytest.raises(CheckpointError, match=re.escape(message)):
            taskprism.load(hub_id, **options)
    for status, message in [(403, "refuses to send it (status 403)"), (503, "(status 503)")]:
        hub.status = status
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
        with pytest.raises(CheckpointError, match=re.escape(message)):
            taskprism.load("me/rooms")
    hub.status = None
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="Unset HF_HUB_OFFLINE once"):
        taskprism.load("me/rooms")


def test_without_a_connection_the_cache_is_used(model, tmp_path, monkeypatch) -> None:
    model.save_pretrained(tmp_path / "model")
    with FakeHub() as hub:
        hub.redirect(monkeypatch, tmp_path / "cache")
        hub.add("me/rooms", tmp_path / "model")
        taskprism.load("me/rooms")
    assert taskprism.load("me/rooms").config == model.config
    with pytest.raises(CheckpointError, match=r"did not send it \(ConnectError\). Check the conn"):
        taskprism.load("me/rooms", cache_dir=tmp_path / "empty")
    with pytest.raises(CheckpointError, match=r"Cannot upload to 'me/rooms'.*Check the id and"):
        model.push_to_hub("me/rooms", token=TOKEN)


def test_errors_of_uploading_say_what_to_do(hub, model) -> None:
    with pytest.raises(CheckpointError, match=r"you are not logged in.*hf auth login"):
        model.push_to_hub("me/rooms")
    with pytest.raises(CheckpointError, match=r"may not write there.*token with write access"):
        model.push_to_hub("me/rooms", token=READER)
    for wrong in ("rooms", "me/rooms@v1", "me/a/b", "../rooms/x"):
        with pytest.raises(InputError, match="Expected an id of the hub, owner/name"):
            model.push_to_hub(wrong, token=TOKEN)
    model.push_to_hub("me/rooms", token=TOKEN)
    with pytest.raises(InputError, match="exists already and is public"):
        model.push_to_hub("me/rooms", token=TOKEN, private=True)
    assert len(hub.models["me/rooms"].messages) == 1


def test_an_upload_leaves_out_everything_but_the_model(hub, model, tmp_path) -> None:
    model.save_pretrained(tmp_path / "last")
    for name in ("training_state.pt", ".env", "recipe.yaml", "sub/panel.png"):
        (tmp_path / "last" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "last" / name).write_text("secret")
    (tmp_path / "last" / "panel.png").write_bytes(b"picture")
    taskprism.models.hub_client.push_folder(tmp_path / "last", "me/rooms", token=TOKEN)
    assert set(hub.files("me/rooms")) == {
        "README.md",
        "config.json",
        "model.safetensors",
        "panel.png",
    }


def test_the_hub_knows_the_kind_of_a_model_of_one_task(tmp_path) -> None:
    for task, tag in [("depth", "depth-estimation"), ("saliency", "image-segmentation")]:
        model = taskprism.create_model(
            "multi_task", {task: None}, backbone="test_resnet", neck_channels=8
        )
        model.save_pretrained(tmp_path / task)
        assert ModelCard.load(tmp_path / task / "README.md").data.pipeline_tag == tag
