"""Which context each target task reads from each source task: the result of ATRC's search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from taskprism.errors import InputError, UnknownNameError

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


# The published results, by benchmark and backbone (HRNet-W18-Small-v2 and HRNet-W48). No pair
# chose local context.
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


def resolve_genotype(
    genotype: str | Genotype, tasks: Sequence[str], sources: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Context of every pair, as ``{target: {source: context}}``.

    Args:
        genotype: A name in :data:`GENOTYPES`, of which any subset of tasks can be taken; one
            context for all pairs; or a mapping that holds every pair.
        tasks: Targets.
        sources: Sources.

    Raises:
        UnknownNameError: For an unknown genotype or context.
        InputError: For a pair that the genotype lacks.
    """
    contexts = get_args(Context)
    if isinstance(genotype, str):
        if genotype in contexts:
            return {target: dict.fromkeys(sources, genotype) for target in tasks}
        if genotype not in GENOTYPES:
            raise UnknownNameError("genotype", genotype, [*GENOTYPES, *contexts])
    table = GENOTYPES[genotype] if isinstance(genotype, str) else genotype
    chosen: dict[str, dict[str, str]] = {}
    for target in tasks:
        chosen[target] = {}
        for source in sources:
            context = table.get(target, {}).get(source)
            if context is None:
                raise InputError(
                    f"Genotype {genotype!r} says nothing of target {target!r} and source "
                    f"{source!r}; it knows {list(table)}. Give a mapping "
                    "{target: {source: context}} of all pairs, or one context for all of them: "
                    f"{', '.join(contexts)}."
                )
            if context not in contexts:
                raise UnknownNameError(
                    f"context of {target!r} from {source!r}", str(context), contexts
                )
            chosen[target][source] = context
    return chosen
