"""Callbacks: your own code at fixed places of the training loop, and early stopping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from taskprism.data.protocol import Split
from taskprism.data.sample import Batch
from taskprism.errors import InputError, RecipeError
from taskprism.recipes.schema import EarlyStoppingSettings
from taskprism.registry import Registry, describe_part
from taskprism.scoring.evaluation import Results
from taskprism.tasks.base import Task

if TYPE_CHECKING:
    from taskprism.training.trainer import Trainer

_PLAIN = (str, int, float, bool, type(None), Tensor)


class Callback:
    """Your own code at fixed places of the training loop; override the methods that you need.

    Order: ``on_fit_start``; then in each epoch ``on_epoch_start``, for each batch ``on_step_end``
    (if the optimizer made a step with it; with one step per task, several times) and
    ``on_batch_end``, after the last batch ``on_evaluation_end`` (if an evaluation was due) and
    ``on_epoch_end``; at the end ``on_fit_end``. Callbacks are called in the order in which they
    are given; early stopping is the last. The checkpoint of an epoch is written after
    ``on_epoch_end``, so it has the state of every callback.

    Callbacks run in every process. Write files and print in the first only:
    ``trainer.accelerator.is_main_process``. All arguments are for reading: changing weights,
    gradients, losses or results breaks exact resuming. To end the training, call
    :meth:`Trainer.request_stop <taskprism.training.Trainer.request_stop>`. An exception ends the
    training too; the last checkpoint stays.

    Example:
        >>> class Losses(Callback):
        ...     def __init__(self):
        ...         self.totals = []
        ...     def on_epoch_end(self, trainer, epoch, values):
        ...         self.totals.append(values["loss/total"])
        ...     def state_dict(self):
        ...         return {"totals": self.totals}
        ...     def load_state_dict(self, state):
        ...         self.totals = list(state["totals"])
        >>> Losses().state_dict()
        {'totals': []}
    """

    def on_fit_start(self, trainer: Trainer) -> None:
        """Called before the first epoch, also of a resumed run, whose state is restored by then."""

    def on_epoch_start(self, trainer: Trainer, epoch: int) -> None:
        """Called before an epoch, or before what a resumed run has left of it.

        Args:
            trainer: The loop.
            epoch: Number of the epoch, from 1.
        """

    def on_step_end(self, trainer: Trainer, step: int) -> None:
        """Called after a step of the optimizer.

        Args:
            trainer: The loop.
            step: Steps since the start of the run, this one included.
        """

    def on_batch_end(self, trainer: Trainer, batch: Batch, losses: Mapping[str, Tensor]) -> None:
        """Called after a batch that was trained on; not if its step was skipped.

        Args:
            trainer: The loop.
            batch: Images and labels of this process, on the device.
            losses: ``total``, and the final loss of each task by name; scalars over all processes.
        """

    def on_evaluation_end(
        self, trainer: Trainer, epoch: int, split: Split, results: Results
    ) -> None:
        """Called after an evaluation during training.

        Args:
            trainer: The loop.
            epoch: Finished epochs.
            split: The images that were scored.
            results: Task name -> metric name -> value, over all processes.
        """

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """Called after an epoch.

        Args:
            trainer: The loop.
            epoch: Finished epochs.
            values: What trackers get: ``lr``, ``loss/total``, ``loss/TASK``, and if there was an
                evaluation ``SPLIT/TASK/METRIC``.
        """

    def on_fit_end(self, trainer: Trainer) -> None:
        """Called after the last epoch, before scoring; not if the run is interrupted."""

    def state_dict(self) -> dict[str, Any]:
        """State for the checkpoint: numbers, texts, tensors, and lists or dictionaries of these."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""


#: Callbacks that recipes can name as ``module:Class``.
CALLBACKS: Registry[Callback] = Registry("callback", Callback)


class EarlyStopping(Callback):
    """Ends the training when a metric has not improved for a number of evaluations.

    Args:
        settings: Metric, patience and smallest improvement.
        tasks: Main tasks, which know whether higher is better.
        split: Split that is evaluated during training.

    Attributes:
        best: Best value so far, or None.
        waited: Evaluations since then.

    Raises:
        RecipeError: There is no such metric; the message lists those that exist.

    Example:
        >>> from taskprism.tasks import create_task
        >>> settings = EarlyStoppingSettings(metric="val/depth/rmse", patience=2)
        >>> stopping = EarlyStopping(settings, [create_task("depth")], "val")
        >>> [stopping.add(value) for value in (0.9, 0.8, 0.85, 0.81)]
        [False, False, False, True]
    """

    def __init__(
        self, settings: EarlyStoppingSettings, tasks: Sequence[Task], split: Split
    ) -> None:
        higher = {
            f"{split}/{task.name}/{metric}": better
            for task in tasks
            for metric, better in task.higher_is_better.items()
        }
        higher |= {f"loss/{name}": False for name in ("total", *(task.name for task in tasks))}
        if settings.metric not in higher:
            raise RecipeError(
                f"key 'early_stopping.metric': {settings.metric!r} is not measured during "
                f"training; use one of {', '.join(sorted(higher))}."
            )
        self.metric = settings.metric
        self.patience = settings.patience
        self.min_delta = settings.min_delta
        self.sign = 1.0 if higher[settings.metric] else -1.0
        self.best: float | None = None
        self.waited = 0

    def add(self, value: float) -> bool:
        """Add a measured value; return whether training should end. NaN is no improvement."""
        if self.best is None or self.sign * (value - self.best) > self.min_delta:
            self.best, self.waited = (None if value != value else value), int(value != value)
        else:
            self.waited += 1
        return self.waited >= self.patience

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """Ask to stop if the metric was measured and has not improved for long enough."""
        if self.metric in values and self.add(values[self.metric]):
            best = "no finite value" if self.best is None else f"the best is {self.best:.4g}"
            trainer.request_stop(
                f"{self.metric} has not improved in {self.waited} evaluation(s); {best}"
            )

    def state_dict(self) -> dict[str, Any]:
        """Metric, best value and number of evaluations since."""
        return {"metric": self.metric, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state, unless it is that of another metric."""
        if state["metric"] == self.metric:
            self.best, self.waited = state["best"], int(state["waited"])


def create_callbacks(given: Sequence[Callback], names: Sequence[str]) -> list[Callback]:
    """Callbacks given as objects, then those that a recipe names as ``module:Class``.

    Raises:
        InputError: One is not a :class:`Callback`, or cannot be imported or created.
    """
    callbacks = [*given, *(CALLBACKS.find(name)() for name in names)]
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise InputError(
                "Expected objects of classes derived from taskprism.training.Callback as "
                f"callbacks, got {callback!r}."
            )
    return callbacks


def callback_states(callbacks: Sequence[Callback]) -> dict[str, dict[str, Any]]:
    """State of each callback by its class, numbered where several are of one class.

    Raises:
        InputError: A state holds other objects than a checkpoint can.
    """
    states = {}
    for key, callback in _named(callbacks).items():
        states[key] = callback.state_dict()
        if not _is_plain(states[key]):
            raise InputError(
                f"The state of the callback {key} cannot be saved: state_dict() must return "
                "numbers, texts, tensors, and lists and dictionaries of these."
            )
    return states


def restore_callbacks(callbacks: Sequence[Callback], states: Mapping[str, Any]) -> list[str]:
    """Restore :func:`callback_states`.

    Returns:
        Names of the states for which there is no callback.
    """
    named = _named(callbacks)
    for key, callback in named.items():
        if key in states:
            callback.load_state_dict(states[key])
    return [key for key in states if key not in named]


def _named(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    named: dict[str, Callback] = {}
    for callback in callbacks:
        key = describe_part(type(callback))
        number = sum(each.partition("#")[0] == key for each in named)
        named[f"{key}#{number + 1}" if number else key] = callback
    return named


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str | int) and _is_plain(each) for key, each in value.items())
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return type(value) in _PLAIN
