"""How a public repository names the tensors of its networks, and the registry of such sources."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from torch import Tensor

from taskprism.registry import Registry

#: A released name and the name here, with placeholders in braces. ``{task}`` and ``{source}`` are
#: names of tasks, which are translated; ``{place}`` is the number of a task in the order of the
#: source, and becomes its name; ``{rest}`` is any text; all others are numbers. On the right,
#: ``{only}`` is the only task of the model, and ``NAME[{task}]`` is the row of the tensor NAME that
#: belongs to a task.
Rule = tuple[str, str]

_TASKS = ("task", "source")
_PLACE = "place"
_REST = "rest"


@dataclass(frozen=True)
class Checkpoint:
    """A released checkpoint, with the tasks and the size that the caller named.

    Attributes:
        tensors: Tensors by released name, without prefixes.
        tasks: Released name -> own name of each task, main and auxiliary, in the order of the
            source.
        size: ``(H, W)`` of the input image, if the caller gave it.

    Example:
        >>> import torch
        >>> from taskprism.interop import Checkpoint
        >>> Checkpoint({"heads.depth.bias": torch.ones(1)}, {"depth": "depth"}, None).has("heads.")
        True
    """

    tensors: Mapping[str, Tensor]
    tasks: Mapping[str, str]
    size: tuple[int, int] | None

    def has(self, start: str) -> bool:
        """Whether the name of any tensor starts with ``start``."""
        return any(name.startswith(start) for name in self.tensors)


@dataclass(frozen=True)
class Layout:
    """One system of one source.

    Attributes:
        model: Name of the model here (``create_model``).
        rules: Rules for all tensors of the network.
        backbone: Finds the name of the backbone from the tensors.
        options: Finds the options of ``create_model`` with which the model computes the same as
            the released one.

    Example:
        >>> from taskprism.interop import find_layout, find_source
        >>> find_layout(find_source("ema_net"), "multi_task").rules[0]
        ('backbone.{rest}', 'backbone.model.{rest}')
    """

    model: str
    rules: tuple[Rule, ...]
    backbone: Callable[[Mapping[str, Tensor]], str]
    options: Callable[[Checkpoint], dict[str, Any]]


class Source:
    """A public repository whose checkpoints can be imported; a subclass is data only.

    Attributes:
        name: Key in :data:`SOURCES`.
        repository: URL of the repository.
        tasks: Kind of a task here -> name there, in the order in which tasks are concatenated.
        layouts: The systems that can be imported.
        image_mean: Mean per channel, of RGB in [0, 1], that the networks expect.
        image_std: Standard deviation per channel that the networks expect.
        dropped: Patterns of tensors that inference does not need, and what they are.

    Example:
        >>> from taskprism.interop import Source, find_source, register_source
        >>> find_source("ema_net").image_std
        (1.0, 1.0, 1.0)
    """

    name: ClassVar[str]
    repository: ClassVar[str]
    tasks: ClassVar[Mapping[str, str]]
    layouts: ClassVar[tuple[Layout, ...]]
    image_mean: ClassVar[tuple[float, float, float]]
    image_std: ClassVar[tuple[float, float, float]]
    dropped: ClassVar[tuple[tuple[str, str], ...]] = ()


#: Every repository whose checkpoints can be imported, by :attr:`Source.name`.
SOURCES: Registry[Source] = Registry("source", Source, package="taskprism.interop")
register_source = SOURCES.register


def translate(name: str, rules: Iterable[Rule], tasks: Mapping[str, str]) -> str | None:
    """Own name of the tensor with the released name ``name``, or None if no rule matches.

    Args:
        name: Released name.
        rules: The first rule that matches is used.
        tasks: Released name of a task -> own name.

    Example:
        >>> from taskprism.interop.source import translate
        >>> translate("head.sal.bias", [("head.{task}.{rest}", "heads.{task}.{rest}")],
        ...           {"sal": "saliency"})
        'heads.saliency.bias'
    """
    known = tuple(tasks)
    for theirs, ours in rules:
        if not name.startswith(theirs.partition("{")[0]):
            continue
        match = _pattern(theirs, known).fullmatch(name)
        if match is not None:
            found = match.groupdict()
            named = {key: tasks[value] if key in _TASKS else value for key, value in found.items()}
            if _PLACE in found:
                if int(found[_PLACE]) >= len(known):
                    continue
                named[_PLACE] = tasks[known[int(found[_PLACE])]]
            return ours.format(only=next(iter(tasks.values())), **named)
    return None


def tasks_in(names: Iterable[str], rules: Sequence[Rule]) -> list[str]:
    """Released names of all tasks for which a checkpoint has layers.

    Example:
        >>> from taskprism.interop.source import tasks_in
        >>> tasks_in(["head.sal.bias"], [("head.{task}.{rest}", "heads.{task}.{rest}")])
        ['sal']
    """
    found: dict[str, None] = {}
    for name in names:
        for theirs, _ in rules:
            if not name.startswith(theirs.partition("{")[0]):
                continue
            match = _pattern(theirs, (r"\w+",), escape=False).fullmatch(name)
            if match is not None:
                found |= {value: None for key, value in match.groupdict().items() if key in _TASKS}
                break
    return list(found)


@lru_cache(maxsize=1024)
def _pattern(template: str, tasks: tuple[str, ...], escape: bool = True) -> re.Pattern[str]:
    any_task = "|".join(re.escape(task) if escape else task for task in tasks)
    text = ""
    for literal, placeholder in re.findall(r"([^{]*)(?:\{(\w+)\})?", template):
        text += re.escape(literal)
        if placeholder:
            what = any_task if placeholder in _TASKS else r".+" if placeholder == _REST else r"\d+"
            text += f"(?P<{placeholder}>{what})"
    return re.compile(text)
