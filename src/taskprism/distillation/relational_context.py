"""ATRC: each target task reads each source task through one kind of context.

Every context block maps target and source features ``(B, C, H, W)`` to ``(B, M, H, W)``. Queries
come from the target, keys and values from the source. Queries and keys have two layers of 1x1
convolution, batch norm, ReLU; values have one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.checks import check_channels, check_choice, check_number
from taskprism.distillation.attention import attend, projection, to_tokens
from taskprism.distillation.base import Distillation, register_distillation
from taskprism.errors import InputError, UnknownNameError
from taskprism.layers import ModuleDict, resize

Context = Literal["none", "global", "local", "target_label", "source_label"]
Genotype = Mapping[str, Mapping[str, str]]

_LETTERS: dict[str, Context] = {
    "-": "none",
    "G": "global",
    "T": "target_label",
    "S": "source_label",
}


def _table(order: str, **rows: str) -> dict[str, dict[str, Context]]:
    names = order.split()
    return {
        target: {name: _LETTERS[letter] for name, letter in zip(names, row, strict=True)}
        for target, row in rows.items()
    }


#: Published results of ATRC's search by benchmark and backbone (HRNet-W18-Small-v2, HRNet-W48). No
#: pair has local context.
GENOTYPES: dict[str, dict[str, dict[str, Context]]] = {
    "nyud_w18": _table(
        "semseg depth normals edge", semseg="TTSS", depth="STSS", normals="STTS", edge="TTGT"
    ),
    "nyud_w48": _table(
        "semseg depth normals edge", semseg="T--S", depth="SGGS", normals="SGGS", edge="TTTT"
    ),
    "pascal_w18": _table(
        "semseg human_parts saliency normals edge",
        semseg="TTS-S",
        human_parts="TTSTS",
        saliency="TTTST",
        normals="TTTTS",
        edge="TTTGT",
    ),
}


@register_distillation
class RelationalContext(Distillation):
    r"""Adaptive Task-Relational Context (Bruggemann et al., ATRC, ICCV 2021).

    Each target t reads each source s, including itself, through one kind of context:

    * ``"global"``: attention to all positions (:class:`GlobalContext`);
    * ``"local"``: attention to a 9x9 window (:class:`LocalContext`);
    * ``"target_label"``, ``"source_label"``: attention to regions of the source's features, one per
      class predicted for the target or for the source (:class:`LabelContext`);
    * ``"none"``: the target does not read this source.

    .. math::
        R_t &= \mathrm{BN}(W\,\mathrm{concat}_s\,context_{s \to t}) \\
        F_t' &= \mathrm{Dropout2d}(\mathrm{ReLU}(\mathrm{BN}(U\,[F_t; R_t])))

    The batch norm of R has an initial scale of 0, so the context starts without effect. A task that
    reads no source has no R.

    Label contexts read initial predictions as class logits, one region per channel. Use categorical
    predictions for all tasks. The paper trains separate heads for them: depth in 40 logarithmic
    bins, normals in 40 clusters, edges and saliency in 2 classes. Regression outputs are accepted,
    but a one-channel map gives a single region and hence the same context everywhere.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: C, 67 in the paper (a quarter of HRNet-W18-Small's 270).
        sources: Names of the tasks whose features are read (main and auxiliary).
        genotype: One context for all pairs, a published search result (``"nyud_w18"``,
            ``"nyud_w48"``, ``"pascal_w18"``), or ``{target: {source: context}}``. The default
            needs no search; it is the context chosen most often in the published results.
        inner_channels: M; by default half of ``channels``, at least 1.
        dropout: Probability, 0 to 1, of zeroing a whole channel of the result in training.

    Raises:
        InputError: The genotype lacks a pair, or an option has the wrong type or is out of range.
        UnknownNameError: The genotype or a context does not exist.

    Example:
        >>> import torch
        >>> from taskprism.distillation import RelationalContext
        >>> module = RelationalContext(["depth"], 8, ["depth", "edge"], genotype="global")
        >>> features = {"depth": torch.rand(2, 8, 6, 5), "edge": torch.rand(2, 8, 6, 5)}
        >>> module(features)["depth"].shape
        torch.Size([2, 8, 6, 5])
    """

    name: ClassVar[str] = "relational_context"
    needs_predictions: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[str],
        channels: int,
        sources: Sequence[str] | None = None,
        genotype: str | Genotype = "target_label",
        inner_channels: int | None = None,
        dropout: float = 0.05,
    ) -> None:
        super().__init__(tasks, channels, sources)
        if inner_channels is None:
            inner_channels = max(1, channels // 2)
        inner = check_channels("RelationalContext", "inner_channels", inner_channels)
        check_number("RelationalContext", "dropout", dropout, 0, 1)
        self.genotype = resolve_genotype(genotype, self.tasks, self.sources)
        self.reads = {
            task: [source for source, context in contexts.items() if context != "none"]
            for task, contexts in self.genotype.items()
        }
        self.contexts = ModuleDict(
            {
                task: ModuleDict(
                    {
                        source: _BLOCKS[self.genotype[task][source]](channels, inner)
                        for source in sources
                    }
                )
                for task, sources in self.reads.items()
            }
        )
        self.gather = ModuleDict(
            {
                task: _start_at_zero(projection(len(sources) * inner, channels)[:-1])
                for task, sources in self.reads.items()
                if sources
            }
        )
        self.merge = ModuleDict(
            {
                task: projection(2 * channels if sources else channels, channels)
                for task, sources in self.reads.items()
            }
        )
        self.dropout = nn.Dropout2d(dropout)

    @property
    def labels_read(self) -> list[str]:
        """Tasks whose class logits ``forward`` reads, in the order of ``sources``."""
        owners = {
            task if context == "target_label" else source
            for task, contexts in self.genotype.items()
            for source, context in contexts.items()
            if context in ("target_label", "source_label")
        }
        return [source for source in self.sources if source in owners]

    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Refine ``(B, C, H, W)`` per source into the same per task.

        Args:
            features: source name -> ``(B, C, H, W)``.
            predictions: name -> class logits ``(B, classes, h, w)`` of every task in
                :attr:`labels_read`; resized to the features.

        Raises:
            InputError: A prediction is missing.
        """
        refined = {}
        for task, sources in self.reads.items():
            contexts = [self._read(task, source, features, predictions) for source in sources]
            parts = [features[task]]
            if contexts:
                parts.append(self.gather[task](torch.cat(contexts, dim=1)))
            refined[task] = self.dropout(self.merge[task](torch.cat(parts, dim=1)))
        return refined

    def _read(
        self,
        task: str,
        source: str,
        features: Mapping[str, Tensor],
        predictions: Mapping[str, Tensor] | None,
    ) -> Tensor:
        block = self.contexts[task][source]
        if not isinstance(block, LabelContext):
            return block(features[task], features[source])
        owner = task if self.genotype[task][source] == "target_label" else source
        if predictions is None or owner not in predictions:
            raise InputError(
                f"RelationalContext reads the labels of {owner!r} to refine {task!r} from "
                f"{source!r}, but predictions has none. Pass predictions={{{owner!r}: class "
                'logits}, or choose a genotype without labels ("global", "local").'
            )
        labels = resize(predictions[owner], features[task].shape[-2:])
        return block(features[task], features[source], labels)


def resolve_genotype(
    genotype: str | Genotype, tasks: Sequence[str], sources: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Context of every pair of tasks, as ``{target: {source: context}}``.

    Args:
        genotype: A name in :data:`GENOTYPES`, which covers any subset of its tasks; one context
            for all pairs; or a mapping with every pair.
        tasks: Names of the targets.
        sources: Names of the sources.

    Raises:
        UnknownNameError: The genotype or a context does not exist.
        InputError: The genotype lacks a pair.
    """
    contexts = get_args(Context)
    if isinstance(genotype, str):
        if genotype in contexts:
            return {target: dict.fromkeys(sources, genotype) for target in tasks}
        if genotype not in GENOTYPES:
            raise UnknownNameError("genotype", genotype, [*GENOTYPES, *contexts])
    table = GENOTYPES[genotype] if isinstance(genotype, str) else genotype
    if not isinstance(table, Mapping):
        raise InputError(
            f"Expected a name or a mapping {{target: {{source: context}}}} as genotype, got "
            f"{genotype!r}."
        )
    resolved: dict[str, dict[str, str]] = {}
    for target in tasks:
        resolved[target] = {}
        row = table.get(target)
        for source in sources:
            context = row.get(source) if isinstance(row, Mapping) else None
            if context is None:
                raise InputError(
                    f"Genotype {genotype!r} has no context for target {target!r} and source "
                    f"{source!r}; its targets are {list(table)}. Give a mapping "
                    "{target: {source: context}} of all pairs, or one context for all pairs: "
                    f"{', '.join(contexts)}."
                )
            pair = f"{target!r} from {source!r}"
            resolved[target][source] = check_choice(pair, "context", context, contexts)
    return resolved


def _start_at_zero(layers: nn.Sequential) -> nn.Sequential:
    norm = layers[-1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.zeros_(norm.weight)
    return layers


class GlobalContext(nn.Module):
    r"""Attention to all positions, linear in their number.

    .. math:: out = (V \varphi(K)^T)\, \varphi(Q) / {\textstyle\sum_p} \varphi(K_p)^T \varphi(Q)

    where φ is softplus, which replaces the last ReLU.

    Args:
        channels: C.
        inner: M.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.query = projection(channels, inner, layers=2)[:-1]
        self.key = projection(channels, inner, layers=2)[:-1]
        self.value = projection(channels, inner)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """``(B, C, H, W)`` twice -> ``(B, M, H, W)``."""
        query = F.softplus(self.query(target)).flatten(2)
        key = F.softplus(self.key(source)).flatten(2)
        value = self.value(source).flatten(2)
        mixed = (value @ key.mT) @ query
        total = key.sum(2)[:, None] @ query
        return (mixed / total.clamp(min=1e-12)).unflatten(2, target.shape[-2:])


class LocalContext(nn.Module):
    """Attention to a window around each position.

    Positions outside the image have score 0 and value 0 but take part in the softmax, as in the
    released code. Window positions are processed one at a time, so no unfolded map is stored.

    Args:
        channels: C.
        inner: M.
        window: Height and width of the window, odd.
    """

    def __init__(self, channels: int, inner: int, window: int = 9) -> None:
        super().__init__()
        self.window = window
        self.query = projection(channels, inner, layers=2)
        self.key = projection(channels, inner, layers=2)
        self.value = projection(channels, inner)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """``(B, C, H, W)`` twice -> ``(B, M, H, W)``."""
        query = self.query(target)
        query = query * query.shape[1] ** -0.5
        keys, values = self._shifted(self.key(source)), self._shifted(self.value(source))
        scores = torch.stack([(query * key).sum(1, keepdim=True) for key in keys])
        weights = scores.softmax(dim=0)
        mixed = torch.zeros_like(query)
        for weight, value in zip(weights, values, strict=True):
            mixed = mixed + weight * value
        return mixed

    def _shifted(self, maps: Tensor) -> list[Tensor]:
        """The map shifted by each offset of the window, as views of one padded map."""
        height, width = maps.shape[-2:]
        padded = F.pad(maps, [self.window // 2] * 4)
        return [
            padded[..., y : y + height, x : x + width]
            for y in range(self.window)
            for x in range(self.window)
        ]


class LabelContext(nn.Module):
    """Attention to regions: the source's mean feature in each class of a label map.

    The feature of region l is the mean of the source's features, weighted by the softmax of class
    l's logits over all positions (Yuan et al., "Object-contextual representations", ECCV 2020).

    Args:
        channels: C.
        inner: M.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.query = projection(channels, inner, layers=2)
        self.key = projection(channels, inner, layers=2)
        self.value = projection(channels, inner)

    def forward(self, target: Tensor, source: Tensor, labels: Tensor) -> Tensor:
        """``(B, C, H, W)`` twice, class logits ``(B, L, H, W)`` -> ``(B, M, H, W)``."""
        weights = labels.flatten(2).softmax(dim=2)
        regions = (source.flatten(2) @ weights.mT).unsqueeze(3)  # (B, C, L, 1)
        key, value = to_tokens(self.key(regions)), to_tokens(self.value(regions))
        mixed = attend(to_tokens(self.query(target)), key, value).mT
        return mixed.unflatten(2, target.shape[-2:])


_BLOCKS: dict[str, type[nn.Module]] = {
    "global": GlobalContext,
    "local": LocalContext,
    "target_label": LabelContext,
    "source_label": LabelContext,
}
