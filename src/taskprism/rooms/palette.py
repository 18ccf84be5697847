"""Random materials by purpose: paint, wood, cloth, floors, paintings.

>>> from taskprism.rooms import palette
>>> from taskprism.rooms.arithmetic import Dice
>>> palette.wood(Dice(0)).pattern.name
'WAVES'
"""

from __future__ import annotations

from taskprism.rooms.arithmetic import Dice, Vec
from taskprism.rooms.materials import Material, Pattern, color, scaled


def paint(dice: Dice, *, gloss: float = 0.0) -> Material:
    """A single color, slightly mottled."""
    base = any_color(dice)
    return _plain(dice, base, grain=dice.uniform(0.0, 0.15), gloss=gloss)


def plastic(dice: Dice) -> Material:
    """A strong, shiny color, sometimes with a pattern (toys, balls, vases)."""
    a, b = strong_color(dice), strong_color(dice)
    pattern = dice.choice(
        (Pattern.PLAIN, Pattern.PLAIN, Pattern.STRIPES, Pattern.CHECKER, Pattern.DOTS)
    )
    return Material(
        colors=(a, b, a),
        pattern=pattern,
        period=dice.uniform(0.05, 0.14),
        swap=dice.chance(0.5),
        gloss=dice.uniform(0.1, 0.7),
        seed=dice.seed(),
    )


def wood(dice: Dice, *, gloss: float | None = None) -> Material:
    """Bands bent by noise in a brown, gray or whitish tone."""
    base = color(dice.uniform(0.05, 0.11), dice.uniform(0.25, 0.75), dice.uniform(0.3, 0.9))
    across = dice.uniform(0.03, 0.09)
    return Material(
        colors=(base, scaled(base, dice.uniform(0.55, 0.8)), base),
        pattern=Pattern.WAVES,
        period=across,
        ratio=dice.uniform(6.0, 12.0),
        swap=dice.chance(0.5),
        grain=dice.uniform(0.1, 0.4),
        grain_size=(0.25, 0.012) if dice.chance(0.5) else (0.012, 0.25),
        gloss=dice.uniform(0.0, 0.3) if gloss is None else gloss,
        seed=dice.seed(),
    )


def cloth(dice: Dice) -> Material:
    """Woven fabric: plain, striped, checked or dotted."""
    a = any_color(dice)
    b = any_color(dice)
    pattern = dice.choice(
        (
            Pattern.PLAIN,
            Pattern.PLAIN,
            Pattern.PLAIN,
            Pattern.STRIPES,
            Pattern.CHECKER,
            Pattern.DOTS,
        )
    )
    return Material(
        colors=(a, b, a),
        pattern=pattern,
        period=dice.uniform(0.05, 0.16),
        swap=dice.chance(0.5),
        grain=dice.uniform(0.1, 0.4),
        grain_size=(0.02, 0.02),
        seed=dice.seed(),
    )


def metal(dice: Dice) -> Material:
    """Gray, white or black, shiny."""
    base = color(dice.uniform(), dice.uniform(0.0, 0.12), dice.choice((0.15, 0.5, 0.75, 0.9)))
    return _plain(dice, base, gloss=dice.uniform(0.3, 1.0))


def furniture(dice: Dice) -> Material:
    """Wood, or painted wood."""
    return wood(dice) if dice.chance(0.65) else paint(dice, gloss=dice.uniform(0.0, 0.3))


def any_color(dice: Dice) -> Vec:
    """Mostly muted colors, some strong colors and some grays."""
    if dice.chance(0.3):
        return strong_color(dice)
    return color(dice.uniform(), dice.uniform(0.0, 0.45), dice.uniform(0.2, 0.95))


def strong_color(dice: Dice) -> Vec:
    """A saturated color."""
    return color(dice.uniform(), dice.uniform(0.6, 0.95), dice.uniform(0.45, 0.95))


def pale_color(dice: Dice) -> Vec:
    """A wall color: light and slightly tinted, sometimes bolder."""
    if dice.chance(0.2):
        return color(dice.uniform(), dice.uniform(0.3, 0.6), dice.uniform(0.45, 0.8))
    return color(dice.uniform(), dice.uniform(0.02, 0.22), dice.uniform(0.7, 0.95))


def wall(dice: Dice) -> Material:
    """Paint, plaster, wallpaper or bricks."""
    base = pale_color(dice)
    kind = dice.uniform()
    if kind < 0.6:
        return _plain(dice, base, grain=dice.uniform(0.0, 0.12), grain_size=(0.4, 0.4))
    second = scaled(base, dice.uniform(0.75, 0.92)) if dice.chance(0.7) else pale_color(dice)
    if kind < 0.75:
        return Material(
            colors=(base, second, base),
            pattern=dice.choice((Pattern.STRIPES, Pattern.STRIPES, Pattern.DOTS)),
            period=dice.uniform(0.12, 0.4),
            grain=0.05,
            seed=dice.seed(),
        )
    if kind < 0.87:
        return Material(
            colors=(base, second, base),
            pattern=Pattern.CLOUDS,
            period=dice.uniform(0.1, 0.5),
            seed=dice.seed(),
        )
    brick = color(dice.uniform(0.0, 0.08), dice.uniform(0.1, 0.6), dice.uniform(0.5, 0.85))
    return Material(
        colors=(brick, scaled(brick, 0.75), scaled(base, 0.9)),
        pattern=Pattern.COURSES,
        period=dice.uniform(0.07, 0.12),
        ratio=dice.uniform(2.5, 3.2),
        grain=0.25,
        seed=dice.seed(),
    )


def floor(dice: Dice) -> Material:
    """Boards, tiles, stone or carpet."""
    kind = dice.uniform()
    if kind < 0.45:
        base = color(dice.uniform(0.05, 0.1), dice.uniform(0.25, 0.65), dice.uniform(0.35, 0.8))
        turned = dice.chance(0.5)
        return Material(
            colors=(base, scaled(base, dice.uniform(0.65, 0.9)), scaled(base, 0.35)),
            pattern=Pattern.COURSES,
            period=dice.uniform(0.09, 0.2),
            ratio=dice.uniform(6.0, 10.0),
            swap=turned,
            grain=dice.uniform(0.15, 0.35),
            grain_size=(0.02, 0.4) if turned else (0.4, 0.02),
            gloss=dice.uniform(0.0, 0.35),
            seed=dice.seed(),
        )
    if kind < 0.75:
        base = pale_color(dice) if dice.chance(0.6) else any_color(dice)
        chess = dice.chance(0.4)
        second = any_color(dice) if chess else scaled(base, 0.9)
        return Material(
            colors=(base, second, base if chess else scaled(base, 0.55)),
            pattern=Pattern.CHECKER if chess else Pattern.COURSES,
            period=dice.uniform(0.2, 0.5),
            grain=dice.uniform(0.0, 0.2),
            gloss=dice.uniform(0.1, 0.5),
            seed=dice.seed(),
        )
    base = color(dice.uniform(), dice.uniform(0.05, 0.6), dice.uniform(0.25, 0.8))
    return Material(
        colors=(base, scaled(base, dice.uniform(0.6, 0.9)), base),
        pattern=Pattern.CLOUDS,
        period=dice.uniform(0.05, 0.3),
        grain=dice.uniform(0.2, 0.5),
        grain_size=(0.015, 0.015),
        seed=dice.seed(),
    )


def rug(dice: Dice) -> Material:
    """Bold patches, stripes or checks."""
    return Material(
        colors=(any_color(dice), strong_color(dice), any_color(dice)),
        pattern=dice.choice((Pattern.PATCHES, Pattern.STRIPES, Pattern.CHECKER, Pattern.DOTS)),
        period=dice.uniform(0.1, 0.35),
        grain=0.3,
        grain_size=(0.015, 0.015),
        seed=dice.seed(),
    )


def painting(dice: Dice) -> Material:
    """A landscape or an abstract painting."""
    return Material(
        colors=(any_color(dice), strong_color(dice), any_color(dice)),
        pattern=dice.choice(
            (Pattern.LANDSCAPE, Pattern.LANDSCAPE, Pattern.PATCHES, Pattern.WAVES, Pattern.CLOUDS)
        ),
        period=dice.uniform(0.06, 0.25),
        ratio=dice.uniform(1.0, 4.0),
        seed=dice.seed(),
    )


def outdoors(dice: Dice, brightness: float) -> Material:
    """The view through a window: sky above hills, with light of a given brightness."""
    sky = color(dice.uniform(0.54, 0.62), dice.uniform(0.05, 0.45), 1.0)
    land = color(dice.uniform(0.2, 0.38), dice.uniform(0.2, 0.6), dice.uniform(0.3, 0.6))
    return Material(
        colors=(sky, scaled(sky, 0.85), land),
        pattern=Pattern.LANDSCAPE,
        period=0.25,
        emission=brightness,
        seed=dice.seed(),
    )


def panelled(dice: Dice, base: Material, panels: float) -> Material:
    """The color of ``base`` with grooves around ``panels`` panels, one above another."""
    tone = base.colors[0]
    return Material(
        colors=(tone, scaled(tone, 0.5), scaled(tone, 0.92)),
        pattern=Pattern.PANELS,
        period=panels,
        grain=base.grain * 0.5,
        grain_size=base.grain_size,
        gloss=base.gloss,
        seed=dice.seed(),
    )


def glow(tone: Vec, strength: float) -> Material:
    """A luminous lamp shade; ``strength`` 0 is one that is off."""
    return Material(colors=(tone, tone, tone), emission=strength)


def skin(dice: Dice) -> Material:
    """A natural skin tone, or the plain wood of a mannequin."""
    if dice.chance(0.2):
        return wood(dice, gloss=0.1)
    tone = dice.uniform(0.35, 0.95)
    return _plain(dice, color(dice.uniform(0.04, 0.08), 0.75 - 0.4 * tone, tone), gloss=0.1)


def _plain(
    dice: Dice,
    base: Vec,
    *,
    grain: float = 0.0,
    grain_size: tuple[float, float] = (0.05, 0.05),
    gloss: float = 0.0,
) -> Material:
    return Material(
        colors=(base, base, base),
        grain=grain,
        grain_size=grain_size,
        gloss=gloss,
        seed=dice.seed(),
    )
