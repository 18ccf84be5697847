"""Connect to Ray, which runs many trainings or predictions on one machine or on many."""

from __future__ import annotations

import importlib
import os
from typing import Any

from taskprism.errors import InputError

LOCAL = "local"


def connect(address: str | None = None) -> Any:
    """Import Ray and connect to a cluster, or start Ray on this machine.

    A connection that exists already is used as it is. Ray sends no usage statistics and starts no
    dashboard.

    Args:
        address: Address of a running cluster: ``10.0.0.1:6379``, ``ray://10.0.0.1:10001``, or
            ``auto`` for the cluster that this machine belongs to. By default that in the
            environment variable ``RAY_ADDRESS``. Without both, Ray starts on this machine, uses
            all its processors and GPUs, is reachable from this machine only, and ends with this
            process.

    Returns:
        The module ``ray``.

    Raises:
        InputError: Ray is not installed, or there is no cluster at that address.

    Example:
        >>> ray = connect()  # doctest: +SKIP
        >>> ray.cluster_resources()["CPU"]  # doctest: +SKIP
        16.0
    """
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        # On every platform: listen on the loopback address only. Ray reads this when imported.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise InputError("Ray is not installed: pip install 'taskprism[ray]'.") from error
    if ray.is_initialized():
        return ray
    settings: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address, log_to_driver=False, logging_level="warning", **settings)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = (
            "Set RAY_TMPDIR to a folder with a short path that can be written."
            if address == LOCAL
            else "Start one with `ray start --head`, and give the address that it prints."
        )
        raise InputError(f"Cannot connect to Ray at {address!r}: {reason} {hint}") from error
    return ray
