"""Connect to Ray, which runs many trainings or predictions on one machine or on many."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from taskprism.errors import InputError
from taskprism.extras import import_extra

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
    ray = import_extra("ray", "ray", "A command on many machines")
    if ray.is_initialized():
        return ray
    settings: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address, log_to_driver=False, logging_level="error", **settings)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = (
            "Set RAY_TMPDIR to a folder with a short path that can be written."
            if address == LOCAL
            else "Start one with `ray start --head`, and give the address that it prints."
        )
        raise InputError(f"Cannot connect to Ray at {address!r}: {reason} {hint}") from error
    return ray


@dataclass(frozen=True)
class Resources:
    """What Ray reserves for each process.

    Attributes:
        cpus: Processors; also the number of threads that PyTorch uses.
        gpus: GPUs; a fraction lets several processes share one. None: 1 if the cluster has GPUs.

    Example:
        >>> Resources.parse("gpus=0.5,cpus=4")
        Resources(cpus=4.0, gpus=0.5)
    """

    cpus: float = 1.0
    gpus: float | None = None

    @classmethod
    def parse(cls, text: str) -> Resources:
        """Read ``gpus=1,cpus=4``.

        Raises:
            InputError: A name is not ``cpus`` or ``gpus``, or a value is not a number.
        """
        values: dict[str, float] = {}
        for word in text.split(","):
            name, _, number = word.strip().partition("=")
            try:
                values[name] = float(number)
            except ValueError:
                values[name] = -1.0
            if name not in ("cpus", "gpus") or not 0 <= values[name] < 10_000:
                raise InputError(
                    f"--per-run takes numbers of GPUs and CPUs such as gpus=1,cpus=4, got {text!r}."
                )
        return cls(**values)

    def uses_gpu(self, ray: Any) -> bool:
        """Whether each process gets a GPU, or a share of one."""
        return self.options(ray)["num_gpus"] > 0

    def options(self, ray: Any) -> dict[str, float]:
        """Options of a Ray task; reports resources that no machine of the cluster has.

        Raises:
            InputError: No machine of the cluster has as many.
        """
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        any_gpu = any(machine.get("GPU", 0) for machine in machines)
        gpus = float(any_gpu) if self.gpus is None else self.gpus
        if not any(
            machine.get("CPU", 0) >= self.cpus and machine.get("GPU", 0) >= gpus
            for machine in machines
        ):
            found = "; ".join(
                f"{machine.get('CPU', 0):g} CPUs and {machine.get('GPU', 0):g} GPUs"
                for machine in machines
            )
            raise InputError(
                f"No machine of the cluster has {self.cpus:g} CPUs and {gpus:g} GPUs for a run; "
                f"there are machines with {found}. Lower --per-run."
            )
        return {"num_cpus": self.cpus, "num_gpus": gpus}
