"""Edges scored by odsF: the ground truth of each benchmark and the conventions of the score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from taskprism.data.benchmarks import decoding, names
from taskprism.data.benchmarks.variant import Decoder, Variant
from taskprism.metrics.boundaries.counts import true_boundaries
from taskprism.metrics.boundaries.files import read_annotations
from taskprism.tasks import Edge

UNSCORED = -1.0  # in a map of annotators: the image is excluded from boundary scores


def scored_edge(task: Edge, convention: str) -> Edge:
    """The task with odsF as its primary metric."""
    return replace(task, odsf=True, odsf_convention=convention, primary_metric="odsf")


def context_boundaries(path: Path, *, only: frozenset[str] | None = None) -> np.ndarray:
    """Boundaries between context labels as SEISM makes them, ``(H, W, 1)``.

    Args:
        path: ``.mat`` with ``LabelMap``; its name is the image's.
        only: Names of the images that are scored, by default all.
    """
    labels = decoding.plane(path, "LabelMap")
    if only is not None and path.stem not in only:
        return np.full((*labels.shape, 1), UNSCORED, dtype=np.float32)
    return true_boundaries(labels, "seism")[..., None].astype(np.float32)


def edges_as_labels(path: Path, *, decode: Decoder) -> np.ndarray:
    """Boundaries of an edge map read as a label map, as in SEISM on NYUD-v2, ``(H, W, 1)``."""
    decoded = decode(path)
    assert decoded is not None  # edge decoders never return None
    return true_boundaries(decoded[0], "seism")[..., None].astype(np.float32)


def nyud_scored(variant: Variant) -> Variant:
    """The variant with SEISM's ground truth of NYUD-v2."""
    label = variant.labels["edge"]
    annotations = partial(edges_as_labels, decode=label.decode)
    return replace(
        variant, labels={**variant.labels, "edge": replace(label, annotations=annotations)}
    )


def every_annotator(path: Path) -> np.ndarray:
    """Boundaries of each annotator of BSDS500, ``(H, W, A)``."""
    drawn = read_annotations(path, labels=False)
    return np.stack([one != 0 for one in drawn], axis=2).astype(np.float32)


def listed_names(file: str | None, root: Path) -> frozenset[str] | None:
    """Names in a list with an absolute path or in the root; None without a list."""
    return None if file is None else frozenset(names.listed(root, file=file))


def without_none(options: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Options that are set: only these enter the fingerprint."""
    return {name: value for name, value in options if value not in (None, False)}
