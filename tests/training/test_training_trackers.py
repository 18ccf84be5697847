"""Trackers: what they get, and that a resumed run continues in them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from PIL import Image
from tests.reference.run_files import log

from taskprism.cli import main
from taskprism.errors import CheckpointError, InputError, RecipeError, UnknownNameError
from taskprism.progress import Reporter
from taskprism.recipes.files import validate
from taskprism.registry import temporary_parts
from taskprism.training import Trainer, train
from taskprism.training.tracking import Trackers, list_trackers, register_tracker, settings_of


class Notebook(GeneralTracker):
    """A tracker of a user, which writes lines into a file."""

    name = "notebook"
    requires_logging_directory = True

    def __init__(self, project: str, folder: str, run_id: str = "", title: str = "") -> None:
        super().__init__()
        self.run_id = run_id or "first"
        self.file = Path(folder, f"{self.run_id}.jsonl")
        self.write({"opened": project, "title": title, "resumed": bool(run_id)})

    def write(self, entry: dict[str, Any]) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    @property
    def tracker(self) -> Path:
        return self.file

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.write({"settings": values})

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.write({"step": step, "values": values})

    def log_images(self, values: dict[str, Any], step: int | None = None) -> None:
        shapes = {name: np.asarray(images).shape for name, images in values.items()}
        self.write({"step": step, "images": shapes})

    def finish(self) -> None:
        self.write({"closed": True})


OWN = f"{__name__}:Notebook"


@pytest.fixture(scope="module")
def tracked(tiny_data, tmp_path_factory) -> Path:
    """A run of three epochs that died after the second was tracked, before it was saved."""
    run = tmp_path_factory.mktemp("tracked") / "run"
    values = {
        "name": "tracked",
        "model": {
            "name": "multi_task",
            "backbone": "test_resnet",
            "options": {"neck_channels": 8},
        },
        "data": {"protocol": str(tiny_data), "batch_size": 4},
        "tasks": ["semseg", "depth"],
        "epochs": 3,
        "evaluate_every": 1,
        "trackers": ["mlflow", "tensorboard", OWN],
        "tracker_project": "papers",
        "tracker_options": {OWN: {"title": "mine"}, "mlflow": {"description": "a test"}},
    }
    recipe = validate(values, source="test")
    save = Trainer._save

    def die(self: Trainer, name: str) -> None:
        if self.learner.position.epoch == 2:
            raise CheckpointError("no space")
        save(self, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr("taskprism.training.scores.count_macs", lambda model, size: 1)
        patch.setattr("taskprism.training.run.write_pictures", lambda *arguments: [])
        patch.setattr(Trainer, "_save", die)
        with pytest.raises(CheckpointError, match="no space"):
            train(recipe, run)
        patch.setattr(Trainer, "_save", save)
        train(recipe, run, resume=True)
    return run


def expected(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Name -> step and value of every number, from the log of the run."""
    numbers: dict[str, list[tuple[int, float]]] = {}
    for entry in log(run):
        if entry["event"] == "train":
            found = {"lr": entry["lr"], "loss/total": entry["total"]}
            found |= {f"loss/{task}": loss for task, loss in entry["losses"].items()}
        else:
            found = {
                f"{entry['split']}/{task}/{metric}": value
                for task, values in entry["metrics"].items()
                for metric, value in values.items()
                if value is not None
            }
        for name, value in found.items():
            numbers.setdefault(name, []).append((entry["step"], value))
    assert "test/depth/rmse" in numbers and len(numbers["loss/total"]) == 3
    return numbers


def test_mlflow_has_every_number_once_with_settings_and_panels(tracked, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(tracked / "trackers" / "mlflow").as_uri())
    (experiment,) = client.search_experiments(filter_string="name = 'papers'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "tracked" and run.info.status == "FINISHED"
    assert run.data.tags["mlflow.note.content"] == "a test"
    assert run.data.params["optimizer.name"] == "adam" and run.data.params["epochs"] == "3"
    assert run.data.params["tasks"] == '["semseg", "depth"]'
    assert not [key for key in run.data.params if key.startswith("tracker_options")]
    for name, numbers in expected(tracked).items():
        history = client.get_metric_history(run.info.run_id, name)
        assert [each.step for each in history] == [step for step, _ in numbers], name
        assert [each.value for each in history] == pytest.approx([value for _, value in numbers])
    pictures = [
        each.path
        for each in client.list_artifacts(run.info.run_id, "images")
        if each.path.endswith(".png")
    ]
    assert len(pictures) == 3 * 3 and all("test~panels~image" in path for path in pictures)
    file = client.download_artifacts(run.info.run_id, pictures[0])
    with Image.open(file) as picture:
        assert picture.width > picture.height > 32


def test_tensorboard_has_every_number_once_and_panels(tracked) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tracked / "trackers" / "papers"
    assert len(list(folder.glob("events.out.tfevents.*"))) == 2  # two processes, one run
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    for name, numbers in expected(tracked).items():
        found = [(each.step, each.value) for each in events.Scalars(name)]
        assert found == [(step, pytest.approx(value)) for step, value in numbers], name
    panels = events.Tags()["images"]
    assert len(panels) == 3 and all(tag.startswith("test/panels/image") for tag in panels)
    steps = [step for step, _ in expected(tracked)["loss/total"]]
    assert [each.step for each in events.Images(panels[0])] == steps
    assert list(folder.rglob("hparams.yml"))


def test_your_own_tracker_continues_its_run(tracked) -> None:
    lines = (tracked / "trackers" / "first.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    opened = [entry for entry in entries if "opened" in entry]
    assert opened == [
        {"opened": "papers", "title": "mine", "resumed": False},
        {"opened": "papers", "title": "mine", "resumed": True},
    ]
    settings = [entry["settings"] for entry in entries if "settings" in entry]
    assert len(settings) == 1 and settings[0]["model.options.neck_channels"] == 8
    numbers = expected(tracked)
    values = [entry for entry in entries if "values" in entry]
    assert [entry["step"] for entry in values] == [step for step, _ in numbers["loss/total"]]
    for name, found in numbers.items():
        assert [entry["values"][name] for entry in values] == [value for _, value in found]
    images = [entry["images"] for entry in entries if "images" in entry]
    assert len(images) == 3 and all(len(each) == 3 for each in images)
    assert sum("closed" in entry for entry in entries) == 2


class Recorder(GeneralTracker):
    """Keeps what it gets; fails at the steps in ``failing``."""

    name = "recorder"
    requires_logging_directory = False
    made: list[Any] = []  # noqa: RUF012  the instances of a test
    failing: tuple[int, ...] = ()

    def __init__(self, project: str) -> None:
        super().__init__()
        self.seen: list[tuple[int, dict[str, Any]]] = []
        self.made.append(self)

    @property
    def tracker(self) -> None:
        return None

    def log(self, values: dict[str, Any], step: int = 0, **_: Any) -> None:
        if step in self.failing:
            raise ConnectionError("no network")
        self.seen.append((step, values))


class Lines(Reporter):
    """Keeps the lines."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def recorder(folder: Path, **changes: Any) -> tuple[Trackers, Lines]:
    recipe = validate({"trackers": [f"{__name__}:Recorder"], **changes}, source="test")
    lines = Lines()
    return Trackers(recipe, folder, Accelerator(cpu=True), lines), lines


def test_a_tracker_that_fails_is_reported_once_and_does_not_end_the_training(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(Recorder, "failing", (2, 3))
    trackers, lines = recorder(tmp_path)
    trackers.start()
    for step in (1, 2, 3, 4):
        trackers.log("epochs", {"a": step, "b": float("nan")}, step)
    assert Recorder.made[-1].seen == [(1, {"a": 1.0}), (4, {"a": 4.0})]
    assert len(lines.lines) == 1 and "no network Training continues." in lines.lines[0]


@pytest.mark.parametrize("state", ["", "[]", '{"x": 3}', None])
def test_steps_are_sent_once_per_kind_also_after_a_damaged_state(tmp_path, state) -> None:
    trackers, _ = recorder(tmp_path)
    trackers.start()
    trackers.log("epochs", {"a": 1}, 4)
    trackers.log("epochs", {"a": 2}, 4)
    trackers.log("scores", {"b": 3}, 4)
    assert [values for _, values in Recorder.made[-1].seen] == [{"a": 1.0}, {"b": 3.0}]
    trackers.finish()
    if state is not None:
        (tmp_path / "trackers" / "state.json").write_text(state)
    again, _ = recorder(tmp_path)
    again.start(resume=True)
    for stream in ("epochs", "scores"):
        again.log(stream, {"c": 4}, 4)
        again.log(stream, {"c": 5}, 5)
    steps = [step for step, _ in Recorder.made[-1].seen]
    assert steps == ([5, 5] if state is None else [4, 5, 4, 5])


def test_panels_are_drawn_for_trackers_only(tmp_path) -> None:
    trackers = Trackers(validate({}, source="test"), tmp_path, Accelerator(cpu=True), Lines())
    trackers.start()
    trackers.log("epochs", {}, 1, images=lambda: pytest.fail("drawn for nobody"))
    assert not (tmp_path / "trackers").exists()


def test_every_tracker_of_accelerate_is_known_and_a_missing_package_is_named(
    tmp_path, monkeypatch, capsys
) -> None:
    assert set(list_trackers()) >= set(LOGGER_TYPE_TO_CLASS)
    assert main(["list", "trackers"]) == 0
    assert "accelerate.tracking:MLflowTracker" in capsys.readouterr().out
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in LOGGER_TYPE_TO_CLASS:
        extra = f"'taskprism[{name}]'" if name in ("mlflow", "tensorboard", "wandb") else name
        with pytest.raises(RecipeError, match=r"the package .* is not installed: pip install") as e:
            train(validate({"trackers": [name]}, source="test"), tmp_path / "run")
        assert f"pip install {extra.replace('_', '-')}, or leave" in str(e.value)
    assert not (tmp_path / "run").exists()


def test_wrong_trackers_are_refused_before_the_run_starts(tmp_path, monkeypatch) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'mlflow'"):
        train(validate({"trackers": ["mlflw"]}, source="test"), tmp_path / "run")
    with pytest.raises(InputError, match="Expected a tracker"):
        train(validate({"trackers": ["json:JSONDecoder"]}, source="test"), tmp_path / "run")
    values = {"trackers": ["tensorboard"], "tracker_options": {"wandb": {"tags": ["a"]}}}
    with pytest.raises(RecipeError, match=r"options for 'wandb', which is not in 'trackers'"):
        train(validate(values, source="test"), tmp_path / "run")
    assert not (tmp_path / "run").exists()

    def refuse(self: Recorder, project: str) -> None:
        raise PermissionError("not logged in.")

    monkeypatch.setattr(Recorder, "__init__", refuse)
    with pytest.raises(InputError, match=r"Cannot start the tracker.*not logged in\. Log in as"):
        recorder(tmp_path)[0].start()


def test_the_command_takes_trackers_and_their_options(tmp_path, capsys, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr("taskprism.cli.train.train_recipe", lambda r, *_, **__: seen.append(r))
    with temporary_parts():
        register_tracker(Notebook)
        words = ["--tracker", "notebook", "tensorboard", "--tracker-project", "mine"]
        options = ["--tracker-options.notebook.title", "a b", "--tracker-options.notebook.tags"]
        out = ["--out", str(tmp_path / "run")]
        assert main(["train", "multi_task", *words, *options, "[x, y]", *out]) == 0
    assert seen[0].trackers == ["notebook", "tensorboard"] and seen[0].tracker_project == "mine"
    assert seen[0].tracker_options == {"notebook": {"title": "a b", "tags": ["x", "y"]}}
    assert settings_of(seen[0])["tracker_project"] == "mine"
    assert "notebook" in sys.modules[__name__].Notebook.name
