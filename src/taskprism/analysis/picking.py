"""Some of many: indices spread evenly over a sequence."""

from __future__ import annotations


def spread(length: int, count: int | None) -> list[int]:
    """At most ``count`` of ``range(length)``, from first to last at even steps; None takes all."""
    if count is None or count >= length:
        return list(range(length))
    return sorted({round(i * (length - 1) / max(count - 1, 1)) for i in range(count)})
