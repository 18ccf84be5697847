"""Experiment trackers: all that accelerate knows, and your own.

:class:`Trackers` sends the numbers of each epoch, some pictures and the settings of a run to the
trackers that its recipe names. What a tracker needs beyond accelerate's interface (where it keeps
its files, how it continues a run, how it takes images) is a :class:`Connector`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from PIL import Image

from taskprism.atomic import write_json
from taskprism.errors import CheckpointError, InputError, RecipeError
from taskprism.extras import import_extra
from taskprism.progress import Reporter
from taskprism.recipes.schema import Recipe
from taskprism.registry import Registry

#: Trackers by name: those of accelerate, and registered ones.
TRACKERS: Registry[GeneralTracker] = Registry("tracker", GeneralTracker)
for _class in LOGGER_TYPE_TO_CLASS.values():
    TRACKERS.register(_class)

FOLDER = "trackers"  # in a run directory
_STATE = "state.json"
#: Draws the images of an evaluation: name -> ``(H, W, 3)`` uint8.
DrawImages = Callable[[], Mapping[str, np.ndarray]]

register_tracker = TRACKERS.register
"""Class decorator: make your own ``accelerate.tracking.GeneralTracker`` known by its ``name``."""


def list_trackers() -> list[str]:
    """Names of the trackers, sorted; the packages of some may be missing.

    Example:
        >>> "mlflow" in list_trackers()
        True
    """
    return TRACKERS.names()


class Connector:
    """How a run uses a tracker. This one is for your own classes.

    A class is created as accelerate does it: with the name of the project, then, if its
    ``requires_logging_directory`` is true, a folder, then the recipe's ``tracker_options`` as
    keywords. An attribute ``run_id`` of it is stored, and is passed as a keyword of that name when
    the run resumes, if the constructor takes one. A method
    ``log_images({name: [image]}, step=...)`` gets pictures.

    Attributes:
        package: Python package that must be installed; empty: none.
        pip: What pip installs for it; empty: the package.
    """

    package: ClassVar[str] = ""
    pip: ClassVar[str] = ""

    def options(self, folder: Path, name: str, project: str) -> dict[str, Any]:
        """Keywords for the tracker of a new run.

        Args:
            folder: Where it may keep files.
            name: Name of the run.
            project: Name of the project.
        """
        return {}

    def continued(self, run_id: str) -> dict[str, Any]:
        """Further keywords for the tracker of a resumed run."""
        return {"run_id": run_id}

    def prepare(self, folder: Path) -> None:
        """Called before the tracker is created."""

    def started(self, tracker: Any, name: str) -> None:
        """Called after the tracker has been started."""

    def run_id(self, tracker: Any) -> str | None:
        """What names the run in the tracker; None: it cannot be continued by name."""
        return getattr(tracker, "run_id", None)

    def log_images(self, tracker: Any, images: Mapping[str, np.ndarray], step: int) -> None:
        """Send pictures, ``(H, W, 3)`` uint8 by name."""
        if hasattr(tracker, "log_images"):
            tracker.log_images({name: [image] for name, image in images.items()}, step=step)


class _TensorBoard(Connector):
    """Its files of a resumed run are further files in the same folder."""

    package = "tensorboard"
    pip = "taskprism[tensorboard]"

    def continued(self, run_id: str) -> dict[str, Any]:
        return {}

    def log_images(self, tracker: Any, images: Mapping[str, np.ndarray], step: int) -> None:
        batches = {name: image[None] for name, image in images.items()}
        tracker.log_images(batches, step=step, dataformats="NHWC")


class _WandB(Connector):
    package = "wandb"
    pip = "taskprism[wandb]"

    def options(self, folder: Path, name: str, project: str) -> dict[str, Any]:
        return {"name": name, "dir": str(folder)}

    def continued(self, run_id: str) -> dict[str, Any]:
        return {"id": run_id, "resume": "allow"}

    def run_id(self, tracker: Any) -> str | None:
        return str(tracker.tracker.id)


class _MLflow(Connector):
    """Writes into the folder of the run unless MLflow has been told where its server is."""

    package = "mlflow"
    pip = "taskprism[mlflow]"
    _own: ClassVar[str] = ""

    def options(self, folder: Path, name: str, project: str) -> dict[str, Any]:
        return {"run_name": name}

    def prepare(self, folder: Path) -> None:
        mlflow = import_extra("mlflow", "mlflow", "The tracker mlflow")
        if not mlflow.is_tracking_uri_set() or mlflow.get_tracking_uri() == self._own:
            # MLflow 3 asks for a database by default, which its small package does not contain.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            type(self)._own = (folder / "mlflow").resolve().as_uri()
            mlflow.set_tracking_uri(self._own)

    def run_id(self, tracker: Any) -> str | None:
        return str(tracker.tracker.info.run_id)

    def log_images(self, tracker: Any, images: Mapping[str, np.ndarray], step: int) -> None:
        mlflow = import_extra("mlflow", "mlflow", "The tracker mlflow")
        for name, image in images.items():
            mlflow.log_image(Image.fromarray(image), key=name, step=step)


class _Comet(Connector):
    package = "comet_ml"
    pip = "comet-ml"

    def continued(self, run_id: str) -> dict[str, Any]:
        return {"experiment_key": run_id}

    def started(self, tracker: Any, name: str) -> None:
        tracker.tracker.set_name(name)

    def run_id(self, tracker: Any) -> str | None:
        return str(tracker.tracker.get_key())

    def log_images(self, tracker: Any, images: Mapping[str, np.ndarray], step: int) -> None:
        for name, image in images.items():
            tracker.tracker.log_image(image, name=name, step=step)


class _Aim(Connector):
    package = "aim"

    def options(self, folder: Path, name: str, project: str) -> dict[str, Any]:
        return {"experiment": project}

    def continued(self, run_id: str) -> dict[str, Any]:
        return {"run_hash": run_id}

    def started(self, tracker: Any, name: str) -> None:
        tracker.tracker.name = name

    def run_id(self, tracker: Any) -> str | None:
        return str(tracker.tracker.hash)

    def log_images(self, tracker: Any, images: Mapping[str, np.ndarray], step: int) -> None:
        pictures = {name: Image.fromarray(image) for name, image in images.items()}
        tracker.log_images(pictures, step=step)


class _ClearML(Connector):
    package = "clearml"

    def options(self, folder: Path, name: str, project: str) -> dict[str, Any]:
        # It would otherwise upload every file that torch.save writes.
        return {"project_name": project, "task_name": name, "auto_connect_frameworks": False}

    def continued(self, run_id: str) -> dict[str, Any]:
        return {"reuse_last_task_id": run_id, "continue_last_task": 0}  # steps keep their numbers

    def run_id(self, tracker: Any) -> str | None:
        return str(tracker.tracker.id)

    def log_images(self, tracker: Any, images: Mapping[str, np.ndarray], step: int) -> None:
        tracker.log_images(dict(images), step=step)


class _DVCLive(Connector):
    """Writes files only; a resumed run continues them."""

    package = "dvclive"

    def options(self, folder: Path, name: str, project: str) -> dict[str, Any]:
        return {"dir": str(folder / "dvclive"), "save_dvc_exp": False, "dvcyaml": None}

    def continued(self, run_id: str) -> dict[str, Any]:
        return {"resume": True}

    def run_id(self, tracker: Any) -> str | None:
        return "files"

    def log_images(self, tracker: Any, images: Mapping[str, np.ndarray], step: int) -> None:
        tracker.tracker.step = step
        for name, image in images.items():
            tracker.tracker.log_image(f"{name}.png", image)


class _SwanLab(Connector):
    package = "swanlab"

    def options(self, folder: Path, name: str, project: str) -> dict[str, Any]:
        return {"experiment_name": name, "logdir": str(folder / "swanlab")}

    def continued(self, run_id: str) -> dict[str, Any]:
        return {"id": run_id, "resume": "allow"}

    def run_id(self, tracker: Any) -> str | None:
        run = tracker.tracker
        return str(run.id if hasattr(run, "id") else run.public.run_id)  # earlier versions


class _Trackio(Connector):
    package = "trackio"

    def options(self, folder: Path, name: str, project: str) -> dict[str, Any]:
        return {"name": name, "resume": "never"}

    def continued(self, run_id: str) -> dict[str, Any]:
        return {"name": run_id, "resume": "allow"}

    def run_id(self, tracker: Any) -> str | None:
        return str(tracker.tracker.name)

    def log_images(self, tracker: Any, images: Mapping[str, np.ndarray], step: int) -> None:
        trackio = importlib.import_module("trackio")
        pictures = {name: trackio.Image(image) for name, image in images.items()}
        tracker.tracker.log(pictures, step=step)


_CONNECTORS: dict[str, Connector] = {
    "tensorboard": _TensorBoard(),
    "wandb": _WandB(),
    "mlflow": _MLflow(),
    "comet_ml": _Comet(),
    "aim": _Aim(),
    "clearml": _ClearML(),
    "dvclive": _DVCLive(),
    "swanlab": _SwanLab(),
    "trackio": _Trackio(),
}


def _connector(tracker: type[GeneralTracker]) -> Connector:
    name = str(getattr(tracker, "name", ""))
    is_known = LOGGER_TYPE_TO_CLASS.get(name) is tracker
    return _CONNECTORS.get(name, Connector()) if is_known else Connector()


def find_trackers(recipe: Recipe) -> dict[str, type[GeneralTracker]]:
    """Classes of the recipe's trackers, by their names in the recipe.

    Raises:
        UnknownNameError: There is no tracker of that name.
        RecipeError: The package of a tracker is not installed, or options are for a tracker that
            the recipe does not name.
    """
    found = {name: TRACKERS.find(name) for name in recipe.trackers}
    for name, tracker in found.items():
        known = _connector(tracker)
        if known.package and importlib.util.find_spec(known.package) is None:
            pip = f"'{known.pip}'" if "[" in known.pip else known.pip or known.package
            raise RecipeError(
                f"key 'trackers': the package {known.package!r} is not installed: pip install "
                f"{pip}, or leave {name!r} out of 'trackers'."
            )
    for name in recipe.tracker_options:
        if name not in found:
            raise RecipeError(
                f"key 'tracker_options': there are options for {name!r}, which is not in "
                f"'trackers' ({', '.join(found) or 'empty'})."
            )
    return found


class Trackers:
    """The trackers of a run. They run in the first process; in others nothing happens.

    Numbers that were sent before a run stopped are not sent again when it resumes, so each tracker
    sees every step once, in order. A tracker that fails during training is reported, and training
    goes on.

    Args:
        recipe: Names the trackers and the run.
        folder: Run directory.
        accelerator: Says which process is the first; trackers that you gave to it yourself get the
            same numbers.
        reporter: Reports trackers that fail.

    Example:
        >>> from accelerate import Accelerator
        >>> from taskprism.progress import Reporter
        >>> from taskprism.recipes import load_recipe
        >>> recipe = load_recipe("rooms/multi_task")
        >>> trackers = Trackers(recipe, Path("runs/a"), Accelerator(cpu=True), Reporter(quiet=True))
        >>> trackers.start()
        >>> trackers.log("epochs", {"val/depth/rmse": 0.5}, step=10)  # the recipe names none
    """

    def __init__(
        self, recipe: Recipe, folder: Path, accelerator: Accelerator, reporter: Reporter
    ) -> None:
        self.recipe = recipe
        self.folder = folder / FOLDER
        self.accelerator = accelerator
        self.reporter = reporter
        self._classes = find_trackers(recipe)
        self._running: dict[str, GeneralTracker] = {}
        self._state: dict[str, dict[str, Any]] = {}
        self._failed: set[str] = set()
        self.is_started = False

    def start(self, resume: bool = False) -> None:
        """Open the trackers and give them the settings of the run.

        Args:
            resume: Continue the runs in the trackers where there are some. Settings are given to
                new runs only.

        Raises:
            InputError: A tracker cannot be started.
        """
        if self.is_started:
            return
        self.is_started = True
        if not self._classes or not self.accelerator.is_main_process:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self._read_state() if resume else {}
        for name, tracker in self._classes.items():
            self._state[name] = before.get(name) or {"run_id": None, "logged": {}}
            try:
                self._running[name] = self._start(name, tracker)
                if name not in before:
                    self._running[name].store_init_configuration(settings_of(self.recipe))
            except Exception as error:  # the packages have no common base for their errors
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                raise InputError(
                    f"Cannot start the tracker {name!r}: {reason} Log in as its documentation "
                    "says, set --tracker-options, or leave it out of 'trackers'."
                ) from error
        self._write_state()

    def _start(self, name: str, tracker: type[GeneralTracker]) -> GeneralTracker:
        connector, recipe = _connector(tracker), self.recipe
        project, state = recipe.tracker_project, self._state[name]
        connector.prepare(self.folder)
        options = connector.options(self.folder, recipe.name, project)
        if state["run_id"] is not None:
            options |= connector.continued(state["run_id"])
        if "run_id" in options and not _takes(tracker, "run_id"):
            del options["run_id"]
        options |= recipe.tracker_options.get(name, {})
        wants_folder = getattr(tracker, "requires_logging_directory", False)
        place = [str(self.folder)] if wants_folder else []
        make: Any = tracker
        made = make(project, *place, **options)
        # In accelerate before 1.1, a tracker starts when it is created.
        if hasattr(made, "start"):
            made.start()
        connector.started(made, recipe.name)
        run_id = connector.run_id(made)
        state["run_id"] = None if run_id is None else str(run_id)
        return made

    @property
    def take_images(self) -> bool:
        """Whether there is a tracker to draw images for."""
        return bool(self._running)

    def log(
        self, stream: str, values: Mapping[str, float], step: int, images: DrawImages | None = None
    ) -> None:
        """Send numbers and pictures of a step, unless they have been sent before.

        Args:
            stream: Numbers of one kind, whose steps increase: ``"epochs"``, ``"scores"``.
            values: Numbers by name, such as ``val/depth/rmse``; those that are not finite are left
                out.
            step: Optimizer steps since the start of the run.
            images: Draws pictures; called only if a tracker takes them.
        """
        numbers = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        if self.accelerator.trackers:  # your own, of an accelerator that you made
            self.accelerator.log(numbers, step=step)
        drawn: Mapping[str, np.ndarray] | None = None
        for name, tracker in self._running.items():
            logged = self._state[name]["logged"]
            if step <= logged.get(stream, -1):
                continue
            try:
                tracker.log(numbers, step=step)
                if images is not None:
                    drawn = images() if drawn is None else drawn
                    _connector(type(tracker)).log_images(tracker, drawn, step)
            except Exception as error:  # a tracker never ends a training
                self._report(name, error)
            logged[stream] = step
        if self._running:
            with contextlib.suppress(CheckpointError):  # the next save of the run reports it
                self._write_state()

    def _report(self, name: str, error: Exception) -> None:
        if name not in self._failed:
            self._failed.add(name)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.reporter.line(f"Could not send numbers to {name}: {reason} Training continues.")

    def finish(self) -> None:
        """Close the trackers."""
        for name, tracker in self._running.items():
            try:
                tracker.finish()
            except Exception as error:
                self._report(name, error)
        self._running = {}
        self.is_started = False

    def _read_state(self) -> dict[str, dict[str, Any]]:
        """What was sent before; a file that is missing or damaged counts as nothing."""
        try:
            content = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
            return {
                name: {"run_id": each["run_id"], "logged": dict(each["logged"])}
                for name, each in content.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _write_state(self) -> None:
        write_json(self.folder / _STATE, self._state)


def settings_of(recipe: Recipe) -> dict[str, bool | int | float | str]:
    """All keys of a recipe joined by dots, with values that every tracker takes.

    Example:
        >>> from taskprism.recipes import load_recipe
        >>> settings_of(load_recipe("rooms/multi_task"))["optimizer.name"]
        'adam'
    """
    return dict(_flatten(recipe.model_dump(mode="json", exclude={"tracker_options"}), ""))


def _flatten(values: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            flat += _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float | str):
            flat.append((f"{prefix}{key}", value))
        else:
            flat.append((f"{prefix}{key}", "" if value is None else json.dumps(value)))
    return flat


def _takes(tracker: type[GeneralTracker], option: str) -> bool:
    parameters = inspect.signature(tracker).parameters.values()
    return any(each.name == option or each.kind is each.VAR_KEYWORD for each in parameters)
