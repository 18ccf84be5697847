"""Initial weights of a model from a trained one that may have other tasks, classes or layers."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from taskprism.backbones import Backbone
from taskprism.backbones.sources import from_file
from taskprism.backbones.trainable import trunks
from taskprism.backbones.weights import ENOUGH, plain_name
from taskprism.errors import CheckpointError, TaskprismError
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import (
    CONFIG,
    WEIGHTS,
    CheckpointChoice,
    find_model_folder,
    read_config,
    run_manifest,
)
from taskprism.models.parts import BACKBONE, model_parts, saved_part
from taskprism.registry import import_parts
from taskprism.stores import is_url
from taskprism.tasks import task_from_config
from taskprism.tasks.base import Task
from taskprism.text_table import TextTable

_WRAPPERS = ("module.", "_orig_mod.", "model.", "network.")
_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_BACKBONE = re.compile(r"(?:backbone|encoder|backbones\.(?P<task>[^.]+))\.")
_SHOWN = 8  # classes in a note


@dataclass
class PartReport:
    """What one part of a model received from a trained one.

    Attributes:
        part: Name of the part (:func:`taskprism.models.model_parts`).
        taken: Tensors that were copied, whole or the rows of known classes.
        other_shape: Tensors that the source has in another shape, so that they stay as they are.
        missing: Tensors that the source does not have, so that they stay as they are.
        unused: Tensors of the source that the model does not have.

    Example:
        >>> from taskprism.models import PartReport
        >>> PartReport("neck", taken=["backbone.pyramid.weight"]).counts
        (1, 0, 0, 0)
    """

    part: str
    taken: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Numbers of tensors, in the order of the attributes."""
        return len(self.taken), len(self.other_shape), len(self.missing), len(self.unused)


@dataclass
class InitializationReport:
    """What a model received from a trained one; ``print(report)`` shows it as a table.

    Attributes:
        source: What was given.
        file: The file of the weights.
        sha256: Its hash.
        parts: What each part received.
        notes: Sentences about classes and other differences.

    Example:
        >>> from pathlib import Path
        >>> from taskprism.models import InitializationReport, PartReport
        >>> report = InitializationReport("runs/a", Path("model.safetensors"), "1f", [
        ...     PartReport("neck", ["a", "b"]), PartReport("head of depth", missing=["c"])], [])
        >>> print(report)
        Initial weights from runs/a:
          part           taken  other shape  missing  unused
          neck               2            0        0       0
          head of depth      0            0        1       0
    """

    source: str
    file: Path
    sha256: str
    parts: list[PartReport]
    notes: list[str]

    def table(self) -> TextTable:
        """One row per part."""
        headings = ["part", "taken", "other shape", "missing", "unused"]
        rows = [[part.part, *map(str, part.counts)] for part in self.parts]
        return TextTable(f"Initial weights from {self.source}", headings, rows, notes=self.notes)

    def record(self) -> dict[str, Any]:
        """Plain values for the manifest of a run."""
        counts = {
            part.part: dict(
                zip(("taken", "other_shape", "missing", "unused"), part.counts, strict=True)
            )
            for part in self.parts
        }
        named = {"source": self.source, "file": str(self.file), "sha256": self.sha256}
        return {**named, "parts": counts, "notes": self.notes}

    def __str__(self) -> str:
        table = self.table()
        cells = [table.headings, *table.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [f"{table.title}:"]
        for name, *numbers in cells:
            right = (n.rjust(width) for n, width in zip(numbers, widths[1:], strict=True))
            lines.append("  " + "  ".join([name.ljust(widths[0]), *right]))
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def initialize(
    model: MultiTaskModel,
    source: str | Path,
    imports: Iterable[str | Path] = (),
    checkpoint: CheckpointChoice | None = None,
) -> InitializationReport:
    """Copy into a model every fitting weight of a trained one, and report what fitted.

    The trained model may have other tasks, another distillation, other classes or another neck.
    Tensors are matched by name and shape. Where the classes of a task differ, weights and biases
    of the classes with the same names are kept, and those of the other classes stay at their
    initial values. One backbone can initialize several (models with one per task), and the other
    way round. A backbone is taken as a whole: if less than 90 % of its values fit, it is another
    network, and none of it is taken. If the backbone is taken, the model also normalizes images as
    the trained one did.

    Args:
        model: Its weights are replaced where the source has fitting ones.
        source: What :func:`taskprism.load` accepts (a run directory, a folder written by
            ``save_pretrained``, a URL or a hub id), or a file of weights (``.safetensors``,
            ``.pt``, ``.pth``). A file without a config has no class names: heads with another
            number of classes then stay as they are.
        imports: Modules or Python files with your own tasks that the source has. Its model and
            layers need no import, because only tensors are read.
        checkpoint: Of a run directory: ``last`` or ``best``. None: the last, or the best if there
            is no other.

    Returns:
        What each part of the model received.

    Raises:
        CheckpointError: The source cannot be read, has values that are not finite, or nothing in
            it fits.
        InputError: A task of the source is a class that is not imported.

    Example:
        >>> import taskprism, tempfile
        >>> old = taskprism.create_model("multi_task", ["depth"], backbone="test_resnet",
        ...                              neck_channels=8)
        >>> new = taskprism.create_model("multi_task", ["depth", "edge"], backbone="test_resnet",
        ...                              neck_channels=8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = old.save_pretrained(folder)
        ...     report = taskprism.initialize(new, folder)
        >>> {part.part: len(part.missing) for part in report.parts}
        {'backbone': 0, 'neck': 0, 'head of depth': 0, 'head of edge': 23}
    """
    import_parts(imports)
    saved = _read(source, checkpoint)
    report = _Transfer(model, saved).run()
    if not any(part.taken for part in report.parts):
        raise CheckpointError(
            f"Nothing in {saved.description} fits the model: no tensor has the name and shape of "
            f"one of its {len(model.state_dict())} tensors. Give a run or model with the same "
            "backbone or the same layers, or leave the initial weights out.\n"
            f"{report}"
        )
    return report


@dataclass(frozen=True)
class _Saved:
    """A trained model: its tensors by name, and its config if there is one."""

    description: str
    file: Path
    tensors: dict[str, Tensor]
    config: Mapping[str, Any]
    licenses: Mapping[str, Any] = field(default_factory=dict)

    @property
    def task_names(self) -> list[str]:
        """Main tasks, then auxiliary ones."""
        return [str(task.get("name")) for task in self._tasks()]

    def _tasks(self) -> list[Mapping[str, Any]]:
        lists = [self.config.get(key) or [] for key in ("tasks", "auxiliary_tasks")]
        entries = [entry for each in lists if isinstance(each, list) for entry in each]
        return [entry for entry in entries if isinstance(entry, Mapping)]

    def task(self, name: str) -> Task | None:
        """Its task of this name, or None."""
        for entry in self._tasks():
            if entry.get("name") == name:
                try:
                    return task_from_config(dict(entry))
                except TaskprismError:
                    raise
                except (KeyError, TypeError, ValueError) as error:
                    raise CheckpointError(
                        f"The task {name!r} in {CONFIG} of {self.description} cannot be read: "
                        f"{error}."
                    ) from error
        return None


def _read(source: str | Path, checkpoint: CheckpointChoice | None) -> _Saved:
    path = Path(source)
    is_file = not (isinstance(source, str) and is_url(source)) and path.suffix in _FILES
    config: Mapping[str, Any] = {}
    licenses: Any = {}
    if is_file and not path.is_dir():
        if not path.is_file():
            raise CheckpointError(f"There is no file {str(path)!r}; give a file of weights.")
        tensors = dict(from_file(path).state)
        if path.name == WEIGHTS and path.with_name(CONFIG).is_file():
            config = read_config(path.parent)
    else:
        folder = find_model_folder(source, checkpoint)
        path, config = folder / WEIGHTS, read_config(folder)
        licenses = run_manifest(source).get("licenses")
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"Cannot read {str(path)!r}: {error}.") from error
    bad = [name for name, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise CheckpointError(
            f"{str(path)!r} is damaged: {bad[0]} has NaN or infinite values. Use another "
            "checkpoint."
        )
    return _Saved(str(source), path, _unwrapped(tensors), config, licenses or {})


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors without the prefix of a wrapper that all of them have."""
    for prefix in _WRAPPERS * 2:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


class _Transfer:
    """Copies the fitting tensors of a trained model into another one."""

    def __init__(self, model: MultiTaskModel, saved: _Saved) -> None:
        self.model = model
        self.saved = saved
        self.own = model.state_dict()
        self.parts = model_parts(model)
        self.names = [task.name for task in model.all_tasks]
        self.reports = {part: PartReport(part) for part in _ordered(self.parts.values())}
        self.used: set[str] = set()
        self.notes: list[str] = []

    def run(self) -> InitializationReport:
        """Find what fits, copy it, and report."""
        pairs = self._pairs()
        rows, moved = self._class_rows(), self._moved()
        found: dict[str, Tensor] = {}
        for name, tensor in self.own.items():
            report = self.reports[self.parts[name]]
            if name not in pairs:
                report.missing.append(name)
                continue
            self.used.add(pairs[name])
            given = self.saved.tensors[pairs[name]]
            if name in rows:
                value = rows[name](given, tensor)
            else:
                value = given if given.shape == tensor.shape and name not in moved else None
            if value is None:
                report.other_shape.append(name)
            else:
                report.taken.append(name)
                found[name] = value
        self.model.load_state_dict(found, strict=False)
        if any(self.parts[name] == BACKBONE for name in found):
            self._normalize_alike()
            self._note_weights()
        self._count_unused()
        digest = _hash(self.saved.file)
        parts = list(self.reports.values())
        return InitializationReport(
            self.saved.description, self.saved.file, digest, parts, self.notes
        )

    def _pairs(self) -> dict[str, str]:
        """Name in the model -> name in the source."""
        tensors = self.saved.tensors
        by_path: dict[tuple[str, str | None], str] = {}
        for name in tensors:
            path, task = _without_backbone_task(name)
            by_path.setdefault((path, task), name)
            by_path.setdefault((path, None), name)  # the first task's, if no other fits better
        pairs = {}
        for name in self.own:
            path, task = _without_backbone_task(name)
            found = (
                name if name in tensors else by_path.get((path, task), by_path.get((path, None)))
            )
            if found is not None:
                pairs[name] = found
        for path, trunk in trunks(self.model).items():
            prefix = f"{path}." if path else ""
            own = [f"{prefix}{name}" for name in trunk.state_dict()]
            pairs = {name: pairs[name] for name in pairs if name not in own} | self._trunk_pairs(
                prefix, own
            )
        return pairs

    def _trunk_pairs(self, prefix: str, own: list[str]) -> dict[str, str]:
        """Pairs of one backbone; none if too little of it fits."""
        tensors = self.saved.tensors
        in_backbone = [name for name in tensors if _BACKBONE.match(name)] or list(tensors)
        _, task = _without_backbone_task(prefix)
        by_name: dict[str, str] = {}
        for name in in_backbone:
            plain = plain_name(_BACKBONE.sub("", name, count=1))
            if plain not in by_name or _without_backbone_task(name)[1] == task:
                by_name[plain] = name
        pairs = {}
        for name in own:
            found = by_name.get(plain_name(name.removeprefix(prefix)))
            if found is not None:
                pairs[name] = found
        # Layers of one task are no measure: the source may have other tasks.
        shared = [name for name in own if not set(name.split(".")) & set(self.names)] or own
        weights = [name for name in shared if self.own[name].is_floating_point()]
        fitting = sum(
            self.own[name].numel()
            for name in weights
            if name in pairs and tensors[pairs[name]].shape == self.own[name].shape
        )
        share = fitting / max(1, sum(self.own[name].numel() for name in weights))
        if share >= ENOUGH:
            return pairs
        if pairs:
            self.notes.append(
                f"The backbone{f' of {task}' if task else ''} is not taken: {share:.0%} of its "
                "values fit, so the source has another backbone."
            )
        return {}

    def _class_rows(self) -> dict[str, Callable[[Tensor, Tensor], Tensor | None]]:
        """Tensors with one entry per class whose classes differ, and how to copy each."""
        copies: dict[str, Callable[[Tensor, Tensor], Tensor | None]] = {}
        for task in self.model.all_tasks:
            before = self.saved.task(task.name)
            if before is None:
                continue
            if before.kind != task.kind:
                self.notes.append(f"{task.name}: {before.kind} in the source, now {task.kind}.")
            named = before.channel_names and task.channel_names
            same = before.channel_names == task.channel_names if named else True
            if same and before.channels == task.channels:
                continue
            kept = [name for name in task.channel_names if name in before.channel_names]
            self._note_classes(task, before, kept)
            indices = [[names.index(name) for name in kept] for names in _names(before, task)]
            for tensor, dimensions in self._class_dimensions(task).items():
                copies[tensor] = _row_copy(task, before, dimensions, *indices)
        return copies

    def _note_classes(self, task: Task, before: Task, kept: list[str]) -> None:
        new = [name for name in task.channel_names if name not in kept]
        counts = f"{before.channels} classes in the source, now {task.channels}"
        if not before.channel_names or not task.channel_names:
            self.notes.append(f"{task.name}: {counts}; without names none of them is kept.")
            return
        self.notes.append(f"{task.name}: {counts}. Kept: {_shorten(kept)}. New: {_shorten(new)}.")

    def _class_dimensions(self, task: Task) -> dict[str, list[int]]:
        """Dimensions of each tensor whose size is the number of classes of a task."""
        shapes = self._shapes_with(
            lambda each: each.with_channels(each.channels + 1) if each.name == task.name else each
        )
        found = {}
        for name, tensor in self.own.items():
            other = shapes.get(name, tensor.shape)
            if len(other) == tensor.ndim:
                changed = [d for d, size in enumerate(tensor.shape) if other[d] != size]
                if changed and all(tensor.shape[d] == task.channels for d in changed):
                    found[name] = changed
        return found

    def _moved(self) -> set[str]:
        """Tensors that concatenate tasks, if the source has the tasks in another order."""
        before = self.saved.task_names
        if not self.model.depends_on_task_order or not before or before == self.names:
            return set()
        # The shapes with one more task show which tensors concatenate tasks.
        shapes = self._shapes_with(lambda each: each, one_more=True)
        moved = {n for n, tensor in self.own.items() if shapes.get(n, tensor.shape) != tensor.shape}
        if moved:
            self.notes.append(
                f"The source has the tasks {', '.join(before)}; {len(moved)} tensors that "
                "concatenate tasks in their order are not taken."
            )
        return moved

    def _shapes_with(
        self, change: Callable[[Task], Task], one_more: bool = False
    ) -> dict[str, torch.Size]:
        """Shapes of the same model with changed tasks; empty if it cannot be created."""
        config = dict(self.model.config)
        lists = {"tasks": self.model.tasks, "auxiliary_tasks": self.model.auxiliary_tasks}
        config |= {key: [change(task).to_config() for task in lists[key]] for key in lists}
        if one_more:
            extra = dataclasses.replace(self.model.tasks[0], name="one_more")
            config["tasks"] = [*config["tasks"], extra.to_config()]
        try:
            with torch.device("meta"):
                other = type(self.model).from_config(config)
        except Exception as error:  # your own network may need values, or name its tasks
            self.notes.append(
                f"Layers that depend on classes or tasks could not be found ({error}); those of "
                "equal shape are taken as they are."
            )
            return {}
        return {name: tensor.shape for name, tensor in other.state_dict().items()}

    def _normalize_alike(self) -> None:
        """Normalize images as the source did."""
        mean, std = (self.saved.config.get(key) for key in ("image_mean", "image_std"))
        if mean is None or std is None:
            return
        before = self.model.image_mean.flatten().tolist(), self.model.image_std.flatten().tolist()
        common = min(len(mean), len(before[0]))  # images may have other channels than the source's
        self.model.set_image_statistics(
            [*mean[:common], *before[0][common:]], [*std[:common], *before[1][common:]]
        )
        now = self.model.image_mean.flatten().tolist(), self.model.image_std.flatten().tolist()
        if before != now:
            self.notes.append(f"Images are normalized with mean {mean} and deviation {std}.")

    def _note_weights(self) -> None:
        """Record in the backbones where their weights come from, for manifests and model cards."""
        before = self.saved.licenses.get("weights")
        started = f", which started from {before}" if before else ""
        for module in self.model.modules():
            if isinstance(module, Backbone):
                module.weights = f"{self.saved.description}{started}"

    def _count_unused(self) -> None:
        names, tasks = list(self.saved.tensors), {*self.names, *self.saved.task_names}
        parts = {name: saved_part(name, names, tasks) for name in names if name not in self.used}
        for part in _ordered(parts.values()):
            report = self.reports.setdefault(part, PartReport(part))
            report.unused += [name for name, each in parts.items() if each == part]


def _without_backbone_task(name: str) -> tuple[str, str | None]:
    """Name in a model with a single backbone, and the task whose backbone it is."""
    found = _BACKBONE.match(name)
    if found is None:
        return name, None
    return f"backbone.{name[found.end() :]}", found["task"]


def _names(before: Task, after: Task) -> tuple[list[str], list[str]]:
    return list(before.channel_names), list(after.channel_names)


def _row_copy(
    task: Task, before: Task, dimensions: list[int], source: list[int], target: list[int]
) -> Callable[[Tensor, Tensor], Tensor | None]:
    """Function that copies the entries of known classes from one tensor into a copy of another."""

    def copy(given: Tensor, initial: Tensor) -> Tensor | None:
        expected = list(initial.shape)
        for dimension in dimensions:
            expected[dimension] = before.channels
        if list(given.shape) != expected or not target:
            return None
        places = [torch.arange(size, device=initial.device) for size in initial.shape]
        kept = given.to(initial)
        for dimension in dimensions:
            kept = kept.index_select(dimension, torch.tensor(source, device=initial.device))
            places[dimension] = torch.tensor(target, device=initial.device)
        changed = initial.clone()
        changed[torch.meshgrid(*places, indexing="ij")] = kept
        return changed

    return copy


def _ordered(parts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(parts))


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) + more) or "none"


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
