"""Models with low-rank updates: merge them for inference, save only what was trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from taskprism.atomic import write_bytes
from taskprism.backbones.low_rank import merge
from taskprism.errors import CheckpointError, InputError
from taskprism.models.base import MultiTaskModel

_OPTION = "low_rank"
_FROZEN = "taskprism.frozen"
_DETAIL = 4096  # values of a tensor that its fingerprint reads


def merge_low_rank(model: MultiTaskModel) -> int:
    """Turn adapted layers into plain ones that compute the same, in place.

    The model can be saved and exported as if it had never been adapted.

    Returns:
        Number of merged layers.

    Raises:
        InputError: The model has no low-rank updates, or a layer has updates per task. It is
            unchanged then.

    Example:
        >>> from taskprism import create_model
        >>> from taskprism.models.low_rank import merge_low_rank
        >>> options = {"backbone": "test_vit", "neck_channels": 8, "low_rank": {"rank": 4}}
        >>> model = create_model("multi_task", ["depth"], **options)
        >>> merge_low_rank(model), "low_rank" in model.config["options"]
        (24, False)
    """
    config = model.config
    merged = merge(model)
    if not merged:
        raise InputError(
            f"This {model.name} has no low-rank updates, so there is nothing to merge."
        )
    options = {name: value for name, value in config["options"].items() if name != _OPTION}
    for_backbone = options.get("backbone_options")
    if isinstance(for_backbone, dict):
        options["backbone_options"] = {k: v for k, v in for_backbone.items() if k != _OPTION}
    model._config = {**config, "options": options}
    return merged


def save_trained(model: MultiTaskModel, path: str | Path) -> int:
    """Write the trainable parameters and the buffers of a model, without what is frozen.

    The file has a fingerprint of the frozen weights, which :func:`load_trained` compares.

    Args:
        model: A model with frozen parameters.
        path: The file to write, usually ``.safetensors``.

    Returns:
        Number of values in the file.

    Example:
        >>> import tempfile
        >>> from taskprism import create_model
        >>> from taskprism.models.low_rank import load_trained, save_trained
        >>> options = {"backbone": "test_vit", "neck_channels": 8, "low_rank": {"rank": 4}}
        >>> model = create_model("multi_task", ["depth"], **options)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     count = save_trained(model, f"{folder}/updates.safetensors")
        ...     load_trained(model, f"{folder}/updates.safetensors")
        >>> count < sum(p.numel() for p in model.parameters())
        True
    """
    tensors = {name: each.detach().cpu().contiguous() for name, each in _trained(model)}
    content = save(tensors, metadata={_FROZEN: _fingerprint(model)})
    write_bytes(Path(path), content)
    return sum(tensor.numel() for tensor in tensors.values())


def load_trained(model: MultiTaskModel, path: str | Path) -> None:
    """Read what :func:`save_trained` wrote into a model with the same frozen weights.

    Raises:
        CheckpointError: The file is missing or broken, belongs to other frozen weights, or has
            other tensors than the model trains. The model is unchanged then.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"There is no file {str(file)!r} with trained parameters.")
    content = file.read_bytes()
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        written = json.loads(content[8 : 8 + length]).get("__metadata__", {}).get(_FROZEN)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{str(file)!r} is not a safetensors file: {error}.") from error
    if written != _fingerprint(model):
        raise CheckpointError(
            f"{str(file)!r} was trained on other frozen weights than this {model.name} has; create "
            "the model with the same backbone, options and pretrained weights."
        )
    own = dict(_trained(model))
    wrong = sorted(
        name
        for name in {*own, *tensors}
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{str(file)!r} does not fit this {model.name}: {len(wrong)} tensors are missing, not "
            f"part of it or of another shape ({', '.join(wrong[:4])}). Create the model with the "
            "options of the training."
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def _trained(model: MultiTaskModel) -> Iterator[tuple[str, Tensor]]:
    """Trainable parameters, and buffers that a checkpoint holds."""
    frozen = {name for name, each in model.named_parameters() if not each.requires_grad}
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name in model.state_dict():
        if name not in frozen:
            yield name, named[name]


def _fingerprint(model: MultiTaskModel) -> str:
    """Hash of the names, shapes and some values of the frozen parameters."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            values = parameter.detach().flatten()
            step = max(1, values.numel() // _DETAIL)
            digest.update(f"{name} {tuple(parameter.shape)}".encode())
            digest.update(values[::step].float().cpu().numpy().tobytes())
    return digest.hexdigest()
