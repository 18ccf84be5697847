"""Gradient balancing: combine the gradients of all tasks where the tasks share features or weights.

A :class:`GradientBalancing` runs the backward pass itself. It computes the gradient of each task at
the shared features or parameters, derives one weight per task from the inner products of these
gradients, and passes their weighted sum on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from taskprism.backbones import Backbone
from taskprism.checks import check_choice
from taskprism.errors import InputError, UnknownNameError
from taskprism.losses.balancing import Balancing, check_weights

#: Numbers of a gradient that are converted to double precision at a time.
_PIECE = 2**18

Where = Literal["features", "parameters"]
#: Adds up a tensor over all processes: ``lambda t: accelerator.reduce(t, "sum")``.
Sum = Callable[[Tensor], Tensor]
#: For each task the gradient of each shared tensor; None: the task does not reach it.
Rows = list[list[Tensor | None]]


class Shared(ABC):
    """Tensors at which the gradients of all tasks meet; see the two subclasses.

    Attributes:
        kind: Value of the option ``shared`` that needs this class.
    """

    kind: ClassVar[Where]

    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """Leaves of the graph whose ``grad`` is the gradient of a task."""

    @abstractmethod
    def finish(self, gradients: Sequence[Tensor | None]) -> None:
        """Pass on the combined gradient of each tensor."""


class SharedFeatures(Shared):
    """Feature maps that several tasks read, cut out of the graph.

    :meth:`cut` replaces maps by copies without a history. The gradients of the tasks end at the
    copies; one further backward pass takes their combination from the maps to the weights before
    them. This costs one pass through the heads per task and a single pass through the backbone.

    Example:
        >>> import torch
        >>> from taskprism.losses import SharedFeatures
        >>> shared = SharedFeatures()
        >>> x = torch.ones(2, requires_grad=True)
        >>> copy = shared.cut(2 * x)
        >>> copy.is_leaf, torch.equal(copy, 2 * x)
        (True, True)
    """

    kind: ClassVar[Where] = "features"

    def __init__(self) -> None:
        self._maps: list[Tensor] = []
        self._copies: list[Tensor] = []

    def cut(self, features: Any) -> Any:
        """Copies of all tensors in ``features``, a tensor or lists and dictionaries of tensors.

        Without gradients (in ``torch.no_grad()``) ``features`` is returned as it is.
        """
        if not torch.is_grad_enabled():
            return features
        return _pytree.tree_map_only(Tensor, self._cut_one, features)

    def _cut_one(self, each: Tensor) -> Tensor:
        copy = each.detach().requires_grad_()
        self._maps.append(each)
        self._copies.append(copy)
        return copy

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[SharedFeatures]:
        """Cut the maps of every backbone of ``model`` that runs inside the ``with`` block.

        A backbone inside another one, such as the trunk of a neck, is not cut.
        """
        self.clear()
        hooks = [
            backbone.register_forward_hook(lambda module, inputs, output: self.cut(output))
            for backbone in _outermost_backbones(model)
        ]
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    def tensors(self) -> list[Tensor]:
        """The copies.

        Raises:
            InputError: No feature map was cut.
        """
        if not self._copies:
            raise InputError(
                "No shared features were found: this model does not call its backbone as a whole. "
                "Use the option shared: parameters."
            )
        return list(self._copies)

    def finish(self, gradients: Sequence[Tensor | None]) -> None:
        """Backward pass from the maps to the weights before them."""
        pairs = [
            (each, gradient)
            for each, gradient in zip(self._maps, gradients, strict=True)
            if gradient is not None and each.requires_grad
        ]
        self.clear()
        if pairs:
            maps, used = zip(*pairs, strict=True)
            torch.autograd.backward(maps, used)

    def clear(self) -> None:
        """Forget all maps."""
        self._maps.clear()
        self._copies.clear()


class SharedParameters(Shared):
    """Parameters that the outputs of at least two tasks depend on.

    Args:
        parameters: The parameters; :meth:`find` finds them for any model.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> from taskprism.losses import SharedParameters
        >>> model = create_model("multi_task", ["depth", "edge"], backbone="test_resnet")
        >>> shared = SharedParameters.find(model, torch.rand(1, 3, 64, 64))
        >>> trunk = {id(p) for p in model.backbone.parameters()}
        >>> {id(p) for p in shared.tensors()} == trunk
        True
    """

    kind: ClassVar[Where] = "parameters"

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self._before: list[Tensor | None] = []

    @classmethod
    def find(
        cls, model: nn.Module, images: Tensor, tasks: Sequence[str] | None = None
    ) -> SharedParameters:
        """Find the shared parameters of a model with one forward and one backward pass per task.

        A parameter is shared if autograd reaches it from the final or initial predictions of two or
        more tasks. The model runs in evaluation mode, so that nothing of it changes.

        Args:
            model: Maps images to a mapping task name -> tensor, such as
                :class:`~taskprism.models.Predictions`.
            images: ``(B, 3, H, W)``; one image is enough.
            tasks: Names of the tasks that are trained; None: all that are predicted.

        Raises:
            InputError: No parameter is shared.
        """
        modes = {module: module.training for module in model.modules()}
        model.eval()
        try:
            with torch.enable_grad():
                predictions = model(images)
        finally:
            for module, mode in modes.items():
                module.training = mode
        outputs: dict[str, list[Tensor]] = {}
        for scale in (predictions, *getattr(predictions, "initial", ())):
            for name, output in scale.items():
                if (tasks is None or name in tasks) and output.requires_grad:
                    outputs.setdefault(name, []).append(output)
        parameters = [each for each in model.parameters() if each.requires_grad]
        counts = [0] * len(parameters)
        for each in outputs.values():
            total = torch.stack([output.float().sum() for output in each]).sum()
            reached = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
            counts = [
                count + (gradient is not None)
                for count, gradient in zip(counts, reached, strict=True)
            ]
        shared = [each for each, count in zip(parameters, counts, strict=True) if count > 1]
        if not shared:
            raise InputError(
                f"No parameter of this model is shared by two of its tasks ({', '.join(outputs)}), "
                "so there are no gradients to balance. Use the balancing 'fixed'."
            )
        return cls(shared)

    def tensors(self) -> list[Tensor]:
        """The parameters; gradients that they hold are kept until :meth:`finish`."""
        self._before = [each.grad for each in self._parameters]
        for each in self._parameters:
            each.grad = None
        return list(self._parameters)

    def finish(self, gradients: Sequence[Tensor | None]) -> None:
        """Add the combined gradients to those that the parameters held before."""
        for each, before, gradient in zip(self._parameters, self._before, gradients, strict=True):
            if before is not None and gradient is not None:
                each.grad = before.add_(gradient)
            else:
                each.grad = before if gradient is None else gradient
        self._before = []


class GradientBalancing(Balancing):
    r"""Base of balancings that combine the gradients of the tasks.

    A subclass defines :meth:`task_weights`. With :math:`g_t` the gradient of :math:`w_t L_t` at the
    shared features or parameters, where :math:`w_t` is the fixed weight of the task, the gradient
    that arrives there is :math:`\sum_t a_t g_t` with the weights :math:`a = f(G)` of the subclass,
    :math:`G_{ij} = g_i \cdot g_j`. All other parameters get the gradient of
    :math:`\sum_t w_t L_t`: those of one task that of their own task.

    A task that is missing from ``losses`` has no row in G. A task with the weight 0 is left out.
    With several processes, G is that of all images: inner products at features are added up, since
    processes hold different images, and gradients of parameters are averaged before G is computed.
    With accumulation, the gradients of every batch are combined and then added.

    In your own loop::

        with balancing.watch(model, images) as shared:
            losses = ...  # task name -> scalar, from the model's outputs
        balancing.backward(losses, shared)
        optimizer.step()

    Args:
        weights: Task name -> factor of the loss before balancing; see
            :func:`~taskprism.losses.check_weights`.
        shared: Where gradients are combined. ``"features"``: at the maps that the backbone returns;
            the backbone gets the combined gradient. ``"parameters"``: at all parameters that
            several tasks share, which include shared layers after the backbone; this needs one
            backward pass through the whole network and one copy of its gradients per task.

    Attributes:
        wants: The option ``shared``.

    Raises:
        InputError: A weight is out of range, or all are 0.
        UnknownNameError: ``shared`` is something else.

    Example:
        >>> import torch
        >>> from taskprism.losses import GradientBalancing, SharedFeatures
        >>> class EqualNorms(GradientBalancing):
        ...     name = "equal_norms"
        ...     def task_weights(self, gramian, losses):
        ...         return gramian.diagonal().rsqrt()
        >>> x = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> shared = SharedFeatures()
        >>> features = shared.cut(1 * x)
        >>> losses = {"a": 5 * features[0], "b": 2 * features[1]}
        >>> EqualNorms({"a": 1.0, "b": 1.0}).backward(losses, shared)
        {'a': 0.2, 'b': 0.5}
        >>> x.grad
        tensor([1., 1.])
    """

    steps: Tensor

    def __init__(self, weights: Mapping[str, float], shared: Where = "features") -> None:
        super().__init__()
        self.weights = check_weights(weights)
        self.wants: Where = check_choice(
            type(self).__name__, "shared", shared, ("features", "parameters")
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._found: dict[int, SharedParameters] = {}

    @abstractmethod
    def task_weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Weights ``(T,)`` of the T tasks in ``losses``.

        Args:
            gramian: ``(T, T)``, inner products of the gradients of the weighted losses; finite, not
                all zero, in double precision on the CPU.
            losses: Task name -> loss over all processes, without a graph, in the order of the rows.
        """

    def factors(self) -> Mapping[str, float | Tensor]:
        """Task name -> factor of its loss before the gradients are computed; 0 leaves it out."""
        return self.weights

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum of ``losses``: the value that logs show. :meth:`backward` does not use it.

        Raises:
            InputError: There is no loss.
            UnknownNameError: A task has no weight.
        """
        factors = self._known(losses)
        return torch.stack([factors[name] * loss for name, loss in losses.items()]).sum()

    @contextmanager
    def watch(self, model: nn.Module, images: Tensor) -> Iterator[Shared]:
        """Find what the tasks share in the forward pass inside the ``with`` block.

        Args:
            model: The network, whose backbone is a :class:`~taskprism.backbones.Backbone`.
            images: ``(B, 3, H, W)``; used once, to find shared parameters.

        Yields:
            The argument ``shared`` of :meth:`backward`.

        Raises:
            InputError: The tasks share no parameters.
        """
        if self.wants == "features":
            with SharedFeatures().watch(model) as features:
                yield features
            return
        if id(model) not in self._found:
            tasks = [name for name, weight in self.weights.items() if weight]
            self._found = {id(model): SharedParameters.find(model, images[:1], tasks)}
        yield self._found[id(model)]

    def backward(
        self,
        losses: Mapping[str, Tensor],
        shared: Shared,
        reduce: Sum | None = None,
        factor: float = 1.0,
    ) -> dict[str, float]:
        """Backward pass of all tasks, in place of ``total.backward()``.

        Gradients are added to ``grad``. With several processes they are this process's share, as
        after ``total.backward()``: average them over the processes before the optimizer's step.

        Args:
            losses: Task name -> scalar with a graph, for the tasks that are labeled somewhere in
                the batch.
            shared: Result of :meth:`watch`, or your own :class:`SharedFeatures` or
                :class:`SharedParameters`.
            reduce: Adds up a tensor over all processes (sum, not mean); None: there is one process.
            factor: Multiplies all gradients and does not change the weights: the scale of a
                ``GradScaler``, and one over the number of accumulated batches.

        Returns:
            The weight of each task in the combination; empty without a labeled task.

        Raises:
            InputError: ``shared`` is of the other kind, or no feature map is read by two tasks.
            UnknownNameError: A task has no weight.
        """
        if shared.kind != self.wants:
            raise InputError(
                f"{type(self).__name__}: expected shared {self.wants}, got shared {shared.kind}. "
                f"Set the option shared: {shared.kind}."
            )
        factors = self._known(losses)
        names = [name for name in losses if self.weights[name] > 0]
        tensors = shared.tensors()
        rows: Rows = []
        for place, name in enumerate(names, 1):
            loss = factors[name] * factor * losses[name]
            if loss.requires_grad:
                loss.backward(retain_graph=place < len(names))
            rows.append([each.grad for each in tensors])
            for each in tensors:
                each.grad = None
        if not names:
            shared.finish([None] * len(tensors))
            return {}
        _check_met({name: losses[name] for name in names}, rows)
        if reduce is not None and self.wants == "parameters":
            rows = _average(rows, tensors, reduce)
        gramian = _gramian(rows, tensors[0].device)
        if reduce is not None and self.wants == "features":
            gramian = _add_up(gramian, reduce)
        gramian = gramian.cpu().double() / factor**2
        # A gradient that is not finite stays so: a GradScaler, or the check of the loop, skips the
        # step.
        if gramian.isfinite().all() and gramian.diagonal().sum() > 0:
            values = {name: losses[name].detach() for name in names}
            weights = self.task_weights(gramian, values).tolist()
            self.steps += 1
        else:
            weights = [1.0] * len(names)
        shared.finish([_combined(column, weights) for column in zip(*rows, strict=True)])
        return dict(zip(names, weights, strict=True))

    def _known(self, losses: Mapping[str, Tensor]) -> Mapping[str, float | Tensor]:
        if not losses:
            raise InputError("Expected the loss of at least one task, got none.")
        factors = self.factors()
        for name in losses:
            if name not in factors:
                raise UnknownNameError("task without a loss weight", name, factors)
        return factors


def _outermost_backbones(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, Backbone):
        return [module]
    return [found for child in module.children() for found in _outermost_backbones(child)]


def _check_met(losses: Mapping[str, Tensor], rows: Rows) -> None:
    """Check that at least one tensor is reached from two tasks."""
    most = max(sum(each is not None for each in column) for column in zip(*rows, strict=True))
    if len(losses) > 1 and most < 2 and all(each.requires_grad for each in losses.values()):
        raise InputError(
            f"The losses of {', '.join(losses)} have no shared tensor in common, so their "
            "gradients cannot be combined there. Use the option shared: parameters."
        )


def _average(rows: Rows, tensors: Sequence[Tensor], reduce: Sum) -> Rows:
    """Mean of the rows over all processes, in one message."""
    flat = [
        torch.zeros_like(tensor).flatten() if each is None else each.flatten()
        for row in rows
        for each, tensor in zip(row, tensors, strict=True)
    ]
    total = reduce(torch.cat([*flat, flat[0].new_ones(1)]))
    parts = iter((total[:-1] / total[-1]).split([each.numel() for each in flat]))
    return [[next(parts).view_as(tensor) for tensor in tensors] for _ in rows]


def _add_up(gramian: Tensor, reduce: Sum) -> Tensor:
    """Gramian of the gradients at the features of all processes, which hold different images."""
    total = reduce(torch.cat([gramian.flatten(), gramian.new_ones(1)]))
    # The gradient of the mean over processes is 1 / processes of the share of each.
    return total[:-1].view_as(gramian) / total[-1] ** 2


def _gramian(rows: Rows, device: torch.device) -> Tensor:
    """Inner products ``(T, T)`` of T rows, each split into the same tensors; None is zero."""
    dtype = torch.float32 if device.type == "mps" else torch.float64  # mps has no float64
    gramian = torch.zeros(len(rows), len(rows), dtype=dtype, device=device)
    for column in zip(*rows, strict=True):
        reached = [place for place, each in enumerate(column) if each is not None]
        if not reached:
            continue
        places = torch.tensor(reached, device=device)
        pieces = [each.flatten().split(_PIECE) for each in column if each is not None]
        for piece in zip(*pieces, strict=True):
            matrix = torch.stack(piece).to(dtype)
            gramian[places[:, None], places] += matrix @ matrix.T
    return gramian


def _combined(column: Sequence[Tensor | None], weights: Sequence[float]) -> Tensor | None:
    """Weighted sum; it overwrites the first tensor, so that no memory is added."""
    total: Tensor | None = None
    for weight, each in zip(weights, column, strict=True):
        if each is not None:
            total = each.mul_(weight) if total is None else total.add_(each, alpha=weight)
    return total
