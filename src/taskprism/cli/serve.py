"""``taskprism serve``: a web page that runs a trained network on uploaded images."""

from __future__ import annotations

import ipaddress
import signal
import threading
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from taskprism.cli.arguments import Between, Count, Device, RunArgument
from taskprism.models.hub import find_model_folder, load
from taskprism.progress import Reporter
from taskprism.serving import Limits, Page

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(
    run: RunArgument,
    /,
    *,
    host: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, tyro.conf.arg(metavar="PORT"), Between(0, 65535)] = 7860,
    title: Annotated[str, tyro.conf.arg(metavar="TEXT")] = "",
    checkpoint: Literal["last", "best"] = "last",
    device: Device = None,
    max_megabytes: Annotated[float, tyro.conf.arg(metavar="MB"), Between(0.001, 4096)] = 20.0,
    max_megapixels: Annotated[float, tyro.conf.arg(metavar="MP"), Between(0.001, 1000)] = 50.0,
    working_megapixels: Annotated[float, tyro.conf.arg(metavar="MP"), Between(0.001, 1000)] = 1.0,
    rate: Count = 20,
    queue: Count = 16,
    keep_minutes: Annotated[float, tyro.conf.arg(metavar="MINUTES"), Between(0.01, 100_000)] = 15.0,
    field_of_view: Annotated[float, tyro.conf.arg(metavar="DEGREES"), Between(1, 179)] = 60.0,
) -> None:
    """Open a web page that runs a trained network on uploaded images and on a webcam.

    It shows every task over the image with an adjustable opacity, depth as a surface in 3-D, and
    the results as files. It needs `pip install 'taskprism[serve]'`. Ctrl-C and SIGTERM end it.

    The page has no passwords. It is open to this machine only, unless you give --host.

    Args:
        run: A run directory, a saved model, the URL of one, or a model id of the Hugging Face hub.
        host: Address to listen on; 0.0.0.0 opens the page to everybody who reaches this machine.
        port: Port to listen on; 0 for any free one.
        title: Title of the page; by default the name of the run.
        checkpoint: Weights of the last epoch of a run directory, or of its best.
        device: Device such as cpu or cuda:1; by default a GPU if available.
        max_megabytes: Size of an uploaded file.
        max_megapixels: Height times width of an uploaded image.
        working_megapixels: Larger images are reduced to about so many.
        rate: Predictions of one client in a minute.
        queue: Requests that wait for their turn; further ones are refused.
        keep_minutes: Age at which uploaded files and results are deleted.
        field_of_view: Of the camera along the width of the image, for the 3-D view.
    """
    reporter = Reporter()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = load(find_model_folder(run, checkpoint), device)
    limits = Limits(
        max_megabytes,
        max_megapixels,
        working_megapixels,
        per_minute=rate,
        queue=queue,
        keep_seconds=60 * keep_minutes,
    )
    if not _is_loopback(host):
        reporter.line(
            f"Warning: the page is open to everybody who reaches {host}, without a password."
        )
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in _SIGNALS}
    try:
        name = title or Path(run.rstrip("/")).name or "taskprism"
        with Page(model, name, host, port, limits, field_of_view) as page:
            reporter.line(f"Serving {run} at {page.url} (Ctrl-C ends it).")
            _wait(ended)
        reporter.line("Stopped.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(ended: Any) -> None:
    while not ended.wait(1.0):  # a wait without an end would not notice signals on some systems
        pass


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
