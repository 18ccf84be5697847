"""Saved models: from a folder, a training run, or the Hugging Face hub."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file

from taskprism.errors import CheckpointError, TaskprismError
from taskprism.models import MultiTaskModel, create_model

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
_CHECKPOINTS = ("checkpoints/best", "checkpoints/last")


def load(path_or_hub_id: str | Path, device: torch.device | str = "cpu") -> MultiTaskModel:
    """Load a model that ``save_pretrained`` or a training run has written.

    Backbone weights are never fetched: all weights are in the file.

    Args:
        path_or_hub_id: A folder with ``config.json`` and ``model.safetensors``; a run directory, of
            which the best checkpoint is taken, else the last; or a hub id, ``owner/name``.
        device: Where the model goes.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: If there is no model, or its files are broken or do not fit each other.
        UnknownNameError: If it was made of a task, model or distillation that is in no list; append
            your own classes to the lists first.
    """
    folder = find_model_folder(path_or_hub_id)
    config = read_config(folder)
    try:
        with torch.random.fork_rng(devices=[]):  # random weights that are overwritten below
            model = build_from_config(config)
    except KeyError as error:
        if isinstance(error, TaskprismError):
            raise
        raise CheckpointError(f"{str(folder / CONFIG)!r} lacks the key {error}.") from error
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"Cannot read {str(folder / WEIGHTS)!r}: {error}.") from error
    except RuntimeError as error:
        raise CheckpointError(
            f"{str(folder / WEIGHTS)!r} does not fit the model that {CONFIG} beside it describes: "
            f"{error}"
        ) from error
    return model.to(device).eval()


def build_from_config(config: dict[str, Any]) -> MultiTaskModel:
    """Model with random weights from :attr:`MultiTaskModel.config`."""
    model = create_model(
        config["name"],
        config["tasks"],
        config["auxiliary_tasks"],
        backbone=config["backbone"],
        **config["options"],
    )
    for name in ("image_mean", "image_std"):
        getattr(model, name).copy_(torch.tensor(config[name]).view(3, 1, 1))
        model.config[name] = config[name]
    return model


def find_model_folder(path_or_hub_id: str | Path) -> Path:
    """Folder with ``config.json``: the one given, a run's checkpoint, or a download."""
    path = Path(path_or_hub_id)
    if path.is_dir():
        for folder in (path, *(path / checkpoint for checkpoint in _CHECKPOINTS)):
            if (folder / CONFIG).is_file():
                return folder
        raise CheckpointError(
            f"{str(path)!r} holds no model: neither {CONFIG} nor {' nor '.join(_CHECKPOINTS)}. "
            "Give a folder written by save_pretrained, or the directory of a run that has saved "
            "a checkpoint."
        )
    if re.fullmatch(r"[\w\-]+/[\w\-.]+", str(path_or_hub_id)):
        try:
            return Path(snapshot_download(str(path_or_hub_id), allow_patterns=[CONFIG, WEIGHTS]))
        except Exception as error:  # the hub client has no common base for "offline", "gone", ...
            raise CheckpointError(
                f"There is no folder {str(path_or_hub_id)!r}, and fetching it from the hub failed "
                f"({type(error).__name__}). Check the path, or the hub id and the connection."
            ) from error
    raise CheckpointError(
        f"There is no folder {str(path)!r}; give a model folder, a run directory, or a hub id "
        "'owner/name'."
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Content of ``config.json``."""
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"Cannot read {str(folder / CONFIG)!r}: {error}.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{str(folder / CONFIG)!r} is no model config.")
    return config
