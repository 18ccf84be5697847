"""``log.jsonl``: what happened in a run, one JSON object per line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taskprism.atomic import write_text
from taskprism.errors import CheckpointError


class RunLog:
    """An append-only log that can go back to where a checkpoint was made.

    Two kinds of entries, in the order of time::

        {"event": "train", "epoch": 1, "step": 40, "lr": ..., "losses": {task: ...}, "seconds": ...}
        {"event": "evaluate", "epoch": 1, "step": 40, "split": ..., "metrics": {task: {...}}}

    ``epoch`` counts finished epochs and ``step`` optimizer steps since the start of the run.

    Args:
        path: The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add an entry; a number that is not finite becomes null.

        Raises:
            CheckpointError: The file cannot be written.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(without_nan(entry), ensure_ascii=False) + "\n")
        except OSError as error:
            raise CheckpointError(f"Could not write {self.path}: {error}.") from error

    def entries(self) -> list[dict[str, Any]]:
        """All entries; a last line cut short by a crash is left out."""
        found = []
        for line in self._lines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return found

    def __len__(self) -> int:
        return len(self._lines())

    def truncate(self, length: int) -> None:
        """Forget entries after the first ``length``: those of steps that will be done again."""
        lines = self._lines()
        if len(lines) > length or (lines and not lines[-1].endswith("\n")):
            write_text(self.path, "".join(lines[:length]))

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        return self.path.read_text(encoding="utf-8").splitlines(keepends=True)


def without_nan(value: Any) -> Any:
    """Copy of nested plain values with null for numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
