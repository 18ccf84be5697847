"""Rules that turn a released name of a tensor into the one that it has here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

#: A released name and the name here, with placeholders in braces. ``{task}`` and ``{source}`` are
#: names of tasks and change from the released to the own ones; ``{rest}`` is anything; all others
#: are numbers. On the right, ``{only}`` is the model's only task, and ``NAME[{task}]`` is the row
#: of the tensor NAME that belongs to a task.
Rule = tuple[str, str]

_TASKS = ("task", "source")
_REST = "rest"


def translate(name: str, rules: Iterable[Rule], tasks: Mapping[str, str]) -> str | None:
    """Name here of the tensor that is called ``name`` there, or None if no rule knows it.

    Args:
        name: Released name.
        rules: The first that fits counts.
        tasks: Released name of a task -> own name.
    """
    known = tuple(tasks)
    for theirs, ours in rules:
        if not name.startswith(theirs.partition("{")[0]):
            continue
        match = _pattern(theirs, known).fullmatch(name)
        if match is not None:
            found = match.groupdict()
            named = {key: tasks[value] if key in _TASKS else value for key, value in found.items()}
            return ours.format(only=next(iter(tasks.values())), **named)
    return None


def tasks_in(names: Iterable[str], rules: Sequence[Rule]) -> list[str]:
    """Released names of all tasks that a checkpoint has layers of."""
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
