"""Collects the solids, materials and things of a scene while it is furnished."""

from __future__ import annotations

from taskprism.rooms.arithmetic import Vec
from taskprism.rooms.camera import Frame
from taskprism.rooms.classes import Part, Thing
from taskprism.rooms.materials import Material
from taskprism.rooms.solids import Shape, Solid


class Builder:
    """Collects solids.

    A *piece* is a group of solids whose shadows are tested together (a shelf with its books). A
    *thing* is one instance of a class (the shelf, each book). Things 0, 1 and 2 are the walls, the
    floor and the ceiling.

    Attributes:
        solids: The solids added so far.
        things: Class of every thing.
        materials: The materials, by number.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.builder import Builder
        >>> from taskprism.rooms.camera import Frame
        >>> from taskprism.rooms.classes import Thing
        >>> from taskprism.rooms.palette import paint
        >>> builder = Builder()
        >>> builder.begin_piece(Thing.TABLE)
        >>> paint_number = builder.add_material(paint(Dice(0)))
        >>> builder.add_box(Frame(), (0.0, 0.0, 0.35), (1.2, 0.8, 0.7), paint_number)
        >>> len(builder.solids), builder.things[-1].name
        (1, 'TABLE')
    """

    def __init__(self) -> None:
        self.solids: list[Solid] = []
        self.things: list[Thing] = [Thing.WALL, Thing.FLOOR, Thing.CEILING]
        self.materials: list[Material] = []
        self._group = 0
        self._instance = 0
        self._casts_shadow = True

    def begin_piece(self, thing: Thing, *, casts_shadow: bool = True) -> None:
        """Begin a new piece of furniture and its first thing."""
        self._group += 1
        self.begin_thing(thing, casts_shadow=casts_shadow)

    def begin_thing(self, thing: Thing, *, casts_shadow: bool = True) -> None:
        """Begin a new thing within the current piece."""
        self.things.append(thing)
        self._instance = len(self.things) - 1
        self._casts_shadow = casts_shadow

    def begin_surface(self, thing: Thing) -> None:
        """Begin a piece that belongs to the walls, the floor or the ceiling.

        Args:
            thing: ``Thing.WALL``, ``Thing.FLOOR`` or ``Thing.CEILING``.
        """
        self._group += 1
        self._instance = int(thing)
        self._casts_shadow = True

    def add_material(self, material: Material) -> int:
        """Add a material and return its number."""
        self.materials.append(material)
        return len(self.materials) - 1

    def add_box(
        self,
        frame: Frame,
        center: Vec,
        size: Vec,
        material: int,
        part: Part = Part.BACKGROUND,
        *,
        casts_shadow: bool = True,
    ) -> None:
        """Add a box of the full extents ``size``, its center given in the frame; meters."""
        half = (size[0] / 2.0, size[1] / 2.0, size[2] / 2.0)
        self._add(Shape.BOX, frame.moved(*center), half, 0.0, material, part, casts_shadow)

    def add_ellipsoid(
        self,
        frame: Frame,
        center: Vec,
        radii: Vec,
        material: int,
        part: Part = Part.BACKGROUND,
        *,
        casts_shadow: bool = True,
    ) -> None:
        """Add an ellipsoid along the frame's axes; meters."""
        self._add(Shape.ELLIPSOID, frame.moved(*center), radii, 0.0, material, part, casts_shadow)

    def add_frustum(
        self,
        frame: Frame,
        foot: Vec,
        radii: tuple[float, float],
        height: float,
        material: int,
        part: Part = Part.BACKGROUND,
        *,
        flatness: float = 1.0,
        casts_shadow: bool = True,
    ) -> None:
        """Add a cylinder or cut cone that rises from ``foot`` along the frame's z axis.

        Args:
            frame: Frame of ``foot``.
            foot: Center of the lower end, meters.
            radii: Along x at the lower and at the upper end, meters.
            height: Length along z, meters.
            material: Number of the material.
            part: Part of a mannequin that it belongs to.
            flatness: Extent along y divided by the extent along x.
            casts_shadow: Whether it blocks light.
        """
        mean = (radii[0] + radii[1]) / 2.0
        taper = (radii[1] - radii[0]) / (radii[1] + radii[0])
        middle = frame.moved(foot[0], foot[1], foot[2] + height / 2.0)
        half = (mean, mean * flatness, height / 2.0)
        self._add(Shape.FRUSTUM, middle, half, taper, material, part, casts_shadow)

    def _add(
        self,
        shape: Shape,
        frame: Frame,
        half: Vec,
        taper: float,
        material: int,
        part: Part,
        casts_shadow: bool,
    ) -> None:
        self.solids.append(
            Solid(
                shape,
                frame,
                half,
                taper,
                material,
                self._group,
                self._instance,
                int(part),
                casts_shadow and self._casts_shadow,
            )
        )
