"""The classes of semantic segmentation and the parts of a mannequin."""

from __future__ import annotations

from enum import IntEnum


class Thing(IntEnum):
    """Classes of the semantic segmentation.

    Example:
        >>> from taskprism.rooms import Thing
        >>> Thing(4).name
        'CHAIR'
    """

    WALL = 0
    FLOOR = 1
    CEILING = 2
    TABLE = 3
    CHAIR = 4
    SOFA = 5
    CABINET = 6
    PICTURE = 7
    WINDOW = 8
    DOOR = 9
    LAMP = 10
    OBJECT = 11
    BOX = 12
    PERSON = 13


class Part(IntEnum):
    """Classes of human part segmentation: parts of a mannequin, and background.

    Example:
        >>> from taskprism.rooms import Part
        >>> int(Part.HEAD)
        1
    """

    BACKGROUND = 0
    HEAD = 1
    TORSO = 2
    UPPER_ARM = 3
    LOWER_ARM = 4
    UPPER_LEG = 5
    LOWER_LEG = 6


CLASS_NAMES: tuple[str, ...] = tuple(thing.name.lower() for thing in Thing)
"""Names of the classes in ``semseg``. Rugs belong to the floor, pillars and beams to the wall,
shelves to cabinets, curtains to windows. ``object`` covers balls, vases, cups and plants, ``box``
covers boxes and books, ``person`` mannequins."""

PART_NAMES: tuple[str, ...] = (
    "background",
    "head",
    "torso",
    "upper arm",
    "lower arm",
    "upper leg",
    "lower leg",
)
"""Names of the classes in ``human_parts``, as in PASCAL-Part: hands belong to the lower arms, feet
to the lower legs."""
