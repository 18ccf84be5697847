"""The contract of a metric, and the registry of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from taskprism.errors import InputError
from taskprism.registry import Registry, describe_part


class DenseMetric(Metric):
    """A :class:`torchmetrics.Metric` of per-pixel predictions.

    A subclass adds its states in ``__init__`` (``add_state``), adds a batch to them in
    :meth:`update` and returns a scalar from ``compute``. States that are sums over images, with
    ``dist_reduce_fx="sum"``, are stored for each test image; confidence intervals need them.

    Attributes:
        name: Name in :data:`METRICS`, and key among the metrics of a task.
        higher_is_better: Whether a higher score is better; required.
        task_kinds: Values of ``Task.kind`` of the tasks that the metric can score. A kind includes
            the subclasses of its class. Empty: any task.

    Example:
        >>> import torch
        >>> from taskprism.metrics import DenseMetric, register_metric
        >>> from taskprism.tasks import create_task
        >>> @register_metric
        ... class LargestError(DenseMetric):
        ...     name, task_kinds, higher_is_better = "largest_error", ("depth",), False
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.add_state("largest", torch.tensor(0.0), dist_reduce_fx="max")
        ...     def update(self, prediction, target, valid):
        ...         error = (prediction - target).abs()[valid]
        ...         self.largest = torch.maximum(self.largest, error.max())
        ...     def compute(self):
        ...         return self.largest
        >>> task = create_task("depth", extra_metrics=["largest_error"])
        >>> "largest_error" in task.metrics()
        True
    """

    name: ClassVar[str]
    task_kinds: ClassVar[tuple[str, ...]] = ()
    higher_is_better: bool | None = None
    is_differentiable = False
    full_state_update = False

    @classmethod
    def for_task(cls, task: Any) -> Self:
        """Create the metric for a task; override it to read options from the task's fields."""
        return cls()

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch.

        Args:
            prediction: ``(B, target_channels, H, W)`` in the label's units, as ``Task.decode``
                returns it. Edge tasks pass logits.
            target: Labels ``(B, target_channels, H, W)``.
            valid: Boolean ``(B, 1, H, W)``. Other pixels, and images without any valid pixel, must
                not change the states.
        """
        raise NotImplementedError


class SumsMetric(DenseMetric):
    """A metric with one state: a vector of named sums over images, float64.

    A subclass computes the sums of a batch in its ``update``, hands them to :meth:`add`, and reads
    their totals from :attr:`sums` in ``compute``.

    Attributes:
        sums_type: Named tuple of the sums; its order is that of the state.
        sums_state: Name of the state.

    Example:
        >>> import torch
        >>> from typing import NamedTuple
        >>> class BiasSums(NamedTuple):
        ...     error: torch.Tensor
        ...     pixels: torch.Tensor
        >>> class Bias(SumsMetric):
        ...     higher_is_better, sums_type, sums_state = False, BiasSums, "bias_sums"
        ...     def update(self, prediction, target, valid):
        ...         self.add(BiasSums((prediction - target)[valid].sum(), valid.sum()))
        ...     def compute(self):
        ...         return self.sums.error / self.sums.pixels
        >>> bias, target = Bias(), torch.zeros(2, 1, 4, 4)
        >>> bias.update(target + 0.5, target, torch.ones_like(target, dtype=torch.bool))
        >>> bias.compute().item()
        0.5
    """

    sums_type: ClassVar[Any]
    sums_state: ClassVar[str]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        empty = torch.zeros(len(self.sums_type._fields), dtype=torch.float64)
        self.add_state(self.sums_state, default=empty, dist_reduce_fx="sum")

    def add(self, sums: tuple[Tensor, ...]) -> None:
        """Add the sums of a batch, scalars in the order of ``sums_type``."""
        total = getattr(self, self.sums_state)
        setattr(self, self.sums_state, total + torch.stack(sums).to(total))

    @property
    def sums(self) -> Any:
        """The totals, as a ``sums_type``."""
        return self.sums_type(*getattr(self, self.sums_state).unbind())


#: Every metric that tasks can add (``Task.extra_metrics``) by name.
METRICS: Registry[Metric] = Registry("metric", Metric, package="taskprism.metrics")
register_metric = METRICS.register


def list_metrics() -> list[str]:
    """Registered names that :func:`create_metric` accepts, in alphabetical order.

    Example:
        >>> from taskprism.metrics import list_metrics
        >>> list_metrics()[:2]
        ['albedo_abs_error', 'albedo_rmse']
    """
    return METRICS.names()


def create_metric(metric: str | type[Metric], task: Any) -> Metric:
    """Create a metric for a task.

    Args:
        metric: One of :func:`list_metrics`, ``"module:Class"``, or a class, preferably a subclass
            of :class:`DenseMetric`.
        task: The task that is scored.

    Raises:
        UnknownNameError: No metric has this name.
        InputError: The metric is for other tasks, or does not say whether higher is better.

    Example:
        >>> from taskprism.tasks import create_task
        >>> create_metric("miou", create_task("semseg", 5)).classes
        5
    """
    found = METRICS.find(metric)
    kinds = tuple(getattr(found, "task_kinds", ()))
    if kinds and not any(getattr(cls, "kind", None) in kinds for cls in type(task).__mro__):
        raise InputError(
            f"Metric {metric_key(metric)!r} is for {', '.join(kinds)} tasks, but task "
            f"{task.name!r} is of kind {task.kind!r}."
        )
    created = found.for_task(task) if hasattr(found, "for_task") else found()
    if created.higher_is_better is None:
        raise InputError(
            f"Metric {describe_part(found)} does not say whether higher is better; set its class "
            "attribute higher_is_better."
        )
    return created


def metric_key(metric: str | type[Metric]) -> str:
    """Key of an extra metric among those of its task: its name, or the name of its class.

    Example:
        >>> metric_key("depth_rmse")
        'depth_rmse'
    """
    found = METRICS.find(metric)
    if isinstance(metric, str) and metric in METRICS:
        return metric
    name = vars(found).get("name")  # an inherited name is the key of the base class
    return name if isinstance(name, str) else found.__name__


def add_metrics(metrics: MetricCollection, extra: Mapping[str, Metric]) -> MetricCollection:
    """Add metrics to a collection, and share states only within declared groups.

    By default torchmetrics merges two metrics if their states are equal after the first batch, for
    example because it has no valid pixel. Here only metrics of one declared group in the
    ``compute_groups`` of the collection share states.

    Args:
        metrics: Metrics of a task.
        extra: Metrics to add, by key; they share no state.

    Raises:
        InputError: A key is taken, or metrics in one compute group cannot share their states.

    Example:
        >>> from taskprism.metrics import DepthRmse, albedo_metrics
        >>> sorted(add_metrics(albedo_metrics(), {"depth": DepthRmse()}))
        ['abs_error', 'depth', 'rmse', 'rmse_image_mean']
    """
    items = dict(metrics.items(keep_base=True, copy_state=False))
    repeated = sorted(set(items) & set(extra))
    if repeated:
        raise InputError(
            f"The task already has the metric {repeated[0]!r}. Remove it from extra_metrics."
        )
    groups = _groups(metrics)
    for group in groups:
        _check_group(group, items)
    if isinstance(metrics._enable_compute_groups, list) and not extra:
        return metrics
    return MetricCollection(
        {**items, **extra},
        prefix=metrics.prefix,
        postfix=metrics.postfix,
        compute_groups=[*groups, *([key] for key in extra)],
    )


def _groups(metrics: MetricCollection) -> list[list[str]]:
    """The declared compute groups, and one for each metric that is in none of them."""
    declared = metrics._enable_compute_groups
    groups = [list(group) for group in declared] if isinstance(declared, list) else []
    grouped = {key for group in groups for key in group}
    keys = map(str, metrics.keys(keep_base=True))
    return [*groups, *([key] for key in keys if key not in grouped)]


def _check_group(group: list[str], metrics: Mapping[str, Any]) -> None:
    first = metrics[group[0]]
    for key in group[1:]:
        other = metrics[key]
        if type(other).update is not type(first).update or _layout(other) != _layout(first):
            raise InputError(
                f"Metrics {group[0]!r} and {key!r} are in one compute group, so they share their "
                "states, but their update methods or states differ. Put them into different "
                "compute groups."
            )


def _layout(metric: Metric) -> dict[str, Any]:
    return {
        name: (tuple(getattr(default, "shape", ())), metric._reductions[name])
        for name, default in metric._defaults.items()
    }


def state_names(metrics: MetricCollection) -> dict[str, dict[str, str]]:
    """Names under which the states of each metric are stored for every image of a split.

    Metrics of one compute group share their states. A state of another group with the same name
    may mean something else, so it is stored separately as ``"KEY.STATE"``, with the first key of
    that group.

    Returns:
        Metric key -> name of the state in the metric -> name under which it is stored.

    Example:
        >>> from taskprism.metrics import DepthRmse, depth_metrics
        >>> from taskprism.metrics.base import add_metrics, state_names
        >>> names = state_names(add_metrics(depth_metrics(), {"mine": DepthRmse()}))
        >>> names["abs_error"], names["mine"]
        ({'depth_sums': 'depth_sums'}, {'depth_sums': 'mine.depth_sums'})
    """
    items = dict(metrics.items(keep_base=True, copy_state=False))
    taken: set[str] = set()
    names: dict[str, dict[str, str]] = {}
    for group in _groups(metrics):
        states = {s: f"{group[0]}.{s}" if s in taken else s for s in items[group[0]]._defaults}
        taken.update(states)
        names.update((key, states) for key in group)
    return {metrics._set_name(key): names[key] for key in items}
