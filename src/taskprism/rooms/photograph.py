"""Exposes an 8-bit image: exposure, white balance, tone curve and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskprism.rooms.arithmetic import Dice, Vec, sensor_noise, srgb_table

_TABLE = srgb_table()
_WHITE = np.float32(3.0)  # exposed light that becomes pure white


@dataclass(frozen=True)
class Film:
    """How an image is exposed.

    Attributes:
        key: Mean linear light of the image, in [0, 1].
        balance: Factor on red, green and blue.
        vignette: Loss of light in the corners, 0 to 1.
        noise: Standard deviation of the sensor noise on mid gray, as an sRGB code in [0, 1].
        seed: Seed of the noise.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.photograph import Film
        >>> 0.13 <= Film.random(Dice(0)).key <= 0.34
        True
    """

    key: float
    balance: Vec
    vignette: float
    noise: float
    seed: int

    @staticmethod
    def random(dice: Dice) -> Film:
        """Random settings in the range of ordinary indoor photographs."""
        tint = dice.bell(0.06)
        return Film(
            key=dice.uniform(0.13, 0.34),
            balance=(1.0 + tint, 1.0 + dice.bell(0.015), 1.0 - tint),
            vignette=dice.uniform(0.0, 0.35),
            noise=dice.uniform(0.002, 0.016),
            seed=dice.seed(),
        )


def expose(radiance: np.ndarray, emission: np.ndarray, film: Film) -> np.ndarray:
    """Expose a radiance map.

    Args:
        radiance: float32 ``(3, H, W)``, linear light in any unit.
        emission: float32 ``(3, H, W)``, emitted light relative to a well exposed white.
        film: How to expose.

    Returns:
        uint8 ``(H, W, 3)``, sRGB.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.photograph import Film, expose
        >>> gray, dark = np.ones((3, 8, 8), np.float32), np.zeros((3, 8, 8), np.float32)
        >>> film = Film(key=0.2, balance=(1.0, 1.0, 1.0), vignette=0.0, noise=0.0, seed=0)
        >>> expose(gray, dark, film)[0, 0].tolist()
        [121, 121, 121]
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
    """Codes in [0, 1] of linear light in [0, 1], float32, from a table of 4096 steps.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.photograph import srgb
        >>> srgb(np.array([0.0, 1.0], np.float32)).tolist()
        [0.0, 1.0]
    """
    return _TABLE[(light * np.float32(len(_TABLE) - 1) + np.float32(0.5)).astype(np.int32)]


def _mean(radiance: np.ndarray) -> float:
    """Mean of clipped light. Sums of integers do not depend on the order of additions."""
    top = np.float32(16.0)
    counts = (np.minimum(radiance, top) * np.float32(65536.0)).astype(np.int64)
    return int(counts.sum()) / 65536.0 / radiance.size
