"""Articulated mannequins that stand, walk or sit.

>>> from taskprism.rooms.arithmetic import Dice
>>> from taskprism.rooms.builder import Builder
>>> from taskprism.rooms.camera import Frame
>>> from taskprism.rooms.classes import Part
>>> from taskprism.rooms.mannequins import add_standing_mannequin
>>> builder = Builder()
>>> add_standing_mannequin(builder, Frame(), 1.7, Dice(0))
>>> {solid.part for solid in builder.solids} == set(Part) - {Part.BACKGROUND}
True
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from taskprism.rooms import palette
from taskprism.rooms.arithmetic import Dice, radians
from taskprism.rooms.builder import Builder
from taskprism.rooms.camera import Frame
from taskprism.rooms.classes import Part, Thing

SIDES = (-1.0, 1.0)

# Lengths in units of the body's height.
THIGH, SHIN, ANKLE = 0.245, 0.235, 0.04
HIP, SHOULDER, TRUNK = 0.055, 0.108, 0.285
UPPER_ARM, FOREARM = 0.17, 0.15


@dataclass(frozen=True)
class Clothes:
    """Numbers of the materials of each part of the body.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.builder import Builder
        >>> from taskprism.rooms.mannequins import Clothes
        >>> Clothes.random(Builder(), Dice(0)).skin
        0
    """

    skin: int
    hair: int
    shirt: int
    sleeve: int
    trousers: int
    shin: int
    shoes: int

    @staticmethod
    def random(builder: Builder, dice: Dice) -> Clothes:
        """A random outfit."""
        skin = builder.add_material(palette.skin(dice))
        shirt = builder.add_material(palette.cloth(dice))
        trousers = builder.add_material(palette.cloth(dice))
        bare = dice.chance(0.12)  # a shop mannequin without clothes
        return Clothes(
            skin=skin,
            hair=skin if bare else builder.add_material(palette.wood(dice, gloss=0.1)),
            shirt=skin if bare else shirt,
            sleeve=shirt if dice.chance(0.45) and not bare else skin,
            trousers=skin if bare else trousers,
            shin=trousers if dice.chance(0.7) and not bare else skin,
            shoes=skin if bare else builder.add_material(palette.paint(dice, gloss=0.2)),
        )


@dataclass(frozen=True)
class _Leg:
    """Frames of the joints. The limbs hang along -z, the body faces -y."""

    hip: Frame
    knee: Frame
    ankle: Frame


def add_standing_mannequin(builder: Builder, frame: Frame, height: float, dice: Dice) -> None:
    """Add a mannequin that stands or walks on the frame's origin; ``height`` in meters."""
    swing = dice.choice((0.0, 0.05, dice.uniform(0.2, 0.5)))
    forward = dice.sign()
    legs: dict[float, tuple[float, float, float]] = {}
    for side in SIDES:
        thigh = side * forward * swing + dice.bell(0.04)
        knee = dice.uniform(0.02, 0.12) + (dice.uniform(0.1, 0.7) if thigh < -0.1 else 0.0)
        legs[side] = (thigh, knee, dice.uniform(0.0, 0.12))

    def joints(pelvis: Frame) -> list[_Leg]:
        return [_leg_joints(pelvis, height, side, *legs[side]) for side in SIDES]

    lowest = min(leg.ankle.origin[2] for leg in joints(frame)) - ANKLE * height
    pelvis = frame.moved(0.0, 0.0, frame.origin[2] - lowest)
    _add_body(builder, pelvis, joints(pelvis), height, dice, seated=False)


def add_seated_mannequin(builder: Builder, seat: Frame, height: float, dice: Dice) -> None:
    """Add a mannequin that sits on the frame's origin, its feet on the floor if they reach it."""
    pelvis = seat.moved(0.0, 0.0, 0.055 * height)
    # short legs let the thighs slope down, long ones put the feet forward
    short = pelvis.origin[2] - (SHIN + ANKLE) * height
    slope = min(max(short / (THIGH * height), 0.0), 0.3)
    level = math.sqrt(1.0 - slope * slope)
    knee_height = pelvis.origin[2] - slope * THIGH * height
    drop = min(max((knee_height - ANKLE * height) / (SHIN * height), 0.5), 1.0)
    reach = math.sqrt(max(1.0 - drop * drop, 0.0))
    legs = []
    for side in SIDES:
        spread = dice.uniform(0.02, 0.22)
        hip = pelvis.moved(side * HIP * height, 0.0, 0.0).turned("z", side * spread)
        thigh = hip.rotated("x", slope, -level)
        knee = thigh.moved(0.0, 0.0, -THIGH * height).rotated("x", slope, level)
        shin = knee.rotated("x", drop, -reach)
        ankle = shin.moved(0.0, 0.0, -SHIN * height).rotated("x", drop, reach)
        legs.append(_Leg(thigh, shin, ankle))
    _add_body(builder, pelvis, legs, height, dice, seated=True)


def _leg_joints(
    pelvis: Frame, height: float, side: float, thigh: float, knee: float, apart: float
) -> _Leg:
    hip = pelvis.moved(side * HIP * height, 0.0, 0.0).turned("y", -side * apart)
    hip = hip.turned("x", -thigh)
    bent = hip.moved(0.0, 0.0, -THIGH * height).turned("x", knee)
    foot = bent.moved(0.0, 0.0, -SHIN * height).turned("x", (thigh - knee) * 0.8)
    return _Leg(hip, bent, foot)


def _add_body(
    builder: Builder, pelvis: Frame, legs: list[_Leg], height: float, dice: Dice, *, seated: bool
) -> None:
    builder.begin_piece(Thing.PERSON)
    clothes = Clothes.random(builder, dice)
    h = height
    wide = dice.uniform(0.9, 1.15)
    lean = dice.uniform(-0.12, 0.02) if seated else dice.bell(0.06)
    trunk = pelvis.turned("x", -lean).turned("z", dice.bell(0.12))
    hips = (0.092 * h * wide, 0.066 * h * wide, 0.062 * h)
    builder.add_ellipsoid(pelvis, (0.0, 0.0, 0.015 * h), hips, clothes.trousers, Part.TORSO)
    radii = (0.08 * h * wide, 0.102 * h * wide)
    builder.add_frustum(
        trunk, (0.0, 0.0, 0.02 * h), radii, 0.2 * h, clothes.shirt, Part.TORSO, flatness=0.64
    )
    chest = (0.112 * h * wide, 0.068 * h * wide, 0.075 * h)
    builder.add_ellipsoid(trunk, (0.0, 0.0, 0.225 * h), chest, clothes.shirt, Part.TORSO)
    for leg in legs:
        _add_leg(builder, leg, h, wide, clothes)
    for side in SIDES:
        shoulder = trunk.moved(side * SHOULDER * h * wide, 0.0, 0.25 * h)
        _add_arm(builder, shoulder, side, h, clothes, dice, seated=seated)
    _add_head(builder, trunk.moved(0.0, 0.0, TRUNK * h), h, clothes, dice)


def _add_leg(builder: Builder, leg: _Leg, h: float, wide: float, clothes: Clothes) -> None:
    thigh, knee, ankle = 0.056 * h * wide, 0.036 * h, 0.025 * h
    _add_limb(builder, leg.hip, THIGH * h, (thigh, knee), clothes.trousers, Part.UPPER_LEG)
    _add_limb(builder, leg.knee, SHIN * h, (knee * 1.04, ankle), clothes.shin, Part.LOWER_LEG)
    foot = (0.03 * h, 0.076 * h, 0.03 * h)
    middle = (0.0, -0.04 * h, -ANKLE * h + 0.03 * h)
    builder.add_ellipsoid(leg.ankle, middle, foot, clothes.shoes, Part.LOWER_LEG)


def _add_arm(
    builder: Builder,
    shoulder: Frame,
    side: float,
    h: float,
    clothes: Clothes,
    dice: Dice,
    *,
    seated: bool,
) -> None:
    forward, aside, bend = radians(dice.uniform(-25.0, 35.0)), dice.uniform(0.08, 0.35), 0.0
    if seated:
        forward, bend = radians(dice.uniform(10.0, 35.0)), radians(dice.uniform(65.0, 95.0))
    else:
        bend = radians(dice.choice((dice.uniform(5.0, 30.0), dice.uniform(30.0, 110.0))))
        if dice.chance(0.25):
            forward = radians(dice.uniform(60.0, 165.0))
        elif dice.chance(0.2):
            aside = radians(dice.uniform(50.0, 140.0))
    upper = shoulder.turned("y", -side * aside).turned("x", -forward)
    elbow = upper.moved(0.0, 0.0, -UPPER_ARM * h).turned("x", -bend)
    radii = (0.033 * h, 0.026 * h)
    _add_limb(builder, upper, UPPER_ARM * h, radii, clothes.shirt, Part.UPPER_ARM)
    lower = (0.026 * h, 0.018 * h)
    _add_limb(builder, elbow, FOREARM * h, lower, clothes.sleeve, Part.LOWER_ARM)
    hand = (0.014 * h, 0.025 * h, 0.05 * h)
    palm = (0.0, 0.0, -(FOREARM + 0.04) * h)
    builder.add_ellipsoid(elbow, palm, hand, clothes.skin, Part.LOWER_ARM)


def _add_head(builder: Builder, neck: Frame, h: float, clothes: Clothes, dice: Dice) -> None:
    turned = neck.turned("z", dice.bell(0.35)).turned("x", dice.bell(0.12))
    builder.add_frustum(
        neck, (0.0, 0.0, -0.03 * h), (0.032 * h, 0.029 * h), 0.07 * h, clothes.skin, Part.HEAD
    )
    face = (0.046 * h, 0.054 * h, 0.066 * h)
    builder.add_ellipsoid(turned, (0.0, -0.005 * h, 0.09 * h), face, clothes.skin, Part.HEAD)
    builder.add_ellipsoid(
        turned,
        (0.0, -0.061 * h, 0.083 * h),
        (0.008 * h, 0.01 * h, 0.014 * h),
        clothes.skin,
        Part.HEAD,
    )
    if clothes.hair != clothes.skin:
        hair = (0.051 * h, 0.055 * h, 0.06 * h)
        builder.add_ellipsoid(turned, (0.0, 0.012 * h, 0.107 * h), hair, clothes.hair, Part.HEAD)


def _add_limb(
    builder: Builder,
    joint: Frame,
    length: float,
    radii: tuple[float, float],
    material: int,
    part: Part,
) -> None:
    """Add a cut cone that hangs from a joint, rounded at both ends."""
    first, last = radii
    builder.add_frustum(joint, (0.0, 0.0, -length), (last, first), length, material, part)
    builder.add_ellipsoid(joint, (0.0, 0.0, 0.0), (first, first, first), material, part)
    builder.add_ellipsoid(joint, (0.0, 0.0, -length), (last, last, last), material, part)
