"""A label that lies in one of several places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from taskprism.data.benchmarks.variant import Label, fill


@dataclass(frozen=True)
class FirstOf(Label):
    """A label read from the first of ``files`` that exists, by a decoder of one path."""

    def paths(self, root: Path, name: str) -> list[Path]:
        """The file that exists; the first if none does."""
        places = [root / fill(pattern, name) for pattern in self.files]
        return [next((path for path in places if path.is_file()), places[0])]
