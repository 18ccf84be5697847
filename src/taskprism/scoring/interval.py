"""A confidence interval of Δm and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Where Δm lies.

    Attributes:
        estimate: Δm in percent over all images, mean over seeds.
        low: Lower end in percent.
        high: Upper end.
        level: How often an interval made like this holds the true value.
        samples: Draws that it rests on; in those left out, a task had no labeled image.
        images: Number of test images.
        seeds: Number of seeds of the method.
        baseline_seeds: Of the single-task networks; the least over tasks.
        seed_share: Share of the variance that comes from seeds, in [0, 1]; None for one seed.
    """

    estimate: float
    low: float
    high: float
    level: float
    samples: int
    images: int
    seeds: int
    baseline_seeds: int
    seed_share: float | None

    def __str__(self) -> str:
        return f"[{self.low:+.2f}, {self.high:+.2f}]"

    @property
    def remark(self) -> str:
        """What the interval does not tell, one sentence; empty if there is nothing."""
        few = [
            name
            for name, seeds in [("method", self.seeds), ("baseline", self.baseline_seeds)]
            if seeds == 1
        ]
        if not few:
            return ""
        return (
            f"One seed of the {' and of the '.join(few)}: the interval does not hold how far "
            "another training of it would come out elsewhere."
        )
