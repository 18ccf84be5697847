"""What released systems on transformers share: names of tasks, backbone, heads, image size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from taskprism.errors import CheckpointError, InputError
from taskprism.interop.source import Checkpoint, Rule, Source

TRANSFORMER: Rule = ("backbone.{rest}", "backbone.model.{rest}")

#: Heads of MLoRE and TaskPrompter.
TOKEN_HEADS: tuple[Rule, ...] = (
    ("heads.{task}.mt_proj.{layer}.{rest}", "heads.{task}.refine.{layer}.{rest}"),
    ("heads.{task}.linear_pred.{rest}", "heads.{task}.predict.{rest}"),
)
#: Why a tensor is dropped.
UNUSED = "layers that never influence the output"

_PATCH = 16
#: Width and depth -> backbone.
_VITS = {
    (192, 12): "vit_tiny_patch16_384",
    (384, 12): "vit_small_patch16_384",
    (768, 12): "vit_base_patch16_384",
    (1024, 24): "vit_large_patch16_384",
}
#: Patches -> image size of the data set with that many (NYUD-v2, PASCAL-Context).
_SIZES = {28 * 36: (448, 576), 32 * 32: (512, 512)}


class TransformerSource(Source):
    """Repository of a system on a transformer; its tasks are in the order of both data sets.

    Example:
        >>> from taskprism.interop import find_source
        >>> list(find_source("invpt").tasks)
        ['semseg', 'human_parts', 'saliency', 'depth', 'normals', 'edge']
    """

    tasks: ClassVar[Mapping[str, str]] = {
        "semseg": "semseg",
        "human_parts": "human_parts",
        "saliency": "sal",
        "depth": "depth",
        "normals": "normals",
        "edge": "edge",
    }
    image_mean = (0.485, 0.456, 0.406)
    image_std = (0.229, 0.224, 0.225)


def find_vit(tensors: Mapping[str, Tensor]) -> str:
    """Name of the plain transformer under ``backbone.``.

    Raises:
        CheckpointError: There is none of a known width and depth.

    Example:
        >>> import torch
        >>> from taskprism.interop.transformers import find_vit
        >>> names = [f"backbone.blocks.{block}.norm1.weight" for block in range(12)]
        >>> find_vit({name: torch.ones(768) for name in names})
        'vit_base_patch16_384'
    """
    norms = [
        tensor
        for name, tensor in tensors.items()
        if name.startswith("backbone.blocks.") and name.endswith(".norm1.weight")
    ]
    found = (norms[0].shape[0] if norms else 0, len(norms))
    if found not in _VITS:
        raise CheckpointError(
            f"The transformer in this file has {found[1]} blocks of {found[0]} channels; known are "
            f"{', '.join(f'{depth} of {width}' for width, depth in _VITS)}. Check `source` and "
            "`model`."
        )
    return _VITS[found]


def find_image_size(checkpoint: Checkpoint, prefix_tokens: int) -> tuple[int, int]:
    """Size of the images for which the file stores position embeddings.

    Args:
        checkpoint: The file, and the size that the caller gave.
        prefix_tokens: Position embeddings that are not those of patches.

    Raises:
        CheckpointError: The file has no position embeddings.
        InputError: The size is not known and not given, or does not fit.

    Example:
        >>> import torch
        >>> from taskprism.interop import Checkpoint
        >>> from taskprism.interop.transformers import find_image_size
        >>> find_image_size(Checkpoint({"backbone.pos_embed": torch.ones(1, 1025, 4)}, {}, None), 1)
        (512, 512)
    """
    positions = checkpoint.tensors.get("backbone.pos_embed")
    if positions is None:
        raise CheckpointError("This file has no position embeddings. Check `source` and `model`.")
    patches = positions.shape[1] - prefix_tokens
    size = checkpoint.size or _SIZES.get(patches)
    if size is None:
        raise InputError(
            f"This network was trained at one image size, with {patches} patches. Several sizes "
            "have that many; give yours as size=(height, width)."
        )
    height, width = size
    if height % _PATCH or width % _PATCH or height * width != patches * _PATCH**2:
        raise InputError(
            f"size={(height, width)} has {height // _PATCH} x {width // _PATCH} patches of "
            f"{_PATCH} pixels, but this network was trained with {patches}; give the image size of "
            "its training."
        )
    return height, width


def first_of(tensors: Mapping[str, Tensor], start: str, end: str) -> Tensor:
    """The first tensor whose name has this start and end.

    Raises:
        CheckpointError: There is none.

    Example:
        >>> import torch
        >>> from taskprism.interop.transformers import first_of
        >>> first_of({"heads.edge.bias": torch.ones(1)}, "heads.", ".bias").item()
        1.0
    """
    for name, tensor in tensors.items():
        if name.startswith(start) and name.endswith(end):
            return tensor
    raise CheckpointError(f"This file has no tensor {start}*{end}. Check `source` and `model`.")
