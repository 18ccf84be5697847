"""Procedural furnished rooms: an integer seed gives an image with pixel-exact labels.

>>> from taskprism.rooms import Rooms, render_room
>>> room = render_room(7, size=(48, 64))
>>> room.image.shape, room.semseg.shape, room.depth.dtype.name
((48, 64, 3), (48, 64), 'float32')
>>> sorted(Rooms(length=10, size=(48, 64), tasks=["depth", "edge"])[3]["targets"])
['depth', 'edge']

**Content.** A room of random size with doors, windows, a pillar or a beam; tables with
chairs, sofas, cabinets, shelves with books, lamps, plants, rugs, pictures, balls, boxes, vases; and
articulated mannequins that stand, walk or sit. Materials are procedural (paint, wood, bricks,
tiles, boards, cloth). Lamps, the sky in the windows and the sun cast soft or hard shadows; nearby
objects occlude ambient light. Camera, exposure, white balance, vignetting and noise vary.

**Method.** Rays are cast at three unit shapes (box, ellipsoid, cut cone) under affine maps,
vectorized in NumPy:

* :mod:`.scene` samples a room: :mod:`.decorating` adds windows, doors and pictures,
  :mod:`.furnishing` places :mod:`.furniture`, :mod:`.lamps`, :mod:`.mannequins` and
  :mod:`.clutter`. Their solids and materials are collected by a :mod:`.builder`.
* :mod:`.render` draws it: :mod:`.tracing` finds what each ray hits, :mod:`.surfaces` computes the
  points that are hit, :mod:`.materials` their reflectance, :mod:`.shading` their light;
  :mod:`.photograph` exposes the image and :mod:`.labels` computes edges and saliency.

**Reproducibility.** The same seed and size give the same bits: numbers that end in a
pixel are computed with ``+ - * /`` and square roots of IEEE 754 only. Noise comes from integer
hashes and random draws from the raw bits of PCG64 (:mod:`.arithmetic`). A change of the code that
changes pixels raises ``GENERATOR_VERSION``.

**Conventions.** Depth is in meters along the optical axis. Normals are unit vectors with x right, y
up and z toward the camera. A visible surface faces its ray, so z can be slightly negative far from
the center of the image, as on a ceiling when the camera looks down. Albedo is sRGB. Disparity is in
pixels of a stereo rig with ``STEREO_BASELINE``. Edges and saliency are defined in :mod:`.labels`,
classes in :mod:`.classes`.

**Speed.** ``benchmarks/rooms.py`` measures rooms per second. ``Rooms(cache=...)`` stores rendered
rooms in a folder, from which they are read ten times faster.
"""

from pathlib import Path

from taskprism.recipes import register_recipes
from taskprism.rooms.camera import STEREO_BASELINE
from taskprism.rooms.classes import CLASS_NAMES, PART_NAMES, Part, Thing
from taskprism.rooms.dataset import Rooms, scene_seed
from taskprism.rooms.labels import RoomImage
from taskprism.rooms.protocol import RoomsProtocol
from taskprism.rooms.render import GENERATOR_VERSION, render_room

register_recipes(Path(__file__).parent / "recipes")

__all__ = [
    "CLASS_NAMES",
    "GENERATOR_VERSION",
    "PART_NAMES",
    "STEREO_BASELINE",
    "Part",
    "RoomImage",
    "Rooms",
    "RoomsProtocol",
    "Thing",
    "render_room",
    "scene_seed",
]
