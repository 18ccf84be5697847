"""Weights of tasks from the inner products of their gradients: small problems solved with scipy.

The problems have as many unknowns as there are tasks, so an exact solution takes a millisecond.
The usual solvers are not exact (a Frank-Wolfe iteration) or under the GPL (quadprog, ECOS). An
exact solution also does not amplify rounding, so that several processes train as one.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize, nnls

_REGULARIZATION = 1e-12  # of the trace: makes a Gramian of dependent gradients positive definite
_NEWTON_STEPS = 200


def shortest_combination(gramian: np.ndarray) -> np.ndarray:
    r"""The :math:`a` that minimizes :math:`a^\top G a` with :math:`a \ge 0, \sum_t a_t = 1`.

    For :math:`G = F^\top F` it is, up to its length, the non-negative solution of the least-squares
    problem :math:`\|F a\|^2 + (\sum_t a_t - 1)^2`.

    Args:
        gramian: G, ``(T, T)``.

    Returns:
        a, ``(T,)``.

    Example:
        >>> shortest_combination(np.diag([1.0, 4.0]))
        array([0.8, 0.2])
    """
    size = len(gramian)
    factor = np.linalg.cholesky(_regularized(gramian / np.trace(gramian))).T
    found, _ = nnls(np.vstack([factor, np.ones(size)]), np.append(np.zeros(size), 1.0))
    return found / found.sum()


def dual_cone_weights(gramian: np.ndarray, start: np.ndarray) -> np.ndarray:
    r"""Project a combination of gradients onto the vectors that conflict with no gradient.

    The :math:`v` that minimizes :math:`v^\top G v` subject to :math:`v \ge u` (Quinton and Rey,
    "Jacobian Descent for Multi-Objective Optimization", 2024, Proposition 1), as a non-negative
    least-squares problem.

    Args:
        gramian: G, ``(T, T)``.
        start: u, ``(T,)``: weights of the combination.

    Returns:
        v, ``(T,)``: weights of its projection.

    Example:
        >>> gramian = np.array([[1.0, -1.0], [-1.0, 2.0]])  # gradients (1, 0) and (-1, 1)
        >>> dual_cone_weights(gramian, np.array([1.0, 0.0])).round(3)
        array([1. , 0.5])
    """
    factor = np.linalg.cholesky(_regularized(gramian)).T  # G = F^T F
    added, _ = nnls(factor, -factor @ start)
    return start + added


def conflict_averse_weights(gramian: np.ndarray, radius: float) -> np.ndarray:
    r"""Weights of CAGrad (Liu et al., NeurIPS 2021, Algorithm 1).

    With :math:`g_0` the mean of the gradients and :math:`g_w = \sum_t w_t g_t`, the update is
    :math:`g_0 + c \|g_0\| g_w / \|g_w\|` for the w in the simplex that minimizes
    :math:`g_w \cdot g_0 + c \|g_0\| \|g_w\|`.

    Args:
        gramian: ``(T, T)``.
        radius: c, 0 or more: 0 is the mean of the gradients.

    Returns:
        ``(T,)``: weights of the gradients in the update. All are 0 if a combination of the
        gradients vanishes, since no update improves all tasks then.

    Example:
        >>> conflict_averse_weights(np.eye(2), 0.5).round(3)
        array([0.75, 0.75])
    """
    size = len(gramian)
    gramian = gramian / np.trace(gramian)
    mean = np.full(size, 1 / size)
    reach = radius * _norm(gramian, mean)

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        norm = max(_norm(gramian, w), 1e-12)
        along = gramian @ mean
        return float(w @ along + reach * norm), along + reach * (gramian @ w) / norm

    found = minimize(
        objective,
        mean,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * size,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(size)},
        options={"ftol": 1e-15, "maxiter": 500},
    )
    w = np.clip(found.x, 0, None)
    w = w / w.sum()
    norm = _norm(gramian, w)
    return mean + reach / norm * w if norm > 1e-6 else np.zeros(size)


def bargaining_weights(gramian: np.ndarray) -> np.ndarray:
    r"""The Nash bargaining solution: :math:`G a = 1 / a` with :math:`a > 0` (Navon et al., 2022).

    It is the minimum of the convex function :math:`a^\top G a / 2 - \sum_t \log a_t`, found with
    Newton's method. As in the released code, G is divided by its norm first, so that the weights do
    not depend on the scale of the losses.

    Args:
        gramian: G, ``(T, T)``.

    Returns:
        a, ``(T,)``.

    Example:
        >>> gramian = np.array([[3.0, 0.0], [0.0, 4.0]])
        >>> (bargaining_weights(gramian) ** 2).round(3)  # 1 / diagonal of G / 5
        array([1.667, 1.25 ])
    """
    matrix = _regularized(gramian) / np.linalg.norm(gramian)
    # Exact without the other gradients, and scaled so that a^T G a = T holds as at the solution.
    a = 1 / np.sqrt(np.diag(matrix))
    a *= np.sqrt(len(a) / (a @ matrix @ a))

    def value(a: np.ndarray) -> float:
        return a @ matrix @ a / 2 - np.log(a).sum()

    for _ in range(_NEWTON_STEPS):
        slope = matrix @ a - 1 / a
        if np.abs(slope * a).max() < 1e-12:
            break
        move = -np.linalg.solve(matrix + np.diag(a**-2), slope)
        step = 1.0
        while (a + step * move).min() <= 0 or value(a + step * move) > value(a):
            step /= 2
            if step < 1e-12:
                return a
        a = a + step * move
    return a


def _regularized(gramian: np.ndarray) -> np.ndarray:
    return gramian + _REGULARIZATION * np.trace(gramian) * np.eye(len(gramian))


def _norm(gramian: np.ndarray, weights: np.ndarray) -> float:
    return float(np.sqrt(max(weights @ gramian @ weights, 0.0)))
