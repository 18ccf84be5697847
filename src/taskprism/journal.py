"""Which steps of a long command are finished, in a file that an interrupted command leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taskprism.atomic import write_text
from taskprism.errors import InputError


class Journal:
    """A text file with the settings of a command, and one line of JSON for each finished step.

    A step is added after its results are complete, so the next command can skip it. A last line
    that was cut short is ignored.

    Args:
        file: It is begun anew unless the command resumes and the file exists.
        settings: Plain values; a command that resumes must have the same.
        resume: Whether to read the finished steps.

    Attributes:
        entries: Finished steps.

    Raises:
        InputError: The file was written with other settings.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Journal(Path(folder, "done.jsonl"), {"scale": 2}, resume=False).add({"image": "a"})
        ...     Journal(Path(folder, "done.jsonl"), {"scale": 2}, resume=True).entries
        [{'image': 'a'}]
    """

    def __init__(self, file: Path, settings: Mapping[str, Any], resume: bool) -> None:
        self.file = file
        self.entries: list[dict[str, Any]] = []
        plain = json.loads(json.dumps(settings))  # as they are read: lists instead of tuples
        if resume and file.is_file():
            self._read(plain)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"settings": plain}) + "\n", encoding="utf-8")

    def add(self, entry: dict[str, Any]) -> None:
        """Add a finished step, for the next command."""
        self.entries.append(entry)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _read(self, settings: dict[str, Any]) -> None:
        lines = []
        for line in self.file.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue  # the last line, cut short
        before = lines[0].get("settings", {}) if lines else {}
        changed = [key for key in settings if settings[key] != before.get(key)]
        if changed:
            shown = ", ".join(f"{k} ({before.get(k)!r} -> {settings[k]!r})" for k in changed)
            raise InputError(
                f"The results in {self.file.parent} were made with other options: {shown}. Use "
                "these, leave out --resume, or choose another --out."
            )
        self.entries = lines[1:]
        write_text(self.file, "".join(f"{json.dumps(line)}\n" for line in lines))
