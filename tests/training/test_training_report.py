"""The report of a run: its numbers are those of the scores, and it survives what is missing."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix
from torchmetrics import MetricCollection

from reference.batches import random_batch
from taskprism.analysis.run_report import predicted, write_run_report
from taskprism.analysis.run_report.predicted import (
    CalibrationBins,
    Chosen,
    ErrorHistogram,
    Example,
    choose_images,
    diagnose,
)
from taskprism.analysis.run_report.sections import TaskFindings, task_section
from taskprism.cli import main
from taskprism.data import create_protocol
from taskprism.data.sample import Batch
from taskprism.errors import CheckpointError, InputError
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import load
from taskprism.models.predictions import Predictions
from taskprism.progress import Reporter
from taskprism.recipes.files import validate
from taskprism.scoring.evaluation import score, split_loader
from taskprism.scoring.tables import number
from taskprism.tasks import DenseTarget, Task, create_task
from taskprism.training import train

QUIET = Reporter(quiet=True)
VOID = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    """Cells of each table row, captions, titles of tiles, and addresses; tags must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.texts: dict[str, list[str]] = {}
        self.pictures: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag == "img":
            self.pictures.append((values["src"], values["alt"]))
        if "id" in values:
            self.ids.append(values["id"])
        assert not re.match(r"\w+://|//", values.get("href", "") or values.get("src", ""))
        if tag not in VOID:
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not self._open:
            return
        self.texts[self._open[-1]][-1] += data
        if self._open[-1] == "td":
            self.rows[-1].append(data)

    def row(self, name: str) -> list[str]:
        (row,) = [row for row in self.rows if row[:1] == [name]]
        return row


@pytest.fixture(scope="module")
def finished(tiny_data, tmp_path_factory) -> Path:
    """A run of two epochs; one of the five test images has no edge label."""
    folder = tmp_path_factory.mktemp("reported") / "run"
    recipe = {
        "name": "tiny",
        "model": {"name": "multi_task", "backbone": "test_resnet", "options": {"neck_channels": 8}},
        "data": {"protocol": str(tiny_data), "batch_size": 2},
        "tasks": ["semseg", "depth", "edge"],
        "optimizer": {"lr": 1e-3},
        "epochs": 2,
        "evaluate_every": 1,
    }
    return train(validate(recipe, "test"), folder, reporter=QUIET)


@pytest.fixture(scope="module")
def page(finished) -> Page:
    file = write_run_report(finished, reporter=QUIET)
    assert file == finished / "report.html"
    return Page(file.read_text(encoding="utf-8"))


@pytest.fixture
def quick_charts(monkeypatch) -> None:
    """Drawing takes longest, and one test looks at the drawn page."""
    for name in ("line_chart", "histogram_chart", "confusion_chart", "calibration_chart"):
        drawn = f"taskprism.analysis.run_report.sections.{name}"
        monkeypatch.setattr(drawn, lambda *arguments: "<svg></svg>")


def report(run: Path, **options) -> Page:
    return Page(write_run_report(run, reporter=QUIET, **options).read_text(encoding="utf-8"))


def copy(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / "copy"))


def test_every_score_is_that_of_the_evaluation(finished, page):
    scores = json.loads((finished / "metrics.json").read_text())
    for task, metrics in scores["metrics"].items():
        for metric, value in metrics.items():
            arrow = "↑" if scores["higher_is_better"][task][metric] else "↓"
            shown = "–" if value is None else number(value)
            assert page.row(f"{task} {metric} {arrow}")[1] == shown


def test_every_picture_is_inside_the_page_and_described(page):
    assert len(page.pictures) > 40
    for source, alt in page.pictures:
        assert source.startswith("data:image/") and alt
    heads = page.texts["h2"]
    assert heads[:3] == ["Run", "Scores", "Training curves"]
    assert [head for head in heads if head.startswith("Task")] == [
        "Task semseg",
        "Task depth",
        "Task edge",
    ]


def test_header_names_data_weights_machine_and_seed(page):
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert facts["Data license"] == "made by a test"
    assert "2 of 2 epochs" in facts["Training"] and facts["Seed"] == "0"
    assert "7 train, 5 test images" in facts["Protocol"]
    assert {"Recipe", "Weights", "Machine", "Versions", "Time"} <= set(facts)


def test_worst_median_and_best_images_are_those_of_a_slow_loop(finished, page, tiny_data):
    """Each image is scored alone, with metrics that have seen nothing else."""
    model = load(finished)
    protocol = create_protocol(str(tiny_data))
    batches = list(split_loader(protocol, "test", model, batch_size=1))
    for task in model.tasks:
        scores = {
            batch.names[0]: score(model, [batch])[task.name][task.primary_metric]
            for batch in batches
        }
        scores = {name: value for name, value in scores.items() if value == value}
        best_first = sorted(scores, key=scores.get, reverse=task.primary_higher_is_better)
        expected = {"Best": best_first[0], "Worst": best_first[-1]}
        expected["Median"] = best_first[len(best_first) // 2]
        for rank, name in expected.items():
            value = number(scores[name])
            title = f"{rank} of {len(scores)}: {name}, {task.primary_metric} {value}"
            assert title in page.texts["h3"]


def test_images_without_a_label_are_counted(page):
    texts = " ".join(page.texts["p"])
    assert "1 of 5 test images have no label of edge and are left out." in texts
    assert "no label of semseg" not in texts


def test_class_scores_are_those_of_all_pixels(finished, page, tiny_data):
    model = load(finished)
    protocol = create_protocol(str(tiny_data))
    labels, guesses = [], []
    with torch.inference_mode():
        for batch in split_loader(protocol, "test", model, batch_size=1):
            valid = batch.valid["semseg"]
            decoded = model.tasks[0].decode(model(model.normalize(batch.images))["semseg"])
            labels.append(batch.targets["semseg"][valid])
            guesses.append(decoded[valid])
    counts = confusion_matrix(torch.cat(labels), torch.cat(guesses), labels=[0, 1])
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    for index, name in enumerate(("dark", "light")):
        row = page.row(name)
        assert row[1] == number(counts[index, index] / union[index])
        assert row[3] == f"{100 * counts[index].sum() / counts.sum():.1f} %"
    right = 100 * counts.trace() / counts.sum()
    assert any(f"{right:.1f} % of all pixels are right" in alt for _, alt in page.pictures)


def test_a_run_in_progress_shows_its_curves_and_pictures(quick_charts, finished, tmp_path):
    run = copy(finished, tmp_path)
    for name in ("metrics.json", "image_states.npz"):
        (run / name).unlink()
    lines = (run / "log.jsonl").read_text().splitlines()
    (run / "log.jsonl").write_text("\n".join(lines[:2]) + '\n{"event": "tr')
    found = report(run)
    evaluated = json.loads(lines[1])
    shown = number(evaluated["metrics"]["depth"]["rmse"])
    assert found.row("depth rmse ↓")[1] == shown
    assert any("1 of 2 epochs are trained" in text for text in found.texts["p"])
    assert sum(title.startswith("Worst") for title in found.texts["h3"]) == 3


def test_without_data_the_recorded_part_is_shown(quick_charts, finished, page, tmp_path):
    run = copy(finished, tmp_path)
    found = report(run, out=tmp_path / "other.html", root=tmp_path / "gone")
    assert any("Error histograms and pictures are missing" in text for text in found.texts["p"])
    assert found.row("depth rmse ↓") == page.row("depth rmse ↓")
    assert found.row("light") == page.row("light")
    assert "Pictures" in found.texts["h2"] and "h3" not in found.texts


def test_a_run_that_was_trained_further_says_so(quick_charts, finished, tmp_path):
    run = copy(finished, tmp_path)
    scores = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({**scores, "epoch": 1}))
    texts = report(run).texts["p"]
    assert any("The scores are of epoch 1, but 2 epochs are trained" in text for text in texts)


def test_an_image_that_is_gone_leaves_the_recorded_part(
    quick_charts, finished, tiny_data, tmp_path
):
    data = Path(shutil.copytree(tiny_data.parent, tmp_path / "data"))
    (data / "rgb" / "image09.png").unlink()
    found = report(finished, out=tmp_path / "gone.html", root=data)
    assert any("image09" in text for text in found.texts["p"])
    assert "Pictures" in found.texts["h2"]


def test_a_checkpoint_and_manifest_that_are_gone_are_named(quick_charts, finished, tmp_path):
    run = copy(finished, tmp_path)
    shutil.rmtree(run / "checkpoints")
    (run / "manifest.json").unlink()
    text = " ".join(report(run).texts["p"])
    assert "no checkpoint 'last'" in text and "Machine, licenses and versions are unknown" in text


def test_an_interrupted_report_leaves_the_earlier_one(finished, page, monkeypatch):
    file = finished / "report.html"
    before = file.read_bytes()

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("taskprism.analysis.run_report.diagnose", stop)
    with pytest.raises(KeyboardInterrupt):
        write_run_report(finished, reporter=QUIET)
    assert file.read_bytes() == before
    assert not list(finished.glob(".*partial"))


def test_fewer_images_are_stated_and_more_examples_are_shown(quick_charts, finished, tmp_path):
    found = report(finished, out=tmp_path / "few.html", images=2, examples=2)
    assert any("of 2 images, evenly spaced over the 5" in text for text in found.texts["p"])
    ranks = [title.split()[0] for title in found.texts["h3"] if "rmse" in title]
    assert ranks == ["Worst", "Worst", "Median", "Best", "Best"]  # of five images, each once


def test_the_command_writes_the_page_and_opens_it(quick_charts, finished, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    file = tmp_path / "page.html"
    assert main(["report", str(finished), "--out", str(file), "--images", "1", "--open"]) == 0
    assert opened == [file.as_uri()]
    assert main(["report", str(tmp_path / "nothing")]) == 2


@dataclass(frozen=True, kw_only=True)
class Motion(Task):
    """A task from outside the package that says nothing about its errors: two channels."""

    name: str = "motion"
    channels: int = 2
    primary_metric: str = "error"

    kind = "motion"
    target_type = DenseTarget
    target_channels = 2

    def loss(self, output, target, valid):
        return (output - target).abs().mean()

    def decode(self, output):
        return output

    def metrics(self):
        return MetricCollection({})

    def color(self, values, valid=None, reference=None):
        return np.full((*values.shape[-2:], 3), 128, np.uint8)


def test_a_task_from_outside_has_an_error_map_and_a_histogram(quick_charts):
    task, valid = Motion(), torch.ones(1, 7, 9, dtype=torch.bool)
    target, prediction = torch.zeros(2, 7, 9), torch.full((2, 7, 9), 0.5)
    image = torch.rand(3, 7, 9)
    batch = Batch(["a"], image[None], {"motion": target[None]}, {"motion": valid[None]})
    diagnosis = diagnose(Fixed(task, prediction[None]), [batch], "cpu")["motion"]
    example = Example("a", image, target, valid, prediction, Chosen("Worst", 0, 0.5))
    section = task_section(
        TaskFindings(task, "test", 1, 0, None, diagnosis, 1, examples=(example,))
    )
    (chart,), (row,) = section.charts, section.tiles
    assert chart.caption.startswith("Difference of motion: median 0.5")
    assert [tile.caption for tile in row.tiles] == [
        "image",
        "label",
        "prediction",
        "error: difference",
    ]
    assert section.table is None


def test_wrong_arguments_are_named(finished, tmp_path):
    with pytest.raises(CheckpointError, match="not a run directory"):
        write_run_report(tmp_path, reporter=QUIET)
    with pytest.raises(InputError, match="examples"):
        write_run_report(finished, examples=0, reporter=QUIET)


@pytest.mark.parametrize("higher", [True, False])
def test_chosen_images_are_ranked_by_sorting(higher):
    scores = np.random.default_rng(0).permutation(11).astype(float)
    scores[[2, 7]] = np.nan
    known = sorted((value, index) for index, value in enumerate(scores) if value == value)
    order = [index for _, index in (known if higher else known[::-1])]
    chosen = {image.rank: image.index for image in choose_images(scores, higher)}
    assert chosen == {"Worst": order[0], "Median": order[4], "Best": order[-1]}
    assert choose_images(np.full(3, np.nan), higher) == []
    assert [image.rank for image in choose_images(np.array([1.0]), higher)] == ["Worst"]


def test_histograms_count_every_pixel_once():
    values = torch.rand(5000, dtype=torch.float64) ** 2
    histogram = ErrorHistogram()
    for part in values.split(700):
        histogram.add(part)
    histogram.add(torch.zeros(0))
    edges, shares, above = histogram.shown()
    counts, _ = np.histogram(values.numpy(), edges)
    np.testing.assert_allclose(shares, counts / 5000)
    assert above == pytest.approx(1 - shares.sum()) and above <= 0.011
    width = histogram.top / predicted.BINS
    for share in (0.5, 0.9):
        assert histogram.quantile(share) == pytest.approx(np.quantile(values, share), abs=2 * width)
    assert histogram.mean == pytest.approx(values.mean().item())


def test_huge_and_equal_errors_are_counted():
    histogram = ErrorHistogram()
    histogram.add(torch.tensor([1.0, 1.0, 2.0]))
    histogram.add(torch.tensor([1e38, torch.inf]))
    assert histogram.pixels == 5 and histogram.counts[-1] == 2
    zero = ErrorHistogram()
    zero.add(torch.zeros(4))
    assert zero.shown()[1].sum() == 1 and zero.quantile(0.9) < 0.01


def test_calibration_error_is_that_of_a_loop():
    stated = torch.rand(400)
    held = (torch.rand(400) < stated**2).float()
    bins = CalibrationBins()
    bins.add(stated[:150], held[:150])
    bins.add(stated[150:], held[150:])
    expected = 0.0
    for index in range(predicted.CALIBRATION_BINS):
        inside = (stated * predicted.CALIBRATION_BINS).int() == index
        if inside.any():
            gap = (stated[inside].double().mean() - held[inside].double().mean()).abs()
            expected += (gap * inside.sum() / 400).item()
    assert bins.error == pytest.approx(expected)


class Fixed(MultiTaskModel):
    """Returns given outputs."""

    def __init__(self, task, output) -> None:
        super().__init__([task])
        self.output = output

    def forward(self, images):
        return Predictions({self.tasks[0].name: self.output})


def test_diagnosis_reads_only_counted_pixels():
    for task in (create_task("normals"), create_task("human_parts"), create_task("depth")):
        output, target, valid = random_batch(task)
        target = (
            target
            if task.kind != "human_parts"
            else target * torch.tensor([0, 1, 1]).view(3, 1, 1, 1)
        )
        batch = Batch(
            ["a", "b", "c"], torch.rand(3, 3, 7, 9), {task.name: target}, {task.name: valid}
        )
        found = diagnose(Fixed(task, output), [batch], "cpu")[task.name]
        counted = int(task.counted(target, valid).sum())
        for error in task.pixel_errors():
            if not error.is_miss:
                histogram = found.histograms[error.name]
                values = error.measure(task.decode(output), target)[valid].double()
                assert histogram.pixels == counted
                assert histogram.mean == pytest.approx(values.mean().item())
        if found.calibration is not None:
            assert found.calibration.counts.sum() == counted
