"""Share a trained run as a folder or on the hub: model, model card with scores, picture."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from skimage import data

from taskprism.errors import CheckpointError, InputError
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import CheckpointChoice, load
from taskprism.models.hub_client import push_folder
from taskprism.models.model_card import CardFacts, Score
from taskprism.recipes.schema import Recipe
from taskprism.scoring.compare import compare
from taskprism.scoring.runs import METRICS_FILE, RunResult, find_runs, read_run
from taskprism.scoring.tables import markdown
from taskprism.training.run_directory import RunDirectory, read_manifest

PICTURE = "panel.png"
_TILE_WIDTH = 320  # pixels of each picture of the panel
_PHOTOGRAPH = "A photograph by Rachel Michetti (CC0), which is not one of the data."


def save_run(
    run: str | Path,
    folder: str | Path,
    repo_id: str,
    *,
    checkpoint: CheckpointChoice | None = None,
    compare_with: Iterable[str | Path] = (),
    license: str | None = None,
    picture: str | Path | None = None,
    imports: Iterable[str | Path] = (),
) -> Path:
    """Write what :func:`push_run` uploads: model, model card with scores, and a picture.

    Nothing else of the run is written: no optimizer state, recipe, log, path or image of the data.

    Args:
        run: A run directory with scores, or its URL; or a saved model, whose card then has no
            scores.
        folder: Folder to write; it is created if it does not exist.
        repo_id: Id on the hub, ``owner/name``, which the code in the card loads.
        checkpoint: ``last`` or ``best``; None: the one that is scored in ``metrics.json``.
        compare_with: Other runs, or folders of runs, for a table in the card: other seeds, other
            methods, and the single-task runs that Δm needs.
        license: License of the model, an identifier of the hub such as ``apache-2.0``.
        picture: Image file that the card shows; None: predictions for a free photograph.
        imports: Modules or Python files with your own parts that the run needs.

    Returns:
        The folder.

    Raises:
        InputError: The scores are those of another checkpoint, or the picture is not an image.
        TaskprismError: The run cannot be read, or the folder not written.

    Example:
        >>> from taskprism.export import save_run
        >>> folder = save_run("runs/rooms", "shared", "me/rooms")  # doctest: +SKIP
        >>> sorted(file.name for file in folder.iterdir())  # doctest: +SKIP
        ['README.md', 'config.json', 'model.safetensors', 'panel.png']
    """
    directory, target = RunDirectory(run), Path(folder)
    directory.fetch()
    if not directory.recipe_file.is_file():
        model = load(run, imports=imports, checkpoint=checkpoint)
        model.save_pretrained(target, repo_id=repo_id)
        return target
    scored = _scored_checkpoint(directory)
    if checkpoint not in (None, scored):
        raise InputError(
            f"The scores in {directory.metrics_file} are those of checkpoint {scored!r}. Score "
            f"the other one first: `taskprism evaluate {run} --checkpoint {checkpoint}`."
        )
    model = load(directory.find_checkpoint(scored), imports=imports)
    text = "Predictions of this model."
    drawn = None if picture is None else _read_picture(picture)
    if drawn is None:
        drawn, text = _draw(model), f"{text} {_PHOTOGRAPH}"
    facts = _facts(directory, scored, [*compare_with], license, text)
    model.save_pretrained(target, facts=facts, repo_id=repo_id)
    try:
        drawn.save(target / PICTURE)
    except OSError as error:
        raise CheckpointError(f"Cannot write {target / PICTURE}: {error}.") from error
    return target


def push_run(
    run: str | Path,
    repo_id: str,
    *,
    checkpoint: CheckpointChoice | None = None,
    compare_with: Iterable[str | Path] = (),
    license: str | None = None,
    picture: str | Path | None = None,
    imports: Iterable[str | Path] = (),
    private: bool | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    commit_message: str = "Upload model with taskprism",
) -> str:
    """Upload a trained run to the Hugging Face hub, with a model card that has its scores.

    Args:
        run: See :func:`save_run`, also for the next five.
        repo_id: ``owner/name``; the repository is created if it does not exist.
        checkpoint: Which weights.
        compare_with: Other runs for a table in the card.
        license: License of the model.
        picture: Image file that the card shows.
        imports: Modules or Python files with your own parts.
        private: Whether a new repository is private; None: as the owner's settings say.
        revision: Branch, which is created if it does not exist; None: the main branch.
        token: Access token; None: that of ``hf auth login`` or of ``HF_TOKEN``.
        commit_message: First line of the commit.

    Returns:
        URL of the commit.

    Raises:
        InputError: See :func:`save_run`.
        CheckpointError: The run cannot be read, or the upload failed; the message says why.

    Example:
        >>> from taskprism.export import push_run
        >>> push_run("runs/rooms", "me/rooms", private=True)  # doctest: +SKIP
    """
    with tempfile.TemporaryDirectory() as folder:
        save_run(
            run,
            folder,
            repo_id,
            checkpoint=checkpoint,
            compare_with=compare_with,
            license=license,
            picture=picture,
            imports=imports,
        )
        return push_folder(
            folder,
            repo_id,
            private=private,
            revision=revision,
            token=token,
            commit_message=commit_message,
        )


def _scored_checkpoint(run: RunDirectory) -> CheckpointChoice:
    """Checkpoint that ``metrics.json`` scores."""
    read_run(run.path)  # a missing or broken file
    name = json.loads((run.path / METRICS_FILE).read_text(encoding="utf-8")).get("checkpoint")
    return "best" if name == "best" else "last"


def _facts(
    run: RunDirectory,
    checkpoint: CheckpointChoice,
    others: Sequence[str | Path],
    license: str | None,
    picture_text: str,
) -> CardFacts:
    result, recipe = read_run(run.path), run.recipe()
    manifest = read_manifest(run.manifest_file) if run.manifest_file.is_file() else {}
    licenses = manifest.get("licenses") or {}
    table = _comparison([result, *_others(run, others)]) if others else ""
    return CardFacts(
        protocol=result.protocol,
        split=result.split,
        weights=f"epoch {result.epoch or 'unknown'} ({checkpoint})",
        scores=[
            Score(task, metric, value, result.higher_is_better[task][metric])
            for task, values in result.metrics.items()
            for metric, value in values.items()
            if math.isfinite(value)
        ],
        seed=result.seed,
        settings=_settings(recipe, result),
        comparison=table,
        data_license=str(licenses.get("data") or ""),
        weights_license=_without_folder(str(licenses.get("weights") or "")),
        license=license,
        picture=PICTURE,
        picture_text=picture_text,
    )


def _comparison(runs: Sequence[RunResult]) -> str:
    """Table of runs in Markdown, in which remarks name a run without its folder."""
    text = markdown(compare(runs))
    for run in runs:
        for path in (run.path.resolve(), run.path):
            text = text.replace(str(path), run.path.name)
    return text


def _others(run: RunDirectory, others: Sequence[str | Path]) -> list[RunResult]:
    return [each for each in find_runs(others) if each.path.resolve() != run.path.resolve()]


def _settings(recipe: Recipe, result: RunResult) -> list[tuple[str, str]]:
    """The settings that matter most; no paths, which may tell about the machine."""
    size = " x ".join(map(str, result.input_size or ())) or "unknown"
    optimizer, schedule = recipe.optimizer, recipe.schedule
    settings = [
        ("main tasks", ", ".join(result.metrics)),
        ("auxiliary tasks", ", ".join(recipe.auxiliary_tasks)),
        ("input size (height x width)", size),
        ("epochs", f"{recipe.epochs}"),
        ("batch size", f"{recipe.data.batch_size} per process, {recipe.accumulate} per step"),
        ("optimizer", f"{optimizer.name}, lr {optimizer.lr:g}, {schedule.name} schedule"),
        ("loss balancing", recipe.loss.balancing),
        ("precision", "float32" if recipe.precision == "no" else recipe.precision),
        ("parameters", f"{result.parameters:,}" if result.parameters else ""),
    ]
    return [(name, value) for name, value in settings if value]


def _without_folder(weights: str) -> str:
    """``file /home/me/a.pth (license: mit)`` -> ``file a.pth (license: mit)``."""
    return re.sub(r"^file .*[/\\]", "file ", weights)


def _draw(model: MultiTaskModel) -> Image.Image:
    """Panel of a photograph that anyone may publish."""
    return model.predict(np.ascontiguousarray(data.coffee())).panel("", tile_width=_TILE_WIDTH)


def _read_picture(path: str | Path) -> Image.Image:
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"Cannot read the picture {str(path)!r}: {error}.") from error
