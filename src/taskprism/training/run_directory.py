"""The folder of a run: its files, its log and the training state in its checkpoints."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch

from taskprism.atomic import is_unfinished, recover_folder, write_bytes, write_text
from taskprism.data.create import absolute_protocol
from taskprism.data.label_subsets import LABEL_CHOICES
from taskprism.data.protocol import Split
from taskprism.errors import CheckpointError, RecipeError
from taskprism.recipes.files import load_recipe, read_mapping, to_yaml
from taskprism.recipes.schema import Recipe
from taskprism.scoring.runs import IMAGE_STATES_FILE
from taskprism.stores import Lease, MirroredFolder, is_url
from taskprism.training.run_lock import HOLDER_FILE, LOCK_FILE, RunLock

STATE_FILE = "training_state.pt"
CheckpointName = Literal["last", "best"]
_CONFIG = "config.json"
_DAMAGED = "damaged"
_LEFT_BEHIND = (LOCK_FILE, HOLDER_FILE)
#: Keys that a resumed run may change: they affect speed and places, or what happens where the run
#: would have stopped with an error, not results.
FREE_ON_RESUME = (
    "data.workers",
    "data.root",
    "data.on_bad_sample",
    "compile",
    "compile_backend",
    "fsdp",
    "max_skipped_steps",
    "stall_timeout",
    "trackers",
    "tracker_project",
    "tracker_options",
    "imports",
)
#: Keys that a resumed run may change to train longer or shorter than planned.
LENGTH_ON_RESUME = ("epochs", "early_stopping")


class RunDirectory:
    """The folder that a run writes.

    ======================  ====================================================================
    ``recipe.yaml``         resolved recipe
    ``manifest.json``       versions, git state, data, hardware, licenses, times
    ``log.jsonl``           one line per epoch and evaluation
    ``checkpoints/last/``   model, and the training state that ``--resume`` reads
    ``checkpoints/best/``   model of the best evaluation so far
    ``metrics.json``        final scores on the test split, or on val where there is no test split
    ``image_states.npz``    states of the metrics behind these scores, one per image
    ``pictures/``           panels of some test images
    ``trackers/``           files of experiment trackers, if the recipe names some
    ======================  ====================================================================

    A run at a URL (``s3://bucket/run``, or any other that fsspec opens) is written in a folder of
    the local cache. :meth:`fetch` and :meth:`upload` exchange that folder with the URL.

    Args:
        path: The folder; it need not exist yet. A URL must be text, not a path.

    Attributes:
        path: The folder, or the local copy of a URL.
        place: What was given, for messages.

    Example:
        >>> RunDirectory("runs/first").scores_file("val").name
        'metrics_val.json'
    """

    def __init__(self, path: str | Path) -> None:
        self._mirror = MirroredFolder(str(path)) if is_url(path) else None
        self.path = Path(path) if self._mirror is None else self._mirror.local
        self.place = str(path)
        self.recipe_file = self.path / "recipe.yaml"
        self.manifest_file = self.path / "manifest.json"
        self.metrics_file = self.path / "metrics.json"
        self.image_states_file = self.path / IMAGE_STATES_FILE
        self.pictures = self.path / "pictures"
        self.log = RunLog(self.path / "log.jsonl")
        lease = None if self._mirror is None else Lease(self._mirror.url)
        self.lock = RunLock(self.path, lease)

    def fetch(self) -> None:
        """Bring the local copy of a run at a URL up to date; a local run is as it is.

        Raises:
            CheckpointError: The URL cannot be read.
        """
        if self._mirror is not None:
            self._mirror.fetch()

    def upload(self) -> None:
        """Copy what has changed to the URL; a checkpoint there is replaced as a whole.

        Raises:
            CheckpointError: The URL cannot be written, or another process writes there by now. The
                local copy is complete, and the next upload tries again.
        """
        if self._mirror is not None:
            lease = self.lock.lease
            self._mirror.upload(None if lease is None or not lease.is_held else lease.check)

    def resume_command(self) -> str:
        """Command that continues this run."""
        recipe = f"{self.place}/recipe.yaml" if self._mirror is not None else str(self.recipe_file)
        place = shlex.quote(self.place)
        return f"taskprism train {shlex.quote(recipe)} --out {place} --resume"

    def scores_file(self, split: Split, scored_split: Split = "test") -> Path:
        """File of the scores of a split.

        Args:
            split: Which images.
            scored_split: Split whose scores are the result of the run
                (:attr:`~taskprism.data.Protocol.scored_split`); they are in ``metrics.json``, and
                those of another split in ``metrics_SPLIT.json``.
        """
        file = self.metrics_file
        return file if split == scored_split else self.path / f"{file.stem}_{split}{file.suffix}"

    def checkpoint(self, name: CheckpointName) -> Path:
        """Folder of a checkpoint, which need not exist."""
        return self.path / "checkpoints" / name

    def has_checkpoint(self, name: CheckpointName) -> bool:
        """Whether a complete checkpoint of that name exists."""
        folder = self.checkpoint(name)
        if not (folder / _CONFIG).is_file() and folder.parent.is_dir():
            with suppress(CheckpointError), self.lock.hold():  # a running process saves on its own
                recover_folder(folder)
        return (folder / _CONFIG).is_file()

    def find_checkpoint(self, name: CheckpointName) -> Path:
        """Folder of a checkpoint that exists.

        Raises:
            CheckpointError: It does not exist.
        """
        folder = self.checkpoint(name)
        if not self.has_checkpoint(name):
            raise CheckpointError(
                f"{self.place} has no checkpoint {name!r} ({folder}). Train it first: "
                "`taskprism train RECIPE --out DIR`."
            )
        return folder

    def recipe(self) -> Recipe:
        """The resolved recipe of this run, with absolute paths.

        Raises:
            CheckpointError: The folder is not a run directory, or its recipe is not complete.
            RecipeError: The recipe is damaged.
        """
        if not self.recipe_file.is_file():
            raise CheckpointError(f"{self.place} is not a run directory: it has no recipe.yaml.")
        missing = [key for key in ("model", "data") if key not in read_mapping(self.recipe_file)]
        if missing:
            raise CheckpointError(
                f"{self.recipe_file} is damaged: it has no key {', '.join(missing)}. Restore it, "
                "or start a new run."
            )
        recipe = load_recipe(self.recipe_file)
        started_in = self._manifest().get("folder")  # earlier runs recorded relative paths
        return recipe if started_in is None else absolute_paths(recipe, Path(str(started_in)))

    def data_fingerprint(self) -> str | None:
        """Fingerprint of the data that the run was trained on; None if none is recorded.

        Raises:
            CheckpointError: The manifest is broken.
        """
        fingerprint = self._manifest().get("data_fingerprint")
        return None if fingerprint is None else str(fingerprint)

    def chosen_on(self) -> str | None:
        """Split that chooses the best epoch of the run; None if it is not recorded.

        Raises:
            CheckpointError: The manifest is broken.
        """
        split = self._manifest().get("best_chosen_on")
        return None if split is None else str(split)

    def _manifest(self) -> dict[str, Any]:
        return read_manifest(self.manifest_file) if self.manifest_file.is_file() else {}

    def check_free(self) -> None:
        """Check that a new run may start here: the folder is empty, or nothing was trained yet.

        Raises:
            CheckpointError: The folder holds a run or other files.
        """
        if self.recipe_file.is_file():
            if self.has_checkpoint("last") or self.has_checkpoint("best"):
                raise CheckpointError(
                    f"{self.place} already holds a run. Add --resume to continue it, or choose "
                    "another --out for a new one."
                )
        elif self.path.exists() and (not self.path.is_dir() or any(self._other_files())):
            raise CheckpointError(f"{self.place} is not empty; choose another --out.")

    def _other_files(self) -> Iterator[Path]:
        """Files but those that a process leaves which ends before it has written the recipe."""
        for path in self.path.iterdir():
            if path.name not in _LEFT_BEHIND and not is_unfinished(path):
                yield path

    def check_resumable(self, recipe: Recipe, may_extend: bool = True) -> Recipe:
        """Check that the run in this folder can be resumed with ``recipe``.

        Args:
            recipe: Settings with which it would go on.
            may_extend: Whether the length may differ.

        Returns:
            The recipe that the run has so far; its length may differ.

        Raises:
            CheckpointError: The folder holds no run.
            RecipeError: The recipe differs from the one the run was started with, or has fewer
                epochs than are trained.
        """
        if not self.recipe_file.is_file():
            raise CheckpointError(
                f"{self.place} holds no run to resume; leave --resume out to start one there."
            )
        own = self.recipe()
        before = _flat(own.model_dump())
        now = _flat(absolute_paths(recipe).model_dump())
        changed = [
            f"{key} ({before.get(key)!r} -> {now.get(key)!r})"
            for key in dict.fromkeys([*before, *now])
            if before.get(key) != now.get(key)
            and not key.startswith(FREE_ON_RESUME + (LENGTH_ON_RESUME if may_extend else ()))
        ]
        if changed:
            raise RecipeError(
                f"The recipe is not the one {self.place} was started with; changed: "
                f"{', '.join(changed)}. Resume with `{self.resume_command()}`, or start a new run "
                "in another --out."
            )
        if recipe.epochs < own.epochs and self.has_checkpoint("last"):
            position = TrainingState.load(self.find_checkpoint("last")).position
            least = position.epoch + bool(position.batch)
            if recipe.epochs < least:
                raise RecipeError(
                    f"key 'epochs': epoch {least} of {self.place} is trained already; give {least} "
                    "or more."
                )
        return own

    def keep_scores(self, epoch: int) -> Path | None:
        """Rename the scores of a finished run that is trained further.

        Args:
            epoch: Epoch whose weights were scored.

        Returns:
            New name of ``metrics.json``; None if there is none.
        """
        if not self.metrics_file.is_file():
            return None
        for file in (self.image_states_file, self.metrics_file):
            if file.is_file():
                file.replace(file.with_stem(f"{file.stem}_epoch_{epoch}"))
        return self.metrics_file.with_stem(f"{self.metrics_file.stem}_epoch_{epoch}")

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe, with absolute paths so that it works from any folder."""
        write_text(self.recipe_file, to_yaml(absolute_paths(recipe)))


def absolute_paths(recipe: Recipe, folder: Path | None = None) -> Recipe:
    """Recipe in which no path depends on the working directory.

    Args:
        recipe: Its protocol, data root, pretrained weights, imports and options may be paths.
        folder: Folder that relative paths start from; by default the working directory.
    """
    base = Path() if folder is None else folder

    def absolute(path: str | Path) -> str | Path:
        return path if is_url(path) else (base / path).resolve()

    data, weights = recipe.data, recipe.model.pretrained
    labels = data.labels
    if labels not in LABEL_CHOICES and (base / labels).is_file():
        labels = str(absolute(labels))
    protocol, root = data.protocol, data.root
    if isinstance(protocol, str):
        protocol = absolute_protocol(protocol, base)
    else:
        protocol = [absolute_protocol(name, base) for name in protocol]
    if isinstance(root, Mapping):
        root = {name: absolute(path) for name, path in root.items()}
    elif root is not None:
        root = absolute(root)
    options = {
        key: str(absolute(value)) if _is_folder_option(key) and isinstance(value, str) else value
        for key, value in data.options.items()
    }
    if isinstance(weights, str) and (base / weights).exists():  # a package has no such path
        weights = str(absolute(weights))
    init = recipe.init
    if init is not None and (base / init).exists():  # a hub id has no such path
        init = str(absolute(init))
    imports = [str(absolute(name)) if name.endswith(".py") else name for name in recipe.imports]
    return recipe.model_copy(
        update={
            "imports": imports,
            "init": init,
            "model": recipe.model.model_copy(update={"pretrained": weights}),
            "data": data.model_copy(
                update={"protocol": protocol, "root": root, "options": options, "labels": labels}
            ),
        }
    )


def _is_folder_option(key: str) -> bool:
    return key == "root" or key.endswith("_root")


def read_manifest(file: Path) -> dict[str, Any]:
    """Content of ``manifest.json``.

    Raises:
        CheckpointError: The file is missing or broken.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} cannot be read: expected keys and values.")
    return content


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        elif value != {}:
            flat[f"{prefix}{key}"] = value
    return flat


class RunLog:
    """``log.jsonl``: an append-only log that can be cut back to the last checkpoint.

    Each line is a JSON object, of two kinds::

        {"event": "train", "epoch": 1, "step": 40, "lr": ..., "losses": {task: ...}, "seconds": ...,
         "skipped_steps": 0}
        {"event": "evaluate", "epoch": 1, "step": 40, "split": ..., "metrics": {task: {...}}}

    ``epoch`` counts finished epochs and ``step`` optimizer steps since the start of the run.

    Args:
        path: The file; it need not exist yet.

    Example:
        >>> import tempfile
        >>> log = RunLog(Path(tempfile.mkdtemp()) / "log.jsonl")
        >>> log.append({"event": "train", "epoch": 1, "total": float("nan")})
        >>> log.entries()
        [{'event': 'train', 'epoch': 1, 'total': None}]
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add an entry; a number that is not finite becomes null.

        Raises:
            CheckpointError: The file cannot be written.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(without_nan(entry), ensure_ascii=False) + "\n")
        except OSError as error:
            raise CheckpointError(f"Could not write {self.path}: {error}.") from error

    def entries(self) -> list[dict[str, Any]]:
        """All entries; a last line cut short by a crash is left out.

        Raises:
            CheckpointError: Another line is damaged.
        """
        found = []
        lines = self._lines()
        for number, line in enumerate(lines, start=1):
            entry = _entry(line)
            if entry is not None:
                found.append(entry)
            elif number < len(lines):
                raise CheckpointError(
                    f"Line {number} of {self.path} is damaged. Delete the line; the run itself "
                    "does not need it."
                )
        return found

    def __len__(self) -> int:
        return len(self._lines())

    def truncate(self, length: int) -> list[int]:
        """Delete the entries after the first ``length``: those of steps that are repeated.

        A damaged line is kept as the text of an entry ``{"event": "damaged", "text": ...}``.

        Returns:
            Numbers of the damaged lines.
        """
        before = self._lines()
        lines, damaged = before[:length], []
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()  # cut short by a crash
        for index, line in enumerate(lines):
            if _entry(line) is None:
                text = line.rstrip(b"\n").decode("utf-8", errors="backslashreplace")
                lines[index] = json.dumps({"event": _DAMAGED, "text": text}).encode() + b"\n"
                damaged.append(index + 1)
        if lines != before:
            write_bytes(self.path, b"".join(lines))
        return damaged

    def _lines(self) -> list[bytes]:
        if not self.path.exists():
            return []
        try:
            return self.path.read_bytes().splitlines(keepends=True)
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read: {error}.") from error


def _entry(line: bytes) -> dict[str, Any] | None:
    """Entry in a line of a log; None if it is damaged."""
    try:
        entry = json.loads(line)
    except ValueError:  # no JSON, or not UTF-8
        return None
    return entry if isinstance(entry, dict) else None


def without_nan(value: Any) -> Any:
    """Copy of nested plain values with None for numbers that JSON cannot store."""
    if isinstance(value, Mapping):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass
class Position:
    """Position in a run.

    Attributes:
        epoch: Finished epochs.
        batch: Finished batches of the epoch after those.
        step: Optimizer steps since the start.
        images: Images of that epoch in the finished batches of all processes.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    images: int = 0


@dataclass
class TrainingState:
    """Contents of ``training_state.pt``; plain values and tensors only.

    There is no state of random generators: every random number is seeded by its place in the run
    (:mod:`taskprism.training.feeding`).

    Attributes:
        position: Position in the run.
        optimizer: Its ``state_dict``.
        meter: Losses of the unfinished epoch.
        selection: State of the choice of the best evaluation.
        log_length: Lines of the log that belong to finished work.
        weights: Of the model in training, where the checkpoint's model is their moving average.
        average: ``state_dict`` of the moving average, where there is one.
        scaler: ``state_dict`` of the gradient scaler of fp16, where there is one.
        adversary: ``state_dict`` of the discriminator of gradients, where there is one.
        balancing: ``state_dict`` of the balancing of losses, where it has parameters or buffers.
        consistency: ``state_dict`` of the loss that links tasks, where there is one.
        skipped: Counts of skipped steps; None in checkpoints of earlier versions.
        bad_samples: Images that could not be read, where ``data.on_bad_sample`` is skip.
        callbacks: States of the callbacks.
        ended: Why training ended before the last epoch; None if it did not.
        label_statistics: Sums over the training labels, for tasks whose loss needs them.
    """

    position: Position
    optimizer: dict[str, Any]
    meter: dict[str, Any]
    selection: dict[str, Any]
    log_length: int
    weights: dict[str, Any] | None = None
    average: dict[str, Any] | None = None
    scaler: dict[str, Any] | None = None
    adversary: dict[str, Any] | None = None
    balancing: dict[str, Any] | None = None
    consistency: dict[str, Any] | None = None
    skipped: dict[str, int] | None = None
    bad_samples: dict[str, Any] | None = None
    callbacks: dict[str, Any] | None = None
    ended: str | None = None
    label_statistics: dict[str, torch.Tensor] | None = None

    def save(self, folder: Path) -> None:
        """Write into a checkpoint's folder."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        torch.save({**fields, "position": asdict(self.position)}, folder / STATE_FILE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read from a checkpoint's folder; no code in the file is run.

        Raises:
            CheckpointError: The file is missing or broken.
        """
        file = folder / STATE_FILE
        try:
            content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            if "optimiser" in content:  # the earlier spelling
                content["optimizer"] = content.pop("optimiser")
            content["position"] = Position(**content["position"])
            state = cls(**content)
            counts = (*asdict(state.position).values(), state.log_length)
            if not all(isinstance(count, int) and count >= 0 for count in counts):
                raise ValueError(f"position {state.position}, log_length {state.log_length!r}")
            state.selection["epoch"], state.meter["sums"], state.optimizer["param_groups"]
        except Exception as error:  # broken bytes raise nearly anything in the libraries
            raise state_error(file, error) from error
        return state


def state_error(file: Path, error: Exception) -> CheckpointError:
    """Error that says that a training state is damaged, and what can be done."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CheckpointError(
        f"{file} cannot be read ({reason}), so the run cannot be resumed. Its weights can still be "
        "scored with `taskprism evaluate`; start a new run in another --out to train further."
    )
