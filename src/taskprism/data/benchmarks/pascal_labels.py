"""Class lists of PASCAL VOC, PASCAL-Context and PASCAL-Part."""

#: Everingham et al., IJCV 2010, in the order of the stored indices; 255 is void.
TWENTY_ONE = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa",
    "train", "tv monitor",
)  # fmt: skip

PERSON = 15  # in VOC's order, and the class index of objects in PASCAL-Part

#: Parts of a person in PASCAL-Part (Chen et al., CVPR 2014) -> classes of the six-part benchmark:
#: head, torso, upper arm, lower arm, upper leg, lower leg; ``l`` and ``r`` in front are sides.
SIX_PARTS = {
    **dict.fromkeys(("head", "hair", "nose", "mouth"), 1),
    **dict.fromkeys(("leye", "reye", "lear", "rear", "lebrow", "rebrow"), 1),
    **dict.fromkeys(("torso", "neck"), 2),
    **dict.fromkeys(("luarm", "ruarm"), 3),
    **dict.fromkeys(("llarm", "rlarm", "lhand", "rhand"), 4),
    **dict.fromkeys(("luleg", "ruleg"), 5),
    **dict.fromkeys(("llleg", "rlleg", "lfoot", "rfoot"), 6),
}

#: Labels of PASCAL-Context (Mottaghi et al., CVPR 2014; 1 to 459) that are names of NYU-Depth v2
#: too, "unknown" left out and tvmonitor (427) added. The network whose normals were distilled has
#: learned from rooms, so that only these 170 count as labels.
INDOORS = frozenset((
    3, 4, 6, 9, 10, 11, 13, 15, 17, 18, 22, 23, 29, 30, 33, 34, 36, 37, 38, 39, 41, 43, 46, 49, 50,
    51, 53, 55, 56, 59, 61, 62, 65, 66, 68, 69, 72, 73, 78, 83, 84, 85, 87, 88, 95, 96, 101, 104,
    105, 107, 111, 113, 115, 122, 124, 135, 141, 142, 143, 146, 150, 154, 157, 158, 159, 165, 172,
    174, 181, 183, 184, 191, 193, 195, 197, 199, 202, 213, 215, 216, 219, 220, 223, 225, 228, 230,
    232, 233, 238, 239, 242, 243, 246, 250, 251, 252, 255, 260, 261, 263, 269, 272, 273, 275, 281,
    283, 284, 285, 286, 287, 288, 290, 291, 292, 293, 295, 304, 307, 309, 310, 314, 315, 319, 323,
    329, 330, 331, 336, 342, 345, 349, 350, 351, 352, 355, 357, 368, 370, 371, 374, 379, 380, 383,
    384, 397, 401, 403, 405, 407, 408, 411, 412, 413, 414, 417, 419, 421, 423, 427, 429, 430, 432,
    440, 441, 442, 443, 444, 446, 454, 457,
))  # fmt: skip
