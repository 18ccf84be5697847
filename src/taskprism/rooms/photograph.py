"""From light to an 8-bit picture: exposure, white balance, tone curve, sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskprism.rooms.arithmetic import Dice, Vec, sensor_noise, srgb_table

_TABLE = srgb_table()
_WHITE = np.float32(3.0)  # light, relative to the exposed mean's scale, that becomes pure white


@dataclass(frozen=True)
class Film:
    """How a picture is exposed.

    Attributes:
        key: Mean linear light of the picture, in [0, 1].
        balance: Factor on each color.
        vignette: Loss of light in the corners.
        noise: Standard deviation of the sensor noise on mid gray, of an sRGB code in [0, 1].
        seed: Seed of the noise.
    """

    key: float
    balance: Vec
    vignette: float
    noise: float
    seed: int

    @staticmethod
    def random(dice: Dice) -> Film:
        """A film as an ordinary indoor photograph might have."""
        tint = dice.bell(0.06)
        return Film(
            key=dice.uniform(0.13, 0.34),
            balance=(1.0 + tint, 1.0 + dice.bell(0.015), 1.0 - tint),
            vignette=dice.uniform(0.0, 0.35),
            noise=dice.uniform(0.002, 0.016),
            seed=dice.seed(),
        )


def expose(radiance: np.ndarray, emission: np.ndarray, film: Film) -> np.ndarray:
    """Picture of a radiance map.

    Args:
        radiance: float32 ``(3, H, W)``, linear light in any unit.
        emission: float32 ``(3, H, W)``, light of glowing surfaces relative to a well exposed white.
        film: How to expose.

    Returns:
        uint8 ``(H, W, 3)``, sRGB.
    """
    height, width = radiance.shape[1:]
    gain = film.key / max(_mean(radiance), 1e-6)
    light = radiance * np.float32(gain) + emission
    y = (np.arange(height).astype(np.float32) - (height - 1) / 2.0) / (width / 2.0)
    x = (np.arange(width).astype(np.float32) - (width - 1) / 2.0) / (width / 2.0)
    light *= 1.0 - film.vignette * 0.5 * (x * x + (y * y)[:, None])
    light *= np.array(film.balance, np.float32)[:, None, None]
    np.maximum(light, 0.0, out=light)
    toned = light * (1.0 + light / (_WHITE * _WHITE)) / (1.0 + light * 0.35)
    code = srgb(np.minimum(toned, 1.0))
    grain = sensor_noise(code.size, film.seed).reshape(code.shape)
    code = code + grain * np.float32(film.noise) * (1.3 - 0.6 * code)
    return (np.clip(code, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8).transpose(1, 2, 0).copy()


def srgb(light: np.ndarray) -> np.ndarray:
    """Codes in [0, 1] of linear light in [0, 1], float32, from a table of 4096 steps."""
    return _TABLE[(light * np.float32(len(_TABLE) - 1) + np.float32(0.5)).astype(np.int32)]


def _mean(radiance: np.ndarray) -> float:
    """Mean of clipped light, added up in integers because their sum knows no order."""
    top = np.float32(16.0)
    counts = (np.minimum(radiance, top) * np.float32(65536.0)).astype(np.int64)
    return int(counts.sum()) / 65536.0 / radiance.size
