"""``manifest.json``: everything that could explain why two runs differ."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from taskprism.atomic import write_json
from taskprism.data.protocol import Protocol
from taskprism.errors import CheckpointError
from taskprism.training.run_directory import read_manifest

_PACKAGES = (
    "taskprism",
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "torchmetrics",
    "numpy",
    "scipy",
    "scikit-image",
    "pillow",
)


def describe(
    protocol: Protocol,
    seed: int,
    weights: str,
    device: str,
    processes: int,
    init: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Manifest of a run that starts now.

    Args:
        protocol: The data and its rules.
        seed: Of the run.
        weights: Where the first weights come from and under which terms.
        device: What the network runs on.
        processes: How many run it.
        init: What the network received from a trained one, or None.
    """
    return {
        "started": now(),
        "resumed": [],
        "finished": None,
        "command": shlex.join(sys.argv),
        "folder": str(Path.cwd()),
        "git": git_state(),
        "versions": {"python": platform.python_version(), **versions()},
        "protocol": {
            "name": protocol.name,
            "input_size": list(protocol.input_size),
            "tasks": [task.to_config() for task in protocol.tasks],
        },
        "data_fingerprint": protocol.fingerprint(),
        "licenses": {"data": protocol.license, "weights": weights},
        "init": None if init is None else dict(init),
        "seed": seed,
        "hardware": {
            "machine": platform.platform(),
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": device,
            "accelerator": _accelerator_name(),
            "processes": processes,
        },
    }


def check_data(file: Path, fingerprint: str) -> None:
    """Check that the data are those the run was started with.

    Raises:
        CheckpointError: They are not.
    """
    recorded = read_manifest(file).get("data_fingerprint")
    if recorded != fingerprint:
        raise CheckpointError(
            f"The data have changed since the run in {file.parent} was started (fingerprint "
            f"{recorded} then, {fingerprint} now); its scores would belong to neither. Restore "
            "them, or start a new run."
        )


def note_resumed(file: Path, fingerprint: str, processes: int = 1) -> int:
    """Add the time of a resumption, and by how many processes.

    Returns:
        Number of processes before.

    Raises:
        CheckpointError: The data are not those the run was started with.
    """
    check_data(file, fingerprint)
    manifest = read_manifest(file)
    resumed = manifest.get("resumed")
    before = resumed if isinstance(resumed, list) else []
    hardware = manifest.get("hardware")
    hardware = hardware if isinstance(hardware, dict) else {}
    changed = {"resumed": [*before, now()], "hardware": {**hardware, "processes": processes}}
    write_json(file, {**manifest, **changed})
    return int(hardware.get("processes", processes))


def note_length(file: Path, epoch: int, before: int, epochs: int) -> None:
    """Add that a run is trained longer or shorter than planned.

    Args:
        file: The manifest.
        epoch: Finished epochs.
        before: Planned number of epochs so far.
        epochs: New number.
    """
    content = read_manifest(file)
    changes = content.get("length_changes")
    known = changes if isinstance(changes, list) else []
    entry = {"time": now(), "after_epoch": epoch, "epochs_before": before, "epochs": epochs}
    write_json(file, {**content, "finished": None, "length_changes": [*known, entry]})


def note_finished(
    file: Path, skipped_steps: int = 0, bad_samples: Mapping[str, str] | None = None
) -> None:
    """Add the time of the end.

    Args:
        file: The manifest.
        skipped_steps: Steps that were skipped because a loss was not finite.
        bad_samples: Index of each training image that could not be read -> error.
    """
    end = {"finished": now(), "skipped_steps": skipped_steps}
    write_json(file, {**read_manifest(file), **end, "bad_samples": dict(bad_samples or {})})


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """Commit of the project around ``folder`` (the current one) and whether files differ from it.

    None where there is no git, or no project.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "changed": bool(_git(folder, "status", "--porcelain"))}


def _git(folder: Path | None, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Package -> version, of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"  # run from sources that were never installed
    return found


def _accelerator_name() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def now() -> str:
    """Time in UTC, in ISO format to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
