"""Class names of NYUD-v2."""

#: Gupta et al., CVPR 2013, in the order of their indices 1 to 40.
FORTY = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf",
    "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror",
    "floor mat", "clothes", "ceiling", "books", "refrigerator", "television", "paper", "towel",
    "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp",
    "bathtub", "bag", "other structure", "other furniture", "other prop",
)  # fmt: skip

#: Couprie et al., ICLR 2013, in SceneNet's order, which MTAN's files follow from 0.
THIRTEEN = (
    "bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa",
    "table", "television", "wall", "window",
)  # fmt: skip
