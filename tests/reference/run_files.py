"""Read the files of a run directory without taskprism."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor


def weights(run: Path, name: str = "last") -> dict[str, Tensor]:
    """Tensors of a checkpoint."""
    return load_file(run / "checkpoints" / name / "model.safetensors")


def log(run: Path) -> list[dict[str, Any]]:
    """Entries of the log without times, which differ between runs."""
    file = run / "log.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    entries = [json.loads(line) for line in lines]
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in entries]
