"""ATRC: for each pair of tasks, the kind of context that suits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from taskprism.distillation.base import Distillation, register_distillation
from taskprism.distillation.projection import projection
from taskprism.distillation.relational_blocks import GlobalContext, LabelContext, LocalContext
from taskprism.distillation.relational_genotypes import Genotype, resolve_genotype
from taskprism.errors import InputError
from taskprism.layers import resize
from taskprism.layers.containers import ModuleDict

_BLOCKS: dict[str, type[nn.Module]] = {
    "global": GlobalContext,
    "local": LocalContext,
    "target_label": LabelContext,
    "source_label": LabelContext,
}


@register_distillation
class RelationalContext(Distillation):
    r"""Adaptive Task-Relational Context (Bruggemann et al., ATRC, ICCV 2021).

    Each target t reads each source s, itself too, through one kind of context
    (:mod:`~taskprism.distillation.relational_blocks`):

    * ``"global"``: attention to all positions, ``"local"``: to a 9x9 window;
    * ``"target_label"``, ``"source_label"``: attention to regions of the source's features, which
      are the classes predicted for the target or for the source;
    * ``"none"``.

    .. math::
        R_t &= \mathrm{BN}(W\,\mathrm{concat}_s\,context_{s \to t}) \\
        F_t' &= \mathrm{Dropout2d}(\mathrm{ReLU}(\mathrm{BN}(U\,[F_t; R_t])))

    The BN of R begins at 0, so that context grows in. A task that reads nobody has no R.

    Label context reads initial predictions as class logits, one region per channel. Give it
    categorical ones for all tasks, as the paper does with heads of its own: depth in 40 logarithmic
    bins, normals in 40 clusters, edges and saliency in 2 classes. Regression outputs are accepted,
    but a map of one channel is one region, which says little.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: C, 67 in the paper (a quarter of HRNet-W18-Small's 270).
        sources: Names of the tasks whose features are read (main and auxiliary).
        genotype: The contexts: one name for all pairs, a published search result (``"nyud_w18"``,
            ``"nyud_w48"``, ``"pascal_w18"``) or ``{target: {source: context}}``. The default needs
            no search and is the kind chosen most often in the published ones.
        inner_channels: M; by default half of ``channels``, at least 1.
        dropout: Of whole channels, at the end.
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
        self.genotype = resolve_genotype(genotype, self.tasks, self.sources)
        inner = max(1, channels // 2) if inner_channels is None else inner_channels
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
                task: _begin_at_zero(projection(len(sources) * inner, channels)[:-1])
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
        """Tasks whose class logits ``forward`` needs, in the order of ``sources``."""
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
            predictions: name -> class logits ``(B, classes, h, w)``, resized to the features; of
                every task whose labels the genotype reads.

        Raises:
            InputError: If such a prediction is missing.
        """
        refined = {}
        for task, sources in self.reads.items():
            found = [self._read(task, source, features, predictions) for source in sources]
            parts = [features[task]]
            if found:
                parts.append(self.gather[task](torch.cat(found, dim=1)))
            refined[task] = self.dropout(self.merge[task](torch.cat(parts, dim=1)))
        return refined

    def _read(
        self,
        task: str,
        source: str,
        features: Mapping[str, Tensor],
        predictions: Mapping[str, Tensor] | None,
    ) -> Tensor:
        block = self.contexts[task].get_submodule(source)
        if not isinstance(block, LabelContext):
            return block(features[task], features[source])
        owner = task if self.genotype[task][source] == "target_label" else source
        if predictions is None or owner not in predictions:
            raise InputError(
                f"RelationalContext reads the labels of {owner!r} for {task!r} from {source!r}: "
                "pass its class logits in predictions, or choose a genotype without labels "
                '("global", "local").'
            )
        labels = resize(predictions[owner], features[task].shape[-2:])
        return block(features[task], features[source], labels)


def _begin_at_zero(layers: nn.Sequential) -> nn.Sequential:
    norm = layers[-1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.zeros_(norm.weight)
    return layers
