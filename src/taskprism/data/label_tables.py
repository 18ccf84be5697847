"""What stored numbers and colors mean: classes, maps and color maps as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskprism.checks import MOST_CHANNELS
from taskprism.errors import DataError

Color = tuple[int, int, int]

_MOST_NUMBERS = 1_000_000  # in a map, ranges written out
_LARGEST_NUMBER = 2**53  # whole numbers up to here are exact as floats
_SHOWN = 10
_HEX = re.compile(r"#([0-9a-fA-F]{6})")
_THREE_NUMBERS = re.compile(r"\(?\[?\s*(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\s*\]?\)?")


@dataclass(frozen=True)
class ClassTable:
    """Classes of a task.

    Attributes:
        names: In the order of their indices; empty if only the number is known.
        count: How many.
        indices: Declared number -> index, if the numbers are not 0, 1, 2, ... without gaps.

    Example:
        >>> classes = class_table({0: "road", 7: "person"}, "classes")
        >>> classes.names, classes.index_of(7), classes.index_of("person")
        (('road', 'person'), 1, 1)
    """

    names: tuple[str, ...]
    count: int
    indices: Mapping[int, int] | None = None

    def index_of(self, meant: Any) -> int:
        """Index of a class that is declared by number or name.

        Raises:
            ValueError: There is no such class.
        """
        if isinstance(meant, str) and meant in self.names:
            return self.names.index(meant)
        if not isinstance(meant, int) or isinstance(meant, bool):
            known = f"; the names are {', '.join(self.names[:_SHOWN])}" if self.names else ""
            raise ValueError(f"{meant!r} is neither the number nor the name of a class{known}")
        if self.indices is None:
            return meant
        if meant not in self.indices:
            raise ValueError(f"there is no class {meant}; classes has {_some(self.indices)}")
        return self.indices[meant]

    def value_map(self) -> dict[int, int | None] | None:
        """Stored number -> index, if numbers have gaps and no map is given."""
        return None if self.indices is None else dict(self.indices)


def class_table(stored: Any, where: str) -> ClassTable | None:
    """Classes from a number, a list of names, ``{number: name}`` or ``{name: number}``.

    Numbers with gaps become indices in ascending order.

    Raises:
        DataError: It is anything else; ``where`` names the key.
    """
    if stored is None:
        return None
    if isinstance(stored, int) and not isinstance(stored, bool):
        if not 1 <= stored <= MOST_CHANNELS:
            raise DataError(f"{where}: got {stored}. Give a number from 1 to {MOST_CHANNELS}.")
        return ClassTable((), stored)
    if isinstance(stored, Mapping):
        numbers = _numbered(stored, where)
    elif isinstance(stored, Sequence) and not isinstance(stored, str):
        numbers = dict(enumerate(stored))
    else:
        raise _not_classes(stored, where)
    names = tuple(numbers[number] for number in sorted(numbers))
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise _not_classes(stored, where)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"{where}: the class name {twice[0]!r} occurs twice. Give each class another name, or "
            "merge stored values with map."
        )
    ordered = sorted(numbers)
    dense = ordered == list(range(len(ordered)))
    indices = None if dense else {number: index for index, number in enumerate(ordered)}
    return ClassTable(names, len(names), indices)


def _numbered(stored: Mapping[Any, Any], where: str) -> dict[int, Any]:
    """Number -> name, whichever of them the keys are."""
    keys, values = [*stored], [*stored.values()]
    if all(_whole(key) is not None for key in keys):
        numbers, names = [_whole(key) for key in keys], values
    elif all(isinstance(key, str) for key in keys):
        numbers, names = [_whole(value) for value in values], keys
    else:
        raise _not_classes(stored, where)
    if None in numbers or len(set(numbers)) < len(numbers) or any((n or 0) < 0 for n in numbers):
        raise _not_classes(stored, where)
    return {number: name for number, name in zip(numbers, names, strict=True) if number is not None}


def _whole(value: Any) -> int | None:
    """A whole number, also as the text that JSON makes of keys."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _not_classes(stored: Any, where: str) -> DataError:
    shown = str(stored)[:80]
    return DataError(
        f"{where}: expected the number of classes, a list of different names, {{number: name}} or "
        f"{{name: number}}, got {shown}."
    )


def value_map(
    stored: Any, where: str, classes: ClassTable | None = None
) -> Mapping[int, int | None]:
    """Normal form of a ``map``: a list by index, or a mapping whose keys may be ranges ``3-7``.

    Raises:
        DataError: A key is not a whole number or range, or there are too many numbers.
    """
    if not isinstance(stored, (list, tuple, Mapping)):
        raise DataError(f"{where}: expected {{stored number: class}} or a list, got {stored!r}.")
    pairs = stored.items() if isinstance(stored, Mapping) else enumerate(stored)
    result: dict[int, int | None] = {}
    for key, value in pairs:
        found = re.fullmatch(r"(-?\d{1,20})(?:-(\d{1,20}))?", str(key))
        good_value = value is None or isinstance(value, (int, str))
        if not found or not good_value:
            raise DataError(f"{where}: {key!r}: {value!r} is not a whole number (or range): class.")
        low, high = int(found[1]), int(found[2] or found[1])
        if high < low or max(abs(low), abs(high)) > _LARGEST_NUMBER:
            raise DataError(f"{where}: {key!r} is not a range of numbers, or too large.")
        if high - low >= _MOST_NUMBERS or len(result) + high - low >= _MOST_NUMBERS:
            raise DataError(
                f"{where}: {key!r} makes a map of more than {_MOST_NUMBERS} numbers. List only "
                "those that occur, and set unmapped: ignore for the others."
            )
        index = None if value is None else _index(classes, value, where)
        for number in range(low, high + 1):
            if result.get(number, index) != index:
                raise DataError(f"{where}: the number {number} has two classes.")
            result[number] = index
    if not result:
        raise DataError(f"{where}: the map is empty.")
    return result


def _index(classes: ClassTable | None, meant: Any, where: str) -> int:
    if classes is None:
        if isinstance(meant, int) and not isinstance(meant, bool):
            return meant
        raise DataError(f"{where}: {meant!r} is not a number.")
    try:
        return classes.index_of(meant)
    except ValueError as error:
        raise DataError(f"{where}: {error}.") from None


def color_map(
    stored: Any, where: str, classes: ClassTable | None = None
) -> dict[Color, int | None]:
    """Normal form of ``colors``: ``{color: class}``, ``{class: color}``, or colors by index.

    A color is ``[128, 0, 0]``, ``"128, 0, 0"`` or ``"#800000"``; a class is its number or name, or
    None for "no label".

    Raises:
        DataError: Something is not a color or class, or a color has two classes.

    Example:
        >>> color_map({"#800000": 1, "0, 0, 0": None}, "colors")
        {(128, 0, 0): 1, (0, 0, 0): None}
    """
    if isinstance(stored, Mapping):
        pairs = [_color_first(key, value, where) for key, value in stored.items()]
    elif isinstance(stored, (list, tuple)):
        pairs = [(_color(value, where), index) for index, value in enumerate(stored)]
    else:
        raise DataError(f"{where}: expected {{color: class}} or a list of colors, got {stored!r}.")
    result: dict[Color, int | None] = {}
    for color, meant in pairs:
        index = None if meant is None else _index(classes, meant, where)
        if result.get(color, index) != index:
            raise DataError(f"{where}: the color {show_color(color)} has two classes.")
        result[color] = index
    if not result:
        raise DataError(f"{where}: there is no color.")
    return result


def _color_first(key: Any, value: Any, where: str) -> tuple[Color, Any]:
    if _as_color(key) is not None:
        return _color(key, where), value
    if _as_color(value) is not None:
        whole = _whole(key)
        return _color(value, where), key if whole is None else whole
    return _color(key, where), value


def _color(stored: Any, where: str) -> Color:
    color = _as_color(stored)
    if color is None:
        raise DataError(
            f"{where}: {stored!r} is not a color. Write [128, 0, 0], '128, 0, 0' or '#800000', "
            "each number from 0 to 255."
        )
    return color


def _as_color(stored: Any) -> Color | None:
    if isinstance(stored, str):
        found = _HEX.fullmatch(stored.strip())
        if found:
            red, green, blue = bytes.fromhex(found[1])
            return red, green, blue
        numbers = _THREE_NUMBERS.fullmatch(stored.strip())
        stored = [int(number) for number in numbers.groups()] if numbers else None
    if not isinstance(stored, (list, tuple)) or len(stored) != 3:
        return None
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= 255 for n in stored):
        return None
    return stored[0], stored[1], stored[2]


def colors_from_lines(lines: Iterable[str], where: str, names: Sequence[str]) -> dict[Any, Any]:
    """Colors in a text or CSV file: three numbers per line, with a name or a number of the class.

    ``128 0 0``, ``aeroplane,128,0,0`` and ``128 0 0 aeroplane`` are the same if aeroplane is the
    class of that line. A first line of words only is a heading. With four numbers, the first is
    the class.

    Raises:
        DataError: A line has other contents.
    """
    colors: dict[Any, Any] = {}
    position = 0
    for number, line in enumerate(lines, start=1):
        parts = [part for part in re.split(r"[\s,;]+", line.strip()) if part]
        numbers = [int(part) for part in parts if re.fullmatch(r"\d{1,6}", part)]
        hexes = [part for part in parts if _HEX.fullmatch(part)]
        if line.startswith(("#", "//")) and not hexes:
            continue
        words = [p for p in parts if not re.fullmatch(r"\d{1,6}", p) and p not in hexes]
        if number == 1 and not numbers and not hexes:
            continue
        color = _as_color(hexes[0]) if hexes else _as_color(numbers[-3:])
        ids = numbers if hexes else numbers[:-3]
        name = " ".join(words)
        if color is None or len(ids) > 1 or (name and names and name not in names):
            raise DataError(
                f"{where}: line {number} ({line[:60]!r}) is not a color of a class. Write three "
                "numbers from 0 to 255 per line, in the order of the classes or with their names."
            )
        meant = ids[0] if ids else name if name in names else position
        if color in colors and colors[color] != meant:
            raise DataError(f"{where}: line {number}: the color {show_color(color)} occurs twice.")
        colors[color] = meant
        position += 1
    return colors


def show_color(color: Color) -> str:
    """A color as it is written in the YAML."""
    return f"[{', '.join(map(str, color))}]"


def _some(numbers: Iterable[int]) -> str:
    shown = [*numbers]
    return ", ".join(map(str, shown[:_SHOWN])) + ", ..." * (len(shown) > _SHOWN)
