"""Intervals of Δm: comparison with a slow reference, coverage, and errors."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from reference.batches import every_task
from reference.bootstrap import SCORES, gain_draws, mean_iou, pooled_rmse
from taskprism.errors import DataError, InputError, UnknownNameError
from taskprism.metrics.regression import DepthSums
from taskprism.scoring.compare import compare
from taskprism.scoring.image_states import ImageStates, read_image_states
from taskprism.scoring.intervals import (
    GainBootstrap,
    bootstrap_gain,
    image_counts,
    resampled_scores,
)
from taskprism.scoring.runs import IMAGE_STATES_FILE, RunResult
from taskprism.scoring.tables import markdown, text_table, to_csv, to_json
from taskprism.tasks import create_task

SEMSEG, DEPTH = create_task("semseg", 3), create_task("depth")
TASKS = {"semseg": SEMSEG, "depth": DEPTH}
PIXELS = 50
SQUARED, COUNT = DepthSums._fields.index("squared"), DepthSums._fields.index("elements")
NAMES = [f"image{i}" for i in range(24)]


def confusions(rng, difficulty, skill):
    """One confusion matrix per image; hard images are hard for every network."""
    found = np.zeros((len(difficulty), 3, 4), np.int64)
    for image, hard in enumerate(difficulty):
        right = np.clip(skill - hard + rng.normal(0, 0.02), 0.05, 0.95)
        labels = rng.integers(0, 3, PIXELS)
        guesses = np.where(rng.random(PIXELS) < right, labels, rng.integers(0, 3, PIXELS))
        np.add.at(found[image], (labels, guesses), 1)
    return found


def squared_errors(rng, difficulty, size):
    """Sums of depth errors per image; only those that the pooled RMSE uses are filled."""
    found = np.zeros((len(difficulty), len(DepthSums._fields)))
    found[:, SQUARED] = PIXELS * (size * (1 + difficulty) + rng.normal(0, 0.02)) ** 2
    found[:, COUNT] = PIXELS
    return found


def states_of(arrays, names=NAMES):
    tasks = {name: TASKS[name] for name in arrays}
    kinds = {"semseg": "confusion", "depth": "depth_sums"}
    return ImageStates(
        tuple(names), tasks, {name: {kinds[name]: values} for name, values in arrays.items()}
    )


def values_of(arrays):
    scores = {}
    if "semseg" in arrays:
        scores["semseg"] = {"miou": mean_iou(list(arrays["semseg"]))}
    if "depth" in arrays:
        scores["depth"] = {"rmse": pooled_rmse(list(arrays["depth"][:, [SQUARED, COUNT]]))}
    return scores


def a_run(path: Path, seed: int, arrays, model="mti_net", names=NAMES) -> RunResult:
    path.mkdir(parents=True)
    (path / IMAGE_STATES_FILE).write_bytes(states_of(arrays, names).to_bytes())
    primary = {"semseg": "miou", "depth": "rmse"}
    better = {"semseg": {"miou": True}, "depth": {"rmse": False}}
    return RunResult(
        path=path,
        name=model,
        model=model,
        backbone="net",
        protocol="toy",
        split="test",
        seed=seed,
        epoch=1,
        metrics=values_of(arrays),
        higher_is_better={task: better[task] for task in arrays},
        primary={task: primary[task] for task in arrays},
    )


@pytest.fixture
def arrays():
    """Three seeds of a method and of the single-task networks, on the same images."""
    rng = np.random.default_rng(0)
    difficulty = rng.uniform(0, 0.4, len(NAMES))

    def seeds(skill, size):
        return [
            {
                "semseg": confusions(rng, difficulty, skill + rng.normal(0, 0.05)),
                "depth": squared_errors(rng, difficulty, size + rng.normal(0, 0.05)),
            }
            for _ in range(3)
        ]

    return seeds(0.85, 0.9), seeds(0.75, 1.0)


@pytest.fixture
def runs(arrays, tmp_path):
    """The same data as runs; each single-task network has one task."""
    method, baseline = arrays
    ours = [a_run(tmp_path / f"mti{s}", s, one) for s, one in enumerate(method)]
    theirs = [
        a_run(tmp_path / f"{task}{s}", s, {task: one[task]}, "single_task")
        for s, one in enumerate(baseline)
        for task in one
    ]
    return ours, theirs


def plain(arrays):
    """Input of the reference: lists of images by metric."""
    return [
        {"miou": list(one["semseg"]), "rmse": list(one["depth"][:, [SQUARED, COUNT]])}
        for one in arrays
    ]


def test_scores_of_draws_equal_scores_of_repeated_images(arrays):
    one = arrays[0][0]
    counts = image_counts(len(NAMES), 5, seed=3)
    assert counts[0].tolist() == [1.0] * len(NAMES)
    assert (counts.sum(axis=1) == len(NAMES)).all()
    (images,) = plain([one])
    for task, metric in [("semseg", "miou"), ("depth", "rmse")]:
        found = resampled_scores(states_of(one), task, metric, counts)
        for score, draw in zip(found, counts, strict=True):
            repeated = [images[metric][i] for i in np.repeat(np.arange(24), draw.astype(int))]
            assert score == pytest.approx(SCORES[metric][0](repeated), rel=1e-12)


@pytest.mark.parametrize(
    "task",
    [
        *every_task(),
        create_task("semseg", 5, absent_classes="zero"),
        create_task("edge", odsf=True, odsf_thresholds=5, primary_metric="odsf"),
    ],
    ids=lambda task: f"{task.kind} {task.primary_metric}",
)
def test_resampled_scores_equal_the_metric_for_every_task(task):
    """Includes metrics that cannot be computed for all draws at once."""
    rng = np.random.default_rng(1)
    empty = task.metrics()[task.primary_metric].metric_state
    states = {
        name: rng.integers(1, 9, (4, *state.shape)).astype(state.numpy().dtype)
        for name, state in empty.items()
    }
    counts = image_counts(4, 3, seed=0)
    kept = ImageStates(tuple("abcd"), {task.name: task}, {task.name: states})
    found = resampled_scores(kept, task.name, task.primary_metric, counts)
    for score, draw in zip(found, counts, strict=True):
        metric = task.metrics()[task.primary_metric]
        for name, values in states.items():
            total = np.tensordot(draw.astype(values.dtype), values, 1)
            setattr(metric, name, empty[name].new_tensor(total))
        metric._update_count = 1
        np.testing.assert_allclose(score, metric.compute().item(), rtol=1e-12)


@pytest.mark.parametrize("paired", [True, False])
def test_interval_equals_the_reference(arrays, runs, paired):
    method, baseline = arrays
    ours, theirs = runs
    if not paired:
        ours = [RunResult(**{**vars(run), "seed": run.seed + 10}) for run in ours]
    found = bootstrap_gain(ours, theirs, samples=4000)
    sides = plain(method), plain(baseline)
    both = gain_draws(*sides, 1500, paired=paired)
    from_images = np.var(gain_draws(*sides, 600, paired=paired, over="images"))
    from_seeds = np.var(gain_draws(*sides, 2000, paired=paired, over="seeds"))
    assert found.seed_share == pytest.approx(from_seeds / (from_images + from_seeds), abs=0.1)
    once = max(2 * (from_images + from_seeds) - np.var(both), from_images, from_seeds)
    # Seeds vary with two degrees of freedom on each side; both sides vary about equally.
    unsure = from_seeds**2 / (2 if paired else 4) + (once - from_seeds) ** 2 / 23
    freedom = once**2 / unsure
    scale = np.sqrt(once / np.var(both)) * stats.t.ppf(0.975, freedom) / stats.norm.ppf(0.975)
    low, middle, high = np.quantile(both, [0.025, 0.5, 0.975])
    tolerance = 0.15 * (found.high - found.low)
    assert middle + scale * (low - middle) == pytest.approx(found.low, abs=tolerance)
    assert middle + scale * (high - middle) == pytest.approx(found.high, abs=tolerance)
    assert (found.seeds, found.baseline_seeds, found.images) == (3, 3, 24)
    assert found.remark == ""


def test_one_seed_resamples_images_only_and_has_a_remark(arrays, runs):
    method, baseline = arrays
    ours, theirs = runs
    found = bootstrap_gain(ours[:1], theirs, samples=4000)
    draws = gain_draws(plain(method[:1]), plain(baseline[:1]), 1500)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.08 * (high - low))
    assert found.high == pytest.approx(high, abs=0.08 * (high - low))
    assert found.seed_share is None
    assert found.remark.startswith("One seed of the method:")
    one = bootstrap_gain(ours[:1], theirs[:2], samples=10)
    assert one.remark.startswith("One seed of the method and of the baseline:")


def test_gain_of_a_method_over_itself_is_zero(arrays, runs, tmp_path):
    """The variation that both sides share cancels, because they have the same images."""
    ours, _ = runs
    found = bootstrap_gain(ours, ours, samples=50)
    assert (found.estimate, found.low, found.high) == (0, 0, 0)
    assert str(found) == "[+0.00, +0.00]"


def test_intervals_are_deterministic_and_read_each_run_once(runs, monkeypatch):
    ours, theirs = runs
    first = bootstrap_gain(ours, theirs, samples=200)
    maker = GainBootstrap(samples=200)
    assert maker.gain(ours, theirs) == first
    monkeypatch.setattr("taskprism.scoring.intervals.read_image_states", None)
    assert maker.gain(ours, theirs) == first


def values_in(run, task):
    (values,) = read_image_states(run.path).states[task].values()
    return values


def test_metrics_can_be_chosen_and_tasks_without_scores_are_excluded(runs):
    ours, theirs = runs
    both = bootstrap_gain(ours, theirs, samples=20)
    for run in [*ours, *theirs]:
        for name, scores in run.metrics.items():
            states = states_of({name: values_in(run, name)})
            more = {"semseg": "pixel_accuracy", "depth": "delta1"}[name]
            scores[more] = float(resampled_scores(states, name, more, np.ones((1, 24)))[0])
    accuracy = bootstrap_gain(ours, theirs, samples=20, metrics={"semseg": "pixel_accuracy"})
    assert accuracy.estimate != both.estimate
    unscored = {"depth": "rmse", "semseg": "mean_accuracy"}
    assert bootstrap_gain(ours, theirs, samples=20, metrics=unscored) == bootstrap_gain(
        ours, theirs, samples=20, metrics={"depth": "rmse"}
    )


def test_incomparable_runs_raise(arrays, runs, tmp_path):
    ours, theirs = runs
    method, _ = arrays
    other = a_run(tmp_path / "other", 0, method[0], names=NAMES[::-1])
    with pytest.raises(InputError, match="different images"):
        bootstrap_gain([other], theirs)
    with pytest.raises(InputError, match="needs runs"):
        bootstrap_gain([], theirs)
    with pytest.raises(InputError, match="no scored task in common"):
        bootstrap_gain(ours, theirs, metrics={})
    with pytest.raises(InputError, match=r"level in \(0, 1\)"):
        bootstrap_gain(ours, theirs, level=95)
    (ours[0].path / IMAGE_STATES_FILE).write_bytes(states_of(method[1]).to_bytes())
    with pytest.raises(DataError, match=r"another evaluation \(semseg miou"):
        bootstrap_gain(ours, theirs, samples=5)
    (ours[0].path / IMAGE_STATES_FILE).unlink()
    with pytest.raises(DataError, match="taskprism evaluate"):
        bootstrap_gain(ours, theirs, samples=5)


def test_missing_states_of_a_metric_raise():
    normals = create_task("normals")
    sums = normals.metrics()["mean_angle"].metric_state["angle_sums"]
    states = ImageStates(
        ("a",), {"normals": normals}, {"normals": {"angle_sums": sums.numpy()[None]}}
    )
    with pytest.raises(InputError, match=r"'median_angle' \(angle_histogram\)"):
        resampled_scores(states, "normals", "median_angle", np.ones((1, 1)))
    with pytest.raises(UnknownNameError, match="metric of task 'normals'"):
        resampled_scores(states, "normals", "miou", np.ones((1, 1)))
    with pytest.raises(UnknownNameError, match="task with image states"):
        resampled_scores(states, "depth", "rmse", np.ones((1, 1)))


def test_comparison_shows_the_interval(runs):
    ours, theirs = runs
    table = compare([*ours, *theirs])
    (row,) = [row for row in table.rows if not row.is_baseline]
    expected = bootstrap_gain(ours, theirs)
    assert row.gain_interval == expected
    assert row.gain.mean == pytest.approx(expected.estimate)
    text = markdown(table)
    assert "| Δm (%) ↑ | Δm 95% |" in text
    assert f"| {expected} |" in text
    assert "95% interval of Δm, from a paired bootstrap over 24 test images" in text
    (line,) = [line for line in to_csv(table).splitlines() if "mti_net" in line]
    assert line.endswith(f",{expected.low},{expected.high}")
    found = [line["gain_interval_percent"] for line in json.loads(to_json(table))["rows"]]
    assert found == [None, asdict(expected)]
    screen = io.StringIO()
    text_table(table).print(Console(file=screen, width=200))
    assert str(expected) in screen.getvalue()


def test_comparison_explains_missing_and_partial_intervals(runs):
    ours, theirs = runs
    one = compare([*ours[:1], *theirs])
    assert any(note.startswith("Δm of mti_net: one seed of the method") for note in one.notes)
    remark = "the interval does not include seed-to-seed variation"
    twin = replace(ours[0], name="pad_net", model="pad_net")
    two = compare([ours[0], twin, *theirs])
    (note,) = [note for note in two.notes if remark in note]
    assert note.startswith("Δm of mti_net, pad_net: ")
    (ours[0].path / IMAGE_STATES_FILE).unlink()
    some = compare([*ours, *theirs])
    assert any(note.startswith("No interval of Δm for mti_net") for note in some.notes)
    for run in [*ours, *theirs]:
        (run.path / IMAGE_STATES_FILE).unlink(missing_ok=True)
    none = compare([*ours, *theirs])
    assert not any("interval" in note for note in none.notes)
    assert "95%" not in markdown(none)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.05], ids=["images alone", "mostly seeds"])
def test_intervals_have_the_nominal_coverage(noise, monkeypatch):
    """19 of 20 intervals contain the true value, even if most variance is from three seeds."""
    rng = np.random.default_rng(5)
    states: dict[Path, ImageStates] = {}
    monkeypatch.setattr("taskprism.scoring.intervals.read_image_states", states.__getitem__)

    def toy(name, seed, difficulty, size):
        path = Path(f"{name}{seed}")
        mean = size + rng.normal(0, noise)
        absolute = PIXELS * (mean + difficulty + rng.normal(0, 0.1, len(difficulty)))
        sums = np.zeros((len(difficulty), len(DepthSums._fields)))
        sums[:, COUNT], sums[:, DepthSums._fields.index("absolute")] = PIXELS, absolute
        states[path] = states_of({"depth": sums}, [str(i) for i in range(len(difficulty))])
        metrics = {"depth": {"abs_error": absolute.sum() / PIXELS / len(difficulty)}}
        better, primary = {"depth": {"abs_error": False}}, {"depth": "abs_error"}
        place = (path, name, name, "", "toy", "test", seed, 1)
        return RunResult(*place, metrics, better, primary)

    trials, hits, truth = 150, 0, 10.0
    for trial in range(trials):
        difficulty = rng.normal(0, 0.3, 40)
        ours = [toy("ours", seed, difficulty, 0.9) for seed in range(3)]
        theirs = [toy("theirs", seed, difficulty, 1.0) for seed in range(3)]
        interval = bootstrap_gain(ours, theirs, samples=300, seed=trial)
        hits += interval.low <= truth <= interval.high
    # 95 % of 150 is 142.5 with a standard deviation of 2.7.
    assert 134 <= hits <= 149
