r"""Confidence intervals of Δm: a paired bootstrap over images and seeds.

A sample draws as many test images as there are, with replacement, and scores the method and its
single-task networks on *the same* draw. Images that are hard for one are often hard for the other,
and this common part cancels. A sample also draws :math:`S - 1` of the S seeds, with which the mean
over seeds has the unbiased variance :math:`s^2 / S` (Rao and Wu, JASA 1988). With S draws, the
variance would be too small, by a third for three seeds. If every seed of the method has single-task
networks with the same seed, seeds are drawn in pairs, because Δm is computed in pairs. Otherwise
the seeds of both sides are drawn independently.

Two corrections scale the quantiles of the draws around their median:

* The effect of a seed on single images is part of the variance over seeds, of the variance over
  images, and of the additional variance of drawing both. It must be counted once (Owen, Annals of
  Applied Statistics 2007), so the variance of the draws, :math:`V`, becomes
  :math:`2 (V_{seeds} + V_{images}) - V`.
* Quantiles over few seeds are too narrow. They are multiplied by :math:`t_\nu / z`, the ratio of
  the quantiles of Student's and the normal distribution, with the degrees of freedom :math:`\nu` of
  Welch and Satterthwaite. The factor is about 1 if most of the variance comes from images, and 2.2
  if it comes from three seeds.

Images are treated as independent. If a split contains several frames of one scene, the true
interval is wider.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from taskprism.errors import DataError, InputError
from taskprism.scoring.image_states import ImageStates, read_image_states, scores_of_states
from taskprism.scoring.runs import RunResult
from taskprism.scoring.tables import Interval


class GainBootstrap:
    """Computes intervals for several methods on the same images, and reads each run once.

    Args:
        samples: Number of draws.
        level: Level of the intervals, in (0, 1).
        seed: Seed of the draws.

    Raises:
        InputError: A number is out of range.

    Example:
        >>> from taskprism.scoring import find_runs
        >>> bootstrap = GainBootstrap(samples=200)
        >>> runs, baseline = find_runs(["runs/mti"]), find_runs(["runs/st"])  # doctest: +SKIP
        >>> print(bootstrap.gain(runs, baseline))  # doctest: +SKIP
        [+0.50, +3.50]
    """

    def __init__(self, samples: int = 1000, level: float = 0.95, seed: int = 0) -> None:
        if samples < 1 or not 0 < level < 1:
            raise InputError(
                f"Expected at least 1 sample and a level in (0, 1), got {samples} and {level}."
            )
        self.samples = samples
        self.level = level
        self.seed = seed
        self._names: tuple[str, ...] = ()
        self._counts = np.empty((0, 0))
        self._scores: dict[tuple[Path, str, str], tuple[np.ndarray, bool]] = {}

    def gain(
        self,
        runs: Sequence[RunResult],
        baseline: Sequence[RunResult],
        metrics: Mapping[str, str] | None = None,
    ) -> Interval:
        """Interval of the Δm of a method.

        Args:
            runs: Runs of the method, one per seed.
            baseline: Single-task runs with one or several tasks each and any seeds.
            metrics: Task -> metric that Δm uses; by default the primary metric of each task. Tasks
                are left out if one side has no score or the baseline's score is 0.

        Raises:
            DataError: A run has no image states, or those of another evaluation.
            InputError: There is no run or no task to compare, or the runs were scored on different
                images.
        """
        if not runs or not baseline:
            raise InputError("An interval of Δm needs runs of a method and of its baseline.")
        chosen = metrics if metrics is not None else runs[0].primary
        single_task = {
            task: [run for run in baseline if metric in run.metrics.get(task, {})]
            for task, metric in chosen.items()
            if all(metric in run.metrics.get(task, {}) for run in runs)
        }
        ours: dict[str, np.ndarray] = {}  # (seeds, 1 + samples)
        theirs: dict[str, np.ndarray] = {}
        signs: dict[str, float] = {}
        for task, rivals in single_task.items():
            if not rivals:
                continue
            mine = np.stack([self._run(run, task, chosen[task])[0] for run in runs])
            single = [self._run(run, task, chosen[task]) for run in rivals]
            other = np.stack([scores for scores, _ in single])
            usable = np.isfinite([*mine[:, 0], *other[:, 0]]).all() and other[:, 0].all()
            if usable:
                ours[task], theirs[task] = mine, other
                signs[task] = 1.0 if single[0][1] else -1.0
        if not ours:
            raise InputError("The runs and their baseline have no scored task in common.")
        seeds = {task: [run.seed for run in single_task[task]] for task in ours}
        return self._interval([run.seed for run in runs], seeds, ours, theirs, signs)

    def _run(self, run: RunResult, task: str, metric: str) -> tuple[np.ndarray, bool]:
        """Scores over all draws, and whether higher is better."""
        key = (run.path, task, metric)
        if key not in self._scores:
            states = read_image_states(run.path)
            if not self._names:
                self._names = states.names
                self._counts = image_counts(len(states.names), self.samples, self.seed)
            if states.names != self._names:
                raise InputError(f"{run.path} was scored on different images than the other runs.")
            scores = resampled_scores(states, task, metric, self._counts)
            written = run.metrics[task][metric]
            if not math.isclose(scores[0], written, rel_tol=1e-6) and not math.isnan(written):
                raise DataError(
                    f"The image states in {run.path} belong to another evaluation ({task} {metric} "
                    f"{scores[0]:.6g}, not {written:.6g}). Write them again with `taskprism "
                    f"evaluate {run.path}`."
                )
            self._scores[key] = (scores, states.tasks[task].higher_is_better[metric])
        return self._scores[key]

    def _interval(
        self,
        seeds: Sequence[int],
        baseline_seeds: Mapping[str, Sequence[int]],
        ours: Mapping[str, np.ndarray],
        theirs: Mapping[str, np.ndarray],
        signs: Mapping[str, float],
    ) -> Interval:
        random = np.random.default_rng([self.seed, 1])
        draws = self._draws(random, len(seeds))
        paired = all(set(seeds) <= set(found) for found in baseline_seeds.values())
        references, fixed, variances = {}, {}, []
        for task, scores in theirs.items():
            if paired:
                found = baseline_seeds[task]
                own = np.stack([scores[np.equal(found, seed)].mean(axis=0) for seed in seeds])
                references[task] = fixed[task] = own
                continue
            own_draws = self._draws(random, len(scores))
            references[task] = (own_draws * scores).sum(axis=0)
            fixed[task] = scores.mean(axis=0)
            if len(scores) > 1:
                slope = 100 / len(ours) * ours[task][:, 0].mean() / fixed[task][0] ** 2
                spread = slope**2 * scores[:, 0].var(ddof=1) / len(scores)
                variances.append((spread, len(scores) - 1))
        gains = _gains(ours, references, signs)
        over_images = _gains(ours, fixed, signs).mean(axis=0)
        if len(seeds) > 1:
            spread = _gains(ours, fixed, signs)[:, 0].var(ddof=1) / len(seeds)
            variances.append((spread, len(seeds) - 1))
        replicates = (draws * gains).sum(axis=0)[1:]
        known = np.isfinite(replicates)
        if not known.any():
            raise InputError(
                "In every draw of images, some task has no label, so Δm has no interval."
            )
        from_images = over_images[1:][known].var()
        outside = (1 - self.level) / 2
        low, middle, high = np.quantile(replicates[known], [outside, 0.5, 1 - outside])
        images = len(self._names)
        from_seeds = sum(variance for variance, _ in variances)
        total, drawn = from_images + from_seeds, replicates[known].var()
        once = min(max(2 * total - drawn, from_images, from_seeds), drawn)
        widening = _widening(once, [*variances, (once - from_seeds, images - 1)], 1 - outside)
        widening *= math.sqrt(once / drawn) if drawn > 0 else 1.0
        return Interval(
            estimate=float(over_images[0]),
            low=float(middle + widening * (low - middle)),
            high=float(middle + widening * (high - middle)),
            level=self.level,
            samples=int(known.sum()),
            images=images,
            seeds=len(seeds),
            baseline_seeds=min(len(found) for found in baseline_seeds.values()),
            seed_share=float(from_seeds / total) if variances and total > 0 else None,
        )

    def _draws(self, random: np.random.Generator, seeds: int) -> np.ndarray:
        """Weights ``(seeds, 1 + samples)`` of seeds in a mean: equal weights, then the draws."""
        drawn = max(seeds - 1, 1)
        draws = random.multinomial(drawn, np.full(seeds, 1 / seeds), self.samples) / drawn
        return np.concatenate([np.full((1, seeds), 1 / seeds), draws]).T


def bootstrap_gain(
    runs: Sequence[RunResult],
    baseline: Sequence[RunResult],
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    metrics: Mapping[str, str] | None = None,
) -> Interval:
    """Interval of the Δm of one method; see :class:`GainBootstrap` for the arguments.

    Example:
        >>> from taskprism.scoring import find_runs
        >>> runs, baseline = find_runs(["runs/mti"]), find_runs(["runs/st"])  # doctest: +SKIP
        >>> bootstrap_gain(runs, baseline).low  # doctest: +SKIP
        0.5
    """
    return GainBootstrap(samples, level, seed).gain(runs, baseline, metrics)


def _gains(
    ours: Mapping[str, np.ndarray],
    references: Mapping[str, np.ndarray],
    signs: Mapping[str, float],
) -> np.ndarray:
    """Δm in percent ``(seeds, 1 + samples)``, as in :func:`taskprism.metrics.gain`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [
            100 * signs[task] * (ours[task] - references[task]) / np.abs(references[task])
            for task in ours
        ]
    return np.mean(parts, axis=0)


def _widening(total: float, variances: Sequence[tuple[float, int]], quantile: float) -> float:
    """Student's quantile divided by the normal one, for a sum of estimated variances."""
    unsure = sum(variance**2 / max(freedom, 1) for variance, freedom in variances)
    if unsure == 0:
        return 1.0
    return float(stats.t.ppf(quantile, total**2 / unsure) / stats.norm.ppf(quantile))


def image_counts(images: int, samples: int, seed: int) -> np.ndarray:
    """How often each image counts.

    Args:
        images: Number of images.
        samples: Number of draws of ``images`` images with replacement.
        seed: Seed of the draws.

    Returns:
        ``(1 + samples, images)`` float64: every image once, then the draws.

    Example:
        >>> image_counts(4, 2, seed=0).sum(axis=1)
        array([4., 4., 4.])
    """
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), samples)
    return np.concatenate([np.ones((1, images)), draws])


def resampled_scores(states: ImageStates, task: str, metric: str, counts: np.ndarray) -> np.ndarray:
    """Scores of a task over several selections of images.

    Args:
        states: Image states of one run.
        task: Name of the task.
        metric: Key of one of its metrics.
        counts: ``(R, images)``, how often each image counts in each selection.

    Returns:
        ``(R,)`` float64; NaN where no image has a label.

    Raises:
        UnknownNameError: The run has no states of this task, or the task has no such metric.
        InputError: The metric's states were too large to record.

    Example:
        >>> from taskprism.scoring.image_states import ImageStateRecorder
        >>> from taskprism.tasks import create_task
        >>> depth = create_task("depth")
        >>> recorder, metrics = ImageStateRecorder([depth]), depth.metrics()
        >>> recorder.add_images(["a", "b"])
        >>> output, target = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1), torch.ones(2, 1, 1, 1)
        >>> recorder.update(depth, metrics, output, target, target > 0)
        >>> counts = np.array([[1.0, 1.0], [2.0, 0.0]])
        >>> resampled_scores(recorder.gathered(), "depth", "abs_error", counts)
        array([1., 0.])
    """
    chosen, kept = states.of_metric(task, metric)
    return scores_of_states(
        chosen, {name: _weighted(values, counts) for name, values in kept.items()}
    )


def _weighted(values: np.ndarray, counts: np.ndarray) -> Tensor:
    """Sums ``(R, ...)`` of ``values`` ``(images, ...)``, of the same type."""
    flat = values.reshape(len(values), math.prod(values.shape[1:]))
    used = np.flatnonzero(flat.any(axis=0))  # most entries of a confusion matrix are 0
    sums = np.zeros((len(counts), flat.shape[1]), values.dtype)
    products = counts @ flat[:, used].astype(np.float64)
    sums[:, used] = np.rint(products) if np.issubdtype(values.dtype, np.integer) else products
    return torch.from_numpy(sums.reshape(len(counts), *values.shape[1:]))
