"""Gradient balancings: MGDA, PCGrad, CAGrad, IMTL-G, Aligned-MTL, Nash-MTL and UPGrad.

PCGrad, IMTL-G and Aligned-MTL take their weights from torchjd
(``pip install 'taskprism[balancing]'``). The others need to solve a small problem, for which
torchjd has an approximation or a solver under the GPL; see
:mod:`taskprism.losses.gramian_solvers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from taskprism.checks import check_choice, check_integer, check_number
from taskprism.extras import import_extra
from taskprism.losses.balancing import register_balancer
from taskprism.losses.draws import MOST_SEED, draw_generator
from taskprism.losses.gradient_balancing import GradientBalancing, Where
from taskprism.losses.gramian_solvers import (
    bargaining_weights,
    conflict_averse_weights,
    dual_cone_weights,
    shortest_combination,
)


def _torchjd(name: str, **options: Any) -> Any:
    """Create a weighting of torchjd.

    Raises:
        InputError: torchjd is not installed.
    """
    aggregation = import_extra("torchjd.aggregation", "balancing", "This balancing")
    return getattr(aggregation, name)(**options)


@register_balancer
class MGDA(GradientBalancing):
    r"""Multiple-gradient descent: the shortest convex combination of the gradients.

    Désidéri, 2012; Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS
    2018: :math:`\min_a \|\sum_t a_t g_t\|^2` with :math:`a \ge 0, \sum_t a_t = 1`, solved exactly
    (the paper: approximately, with Frank-Wolfe). On features it is MGDA-UB of section 3.3. Tasks
    with small gradients get the largest weights.

    Args:
        weights: Task name -> factor of the loss before balancing.
        shared: See :class:`~taskprism.losses.GradientBalancing`.

    Example:
        >>> import torch
        >>> from taskprism.losses import create_balancer
        >>> mgda = create_balancer("mgda", {"a": 1, "b": 1})
        >>> mgda.task_weights(torch.diag(torch.tensor([1.0, 4.0])), {})  # orthogonal gradients
        tensor([0.8000, 0.2000])
    """

    name: ClassVar[str] = "mgda"

    def task_weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Weights of at least 0 and sum 1."""
        return _like(gramian, shortest_combination(gramian.numpy()))


@register_balancer
class PCGrad(GradientBalancing):
    r"""Gradient surgery: remove from each gradient what conflicts with the others.

    Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, Algorithm 1: for each task
    i and, in random order, each other task j with :math:`g_i \cdot g_j < 0`, subtract from
    :math:`g_i` its projection on :math:`g_j`; then add up. Without conflicts it is the sum.

    Args:
        weights: Task name -> factor of the loss before balancing.
        shared: See :class:`~taskprism.losses.GradientBalancing`.
        seed: Of the random order, 0 or more.

    Raises:
        InputError: torchjd is not installed.

    Example:
        >>> import torch
        >>> from taskprism.losses import create_balancer
        >>> pcgrad = create_balancer("pcgrad", {"a": 1, "b": 1})
        >>> pcgrad.task_weights(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]), {})
        tensor([1.5000, 1.5000])
    """

    name: ClassVar[str] = "pcgrad"

    def __init__(
        self,
        weights: Mapping[str, float],
        shared: Where = "features",
        seed: Annotated[int, Field(ge=0, le=MOST_SEED)] = 0,
    ) -> None:
        super().__init__(weights, shared)
        self.seed = check_integer("PCGrad", "seed", seed, 0, MOST_SEED)
        self._weighting = _torchjd("PCGradWeighting")

    def task_weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Weights of 1 or more."""
        # torchjd draws from the global generator; all processes must draw the same order.
        before = torch.get_rng_state()
        torch.set_rng_state(draw_generator(self.seed, int(self.steps)).get_state())
        try:
            return self._weighting(gramian)
        finally:
            torch.set_rng_state(before)


@register_balancer
class CAGrad(GradientBalancing):
    r"""Conflict-averse gradients: improve the worst task, not far from the mean gradient.

    Liu et al., "Conflict-Averse Gradient Descent for Multi-Task Learning", NeurIPS 2021:
    :math:`\max_d \min_t g_t \cdot d` with :math:`\|d - g_0\| \le c \|g_0\|`, where :math:`g_0` is
    the mean gradient; see :func:`~taskprism.losses.gramian_solvers.conflict_averse_weights`.

    Args:
        weights: Task name -> factor of the loss before balancing.
        shared: See :class:`~taskprism.losses.GradientBalancing`.
        c: Radius, 0 or more; 0 is the mean gradient, large values approach MGDA.

    Example:
        >>> import torch
        >>> from taskprism.losses import create_balancer
        >>> cagrad = create_balancer("cagrad", {"a": 1, "b": 1}, c=0.5)
        >>> cagrad.task_weights(torch.eye(2), {})
        tensor([0.7500, 0.7500])
    """

    name: ClassVar[str] = "cagrad"

    def __init__(
        self,
        weights: Mapping[str, float],
        shared: Where = "features",
        c: Annotated[float, Field(ge=0, le=100)] = 0.4,
    ) -> None:
        super().__init__(weights, shared)
        self.c = check_number("CAGrad", "c", c, 0, 100)

    def task_weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Weights of at least 1 / T, or all 0 where no direction improves all tasks."""
        return _like(gramian, conflict_averse_weights(gramian.numpy(), self.c))


@register_balancer
class IMTLG(GradientBalancing):
    r"""Impartial gradients: the combination has the same projection onto every gradient.

    Liu et al., "Towards Impartial Multi-Task Learning", ICLR 2021, section 3.1: with
    :math:`u_t = g_t / \|g_t\|`, :math:`d = \sum_t a_t g_t` satisfies :math:`d \cdot u_i = d \cdot
    u_j` for all tasks, and :math:`\sum_t a_t = 1`. Weights can be negative.

    Args:
        weights: Task name -> factor of the loss before balancing. It has no effect here.
        shared: See :class:`~taskprism.losses.GradientBalancing`.

    Raises:
        InputError: torchjd is not installed.

    Example:
        >>> import torch
        >>> from taskprism.losses import create_balancer
        >>> imtl_g = create_balancer("imtl_g", {"a": 1, "b": 1})
        >>> imtl_g.task_weights(torch.diag(torch.tensor([1.0, 9.0])), {})
        tensor([0.7500, 0.2500])
    """

    name: ClassVar[str] = "imtl_g"

    def __init__(self, weights: Mapping[str, float], shared: Where = "features") -> None:
        super().__init__(weights, shared)
        self._weighting = _torchjd("IMTLGWeighting")

    def task_weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Weights of sum 1."""
        return self._weighting(gramian)


@register_balancer
class AlignedMTL(GradientBalancing):
    r"""Aligned gradients: make the gradients orthogonal and equally long.

    Senushkin et al., "Independent Component Alignment for Multi-Task Learning", CVPR 2023,
    Algorithm 1: the gradient matrix is replaced by the nearest one whose singular values are equal;
    the update is the mean of its rows.

    Args:
        weights: Task name -> factor of the loss before balancing.
        shared: See :class:`~taskprism.losses.GradientBalancing`.
        scale: Which singular value all become: the smallest (``"min"``, the paper), the median, or
            the root of the mean square (``"rmse"``, the released code).

    Raises:
        InputError: torchjd is not installed.

    Example:
        >>> import torch
        >>> from taskprism.losses import create_balancer
        >>> aligned = create_balancer("aligned_mtl", {"a": 1, "b": 1})
        >>> aligned.task_weights(torch.diag(torch.tensor([1.0, 4.0])), {})
        tensor([0.5000, 0.2500])
    """

    name: ClassVar[str] = "aligned_mtl"

    def __init__(
        self,
        weights: Mapping[str, float],
        shared: Where = "features",
        scale: Literal["min", "median", "rmse"] = "min",
    ) -> None:
        super().__init__(weights, shared)
        scale = check_choice("AlignedMTL", "scale", scale, ("min", "median", "rmse"))
        self._weighting = _torchjd("AlignedMTLWeighting", scale_mode=scale)

    def task_weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Weights, which can be negative."""
        return self._weighting(gramian)


@register_balancer
class NashMTL(GradientBalancing):
    r"""Nash bargaining between the tasks.

    Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022: the update maximizes
    :math:`\sum_t \log(g_t \cdot d)` over all d of a given length, which gives
    :math:`G a = 1 / a`; see :func:`~taskprism.losses.gramian_solvers.bargaining_weights`, which
    solves it exactly. (The paper approximates the solution by a sequence of convex problems.)

    Args:
        weights: Task name -> factor of the loss before balancing. It only changes the length of
            the update.
        shared: See :class:`~taskprism.losses.GradientBalancing`.

    Example:
        >>> import torch
        >>> from taskprism.losses import create_balancer
        >>> nash = create_balancer("nash_mtl", {"a": 1, "b": 1})
        >>> nash.task_weights(torch.diag(torch.tensor([3.0, 4.0])), {}) ** 2
        tensor([1.6667, 1.2500])
    """

    name: ClassVar[str] = "nash_mtl"

    def task_weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Positive weights."""
        return _like(gramian, bargaining_weights(gramian.numpy()))


@register_balancer
class UPGrad(GradientBalancing):
    r"""Unconflicting projection of gradients.

    Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024: each gradient is
    projected onto the cone of directions that conflict with no gradient, and the projections are
    averaged; see :func:`~taskprism.losses.gramian_solvers.dual_cone_weights`. Without conflicts it
    is the mean.

    Args:
        weights: Task name -> factor of the loss before balancing.
        shared: See :class:`~taskprism.losses.GradientBalancing`.

    Example:
        >>> import torch
        >>> from taskprism.losses import create_balancer
        >>> upgrad = create_balancer("upgrad", {"a": 1, "b": 1})
        >>> upgrad.task_weights(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]), {})
        tensor([0.7500, 0.7500])
    """

    name: ClassVar[str] = "upgrad"

    def task_weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Weights of at least 1 / T."""
        matrix, size = gramian.numpy(), len(gramian)
        projected = [dual_cone_weights(matrix, start) for start in np.eye(size)]
        return _like(gramian, np.mean(projected, axis=0))


def _like(gramian: Tensor, weights: np.ndarray) -> Tensor:
    return torch.from_numpy(weights).to(gramian.dtype)
