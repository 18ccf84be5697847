"""Classes of Cityscapes (Cordts et al., CVPR 2016): stored ids, the 19 that count, 7 categories."""

from __future__ import annotations

#: Id in ``_labelIds.png`` -> category and name, for the ids that the benchmark evaluates.
EVALUATED = {
    7: ("flat", "road"),
    8: ("flat", "sidewalk"),
    11: ("construction", "building"),
    12: ("construction", "wall"),
    13: ("construction", "fence"),
    17: ("object", "pole"),
    19: ("object", "traffic light"),
    20: ("object", "traffic sign"),
    21: ("nature", "vegetation"),
    22: ("nature", "terrain"),
    23: ("sky", "sky"),
    24: ("human", "person"),
    25: ("human", "rider"),
    26: ("vehicle", "car"),
    27: ("vehicle", "truck"),
    28: ("vehicle", "bus"),
    31: ("vehicle", "train"),
    32: ("vehicle", "motorcycle"),
    33: ("vehicle", "bicycle"),
}
LARGEST_ID = 33
SKY_ID = 23

NINETEEN = tuple(name for _, name in EVALUATED.values())
SEVEN = tuple(dict.fromkeys(category for category, _ in EVALUATED.values()))
TWO = ("background", "foreground")


def class_table(names: tuple[str, ...]) -> dict[int, int | None]:
    """Stored id -> index in ``names``, which are classes or categories; None for all other ids.

    255 is none too: what an id of -1 (license plates) becomes in 8 bits.
    """
    table: dict[int, int | None] = dict.fromkeys([*range(LARGEST_ID + 1), 255])
    for stored, (category, name) in EVALUATED.items():
        table[stored] = names.index(name if name in names else category)
    return table
