"""Read the scores of finished runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskprism.errors import CheckpointError, DataError, InputError
from taskprism.stores import StorePath, fetch_folder, is_url
from taskprism.text_files import read_yaml

METRICS_FILE = "metrics.json"
IMAGE_STATES_FILE = "image_states.npz"


@dataclass(frozen=True)
class RunResult:
    """The scores of one run.

    Attributes:
        path: Run directory.
        name: Name of the run in its recipe.
        model: Name of the model, such as ``mti_net``.
        backbone: Name of the backbone; empty if the model has none.
        protocol: Protocol under which it was scored.
        split: Split on which it was scored.
        seed: Seed of the run.
        epoch: Epoch of the scored weights; None if unknown.
        metrics: Task -> metric -> value; NaN where no label was valid.
        higher_is_better: Task -> metric -> whether higher is better.
        primary: Task -> the metric that Δm uses.
        parameters: Number of parameters of the network.
        macs: Multiply-adds for one image at the protocol's input size.
        input_size: ``(H, W)`` at which it was scored, if known.
        data: Fingerprint of the scored data, if it is in the manifest or the scores.

    Example:
        >>> run = RunResult(Path("runs/a"), "a", "mti_net", "resnet18", "rooms", "test", 0, 20,
        ...                 {"depth": {"rmse": 0.5}}, {"depth": {"rmse": False}}, {"depth": "rmse"})
        >>> run.metrics["depth"][run.primary["depth"]]
        0.5
    """

    path: Path
    name: str
    model: str
    backbone: str
    protocol: str
    split: str
    seed: int
    epoch: int | None
    metrics: Mapping[str, Mapping[str, float]]
    higher_is_better: Mapping[str, Mapping[str, bool]]
    primary: Mapping[str, str]
    parameters: int | None = None
    macs: int | None = None
    input_size: tuple[int, ...] | None = None
    data: str | None = None


def read_run(path: str | Path) -> RunResult:
    """Read the scores of a run directory (``metrics.json`` and the files next to it).

    Raises:
        DataError: The file is missing, broken or incomplete; the message names it.

    Example:
        >>> read_run("runs/mti_net").metrics["depth"]["rmse"]  # doctest: +SKIP
        0.412
    """
    is_remote = isinstance(path, str) and is_url(path)
    folder = fetch_folder(str(path), _is_small) if is_remote else Path(path)
    file = folder / METRICS_FILE
    if not file.is_file():
        raise DataError(
            f"{path} has no {METRICS_FILE}. Finish the run with `taskprism train`, or score "
            f"it with `taskprism evaluate {path}`."
        )
    content = _read_json(file)
    try:
        return RunResult(
            path=folder,
            name=str(content.get("run") or folder.name),
            model=str(content["model"]),
            backbone=_backbone(folder, content),
            protocol=str(content["protocol"]),
            split=str(content["split"]),
            seed=int(content["seed"]),
            epoch=content["epoch"],
            metrics=_numbers(content["metrics"]),
            higher_is_better=content["higher_is_better"],
            primary=content["primary"],
            parameters=content.get("parameters"),
            macs=content.get("macs"),
            input_size=tuple(content["input_size"]) if "input_size" in content else None,
            data=_fingerprint(folder, content),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{file} is not a complete score file ({error!r}). Write it again with "
            f"`taskprism evaluate {folder}`."
        ) from error


def find_runs(paths: Iterable[str | Path], whole: bool = False) -> list[RunResult]:
    """Read runs from run directories, or from folders that contain some at any depth.

    Either may be a URL (text), whose small files are then read through the local cache.

    Args:
        paths: Folders or URLs.
        whole: Whether the weights of runs at URLs are needed too, and not only their scores.

    Returns:
        Runs in the order of ``paths``; runs of one folder sorted by name. Each run occurs once.

    Raises:
        InputError: A path does not exist or contains no finished run.

    Example:
        >>> [run.name for run in find_runs(["runs"])]  # doctest: +SKIP
        ['mti_net', 'single_task']
    """
    found: dict[Path, RunResult] = {}
    for each in paths:
        if isinstance(each, str) and is_url(each):
            for url in _stored_runs(each):
                run = read_run(url)
                found[run.path] = run
                if whole:
                    fetch_folder(url)
            continue
        path = Path(each)
        if not path.is_dir():
            raise InputError(f"{path} is not a folder. Give run directories or a folder of them.")
        if (path / METRICS_FILE).is_file():
            folders = [path]
        else:
            folders = sorted(file.parent for file in path.rglob(METRICS_FILE))
        if not folders:
            raise InputError(
                f"{path} contains no finished run (no {METRICS_FILE} at any depth). Train one with "
                "`taskprism train RECIPE`."
            )
        for folder in folders:
            if folder.resolve() not in found:
                found[folder.resolve()] = read_run(folder)
    return list(found.values())


def _is_small(name: str) -> bool:
    """Whether comparing runs needs a file of a run."""
    return not name.startswith(("checkpoints/", "pictures/"))


def _stored_runs(url: str) -> list[str]:
    """URLs of the finished runs at or below a URL."""
    folder = StorePath(url)
    try:
        names = list(folder.sizes_below())
    except FileNotFoundError:
        names = []
    ending = f"/{METRICS_FILE}"
    if METRICS_FILE in names:
        return [url]
    found = [str(folder / name.removesuffix(ending)) for name in names if name.endswith(ending)]
    if not found:
        raise InputError(
            f"{url} contains no finished run (no {METRICS_FILE} at any depth). Train one with "
            f"`taskprism train RECIPE --out {url}`."
        )
    return found


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as JSON: {error}.") from error


def _numbers(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Metrics as floats; JSON has no NaN, so a missing score is stored as null."""
    return {
        task: {k: float("nan") if v is None else float(v) for k, v in values.items()}
        for task, values in metrics.items()
    }


def _backbone(folder: Path, content: Mapping[str, Any]) -> str:
    """Backbone of a run: from the scores, otherwise from the resolved recipe."""
    if "backbone" in content:
        return str(content["backbone"] or "")
    recipe = folder / "recipe.yaml"
    if not recipe.is_file():
        return ""
    settings = read_yaml(recipe, CheckpointError)
    model = settings.get("model") if isinstance(settings, dict) else None
    return str(model.get("backbone") or "") if isinstance(model, dict) else ""


def _fingerprint(folder: Path, content: Mapping[str, Any]) -> str | None:
    """Fingerprint of the data that were scored: by default those that the run was trained on."""
    if "other_data" in content:
        return str(content["other_data"]["scored_on"])
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return None
    value = _read_json(manifest).get("data_fingerprint")
    return None if value is None else str(value)
