"""Noise from integer hashes: a function of place and seed alone, with no state and no tables."""

from __future__ import annotations

import numpy as np

from taskprism.rooms.arithmetic import smoothstep

_X, _Y, _Z = np.uint32(0x8DA6B343), np.uint32(0xD8163841), np.uint32(0xCB1AB31F)
_MIX = np.uint32(0x2C1B3C6D)
_TO_UNIT = np.float32(2.0**-24)


def hash_unit(x: np.ndarray, y: np.ndarray, z: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Hash integer cells to float32 numbers in [0, 1).

    Args:
        x: Cell indices, any integral values (also of float type) within +-2^31.
        y: Likewise.
        z: Likewise.
        seed: uint32.
    """
    return _scramble(_key(x, _X) ^ _key(y, _Y) ^ _key(z, _Z) ^ seed)


def _key(cell: np.ndarray, prime: np.uint32) -> np.ndarray:
    return cell.astype(np.int32).view(np.uint32) * prime


def _scramble(h: np.ndarray) -> np.ndarray:
    h = (h ^ (h >> np.uint32(15))) * _MIX
    h = (h ^ (h >> np.uint32(12))) * _X
    return ((h ^ (h >> np.uint32(15))) >> np.uint32(8)).astype(np.float32) * _TO_UNIT


def value_noise(x: np.ndarray, y: np.ndarray, z: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Smooth noise in [0, 1) with one random value per integer point, float32.

    Args:
        x: float32 ``(N,)``; neighboring integers hold independent values.
        y: Likewise.
        z: Likewise.
        seed: uint32 ``(N,)``.
    """
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    sx, sy, sz = smoothstep(x - fx), smoothstep(y - fy), smoothstep(z - fz)
    x0, y0, z0 = _key(fx, _X), _key(fy, _Y), _key(fz, _Z) ^ seed
    x1, y1 = x0 + _X, y0 + _Y
    planes = []
    for zk in (z0, _key(fz + 1.0, _Z) ^ seed):
        rows = []
        for yk in (y0 ^ zk, y1 ^ zk):
            a, b = _scramble(x0 ^ yk), _scramble(x1 ^ yk)
            rows.append(a + (b - a) * sx)
        planes.append(rows[0] + (rows[1] - rows[0]) * sy)
    return planes[0] + (planes[1] - planes[0]) * sz


def fractal_noise(x: np.ndarray, y: np.ndarray, z: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Two octaves of :func:`value_noise`, in [0, 1)."""
    coarse = value_noise(x, y, z, seed)
    fine = value_noise(x * 2.7 + 0.5, y * 2.7 + 0.5, z * 2.7 + 0.5, seed ^ _MIX)
    return coarse * np.float32(0.65) + fine * np.float32(0.35)


def sensor_noise(count: int, seed: int) -> np.ndarray:
    """Bell-shaped numbers of mean 0 and standard deviation 1, float32 ``(count,)``."""
    index = np.arange(count, dtype=np.uint32) * _Y + np.uint32(seed & 0xFFFFFFFF)
    h = (index ^ (index >> np.uint32(16))) * _MIX
    h = (h ^ (h >> np.uint32(13))) * _X
    h ^= h >> np.uint32(16)
    total = (h & np.uint32(255)) + ((h >> np.uint32(8)) & np.uint32(255))
    total += ((h >> np.uint32(16)) & np.uint32(255)) + (h >> np.uint32(24))
    return (total.astype(np.float32) - np.float32(510.0)) * np.float32(1.0 / 147.8)
