"""The web page: layout, and the server that answers only what it must."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from taskprism.errors import InputError
from taskprism.extras import import_extra
from taskprism.models.base import MultiTaskModel
from taskprism.serving.limits import Limits, RateLimiter, RefusedError
from taskprism.serving.worker import Worker

_LOG = logging.getLogger(__name__)
_CLEAN_EVERY = 60.0  # seconds
_OPACITY = 0.6
_CSS = """
footer {display: none !important}
.legend {border: none; max-width: 480px}
.legend img {object-fit: contain; object-position: left}
"""
#: Parts of paths that make gradio read from other servers.
_FORBIDDEN = ("/proxy=", "/file=http:", "/file=https:", "/file=http%", "/file=ftp")


_LARGEST_BODY = 2**20  # bytes of a request that is no upload
_Receive = Callable[[], Awaitable[Any]]
_Send = Callable[[Any], Awaitable[None]]


class Page:
    """A web page for one model, in this process.

    It reads nothing outside its temporary folder, sends nothing to other machines, and its pages
    load nothing from them.

    Args:
        model: Any model of this package.
        title: Of the page.
        host: Address to listen on.
        port: 0 for any free one.
        limits: What is accepted.
        field_of_view: Of the camera along the width of the image, in degrees, for the 3-D view.

    Attributes:
        url: Where the page is, after :meth:`start`.
        folder: Temporary files.

    Raises:
        InputError: Gradio is not installed, or the port is in use.

    Example:
        >>> with Page(taskprism.load("runs/kitchen")) as page:  # doctest: +SKIP
        ...     print(page.url)
        http://127.0.0.1:7860/
    """

    def __init__(
        self,
        model: MultiTaskModel,
        title: str = "taskprism",
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        field_of_view: float = 60.0,
    ) -> None:
        self.title, self.host, self.port = title, host, port
        self.limits = Limits() if limits is None else limits
        self.folder = Path(tempfile.mkdtemp(prefix="taskprism-serve-"))
        self.worker = Worker(model, self.folder, self.limits, field_of_view)
        self.url = ""
        self._predictions = RateLimiter(self.limits.per_minute)
        self._uploads = RateLimiter(self.limits.per_minute)
        self._blends = RateLimiter(20 * self.limits.per_minute)
        self._ended = threading.Event()
        self._cleaner = threading.Thread(target=self._clean, daemon=True, name="remove old files")
        self._blocks: Any = None

    def __enter__(self) -> Page:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self) -> str:
        """Start the server in threads of this process, and return the URL."""
        try:
            gradio = _gradio(self.folder)
            self._blocks = self._build(gradio)
            self._blocks.queue(max_size=self.limits.queue, default_concurrency_limit=1)
            app, self.url, _ = self._blocks.launch(
                server_name=self.host,
                server_port=self.port or _free_port(self.host),
                prevent_thread_lock=True,
                share=False,
                quiet=True,
                show_error=False,
                allowed_paths=[],
                max_file_size=self.limits.bytes,
                ssr_mode=False,
                enable_monitoring=False,
                mcp_server=False,
                pwa=False,
                run_history=False,
                footer_links=[],
                theme=_theme(gradio),
                css=_CSS,
                app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
                state_session_capacity=1000,
            )
        except OSError as error:
            self.close()
            raise InputError(
                f"Cannot listen on {self.host}, port {self.port}: {error}. Choose another --port."
            ) from error
        except BaseException:
            self.close()
            raise
        # Gradio has built the application by now; a layer around it sees every request first.
        app.middleware_stack = _Guard(app.middleware_stack or app.build_middleware_stack(), self)
        self._cleaner.start()
        return self.url

    def close(self) -> None:
        """Stop the server and remove its files."""
        self._ended.set()
        if self._blocks is not None:
            self._blocks.close(verbose=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def check_upload(self, client: str, length: int) -> None:
        """Check an upload before it is read.

        Raises:
            RefusedError: It is too large, one of too many, or the temporary folder is full.
        """
        if length > self.limits.bytes + 4096:  # the form around the file
            raise RefusedError(f"The file is larger than {self.limits.megabytes:g} MB.")
        self._uploads.check(client)
        held = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        if held + length > self.limits.folder_megabytes * 2**20:
            raise RefusedError("The server has no room at the moment. Try again later.")

    def _clean(self) -> None:
        while not self._ended.wait(min(_CLEAN_EVERY, self.limits.keep_seconds)):
            self.worker.remove_old(self.folder)

    def _build(self, gradio: Any) -> Any:
        worker, limits = self.worker, self.limits
        names = [task.name for task in worker.tasks]

        def answer(function: Callable[..., Any]) -> Any:
            """What a function returns; its errors in words for the visitor."""
            try:
                return function()
            except RefusedError as error:
                raise gradio.Error(str(error), print_exception=False) from None
            except Exception:
                _LOG.exception("A request has failed")
                raise gradio.Error(
                    "The image could not be predicted. The log of the server says why.",
                    print_exception=False,
                ) from None

        def predict(file: Any, opacity: float, request: Any) -> list[Any]:
            def run() -> list[Any]:
                if file is None:
                    raise RefusedError("Upload an image first, or take one with the webcam.")
                self._predictions.check(_client(request))
                path = Path(file.path)
                os.utime(path)  # so that it is kept while it is in use
                result = worker.predict(path)
                token = result.folder.name
                shown = [worker.blend(token, name, opacity) for name in names]
                legends = [str(result.legends[name]) for name in names]
                surface = [str(result.surface)] if has_surface and result.surface else []
                return [token, str(result.panel), str(result.archive), *shown, *legends, *surface]

            return answer(run)

        def blend(token: str, opacity: float, request: Any) -> list[Any]:
            def run() -> list[Any]:
                if not token:
                    return [None for _ in names]
                self._blends.check(_client(request))
                return [worker.blend(token, name, opacity) for name in names]

            return answer(run)

        for function in (predict, blend):  # by its type Gradio knows what to pass
            function.__annotations__["request"] = gradio.Request
        has_surface = any(task.is_depth for task in worker.tasks)
        picture: dict[str, Any] = {
            "interactive": False,
            "format": "png",
            "buttons": ["download", "fullscreen"],
        }
        with gradio.Blocks(title=self.title, analytics_enabled=False) as blocks:
            gradio.Markdown(
                f"# {self.title}\nPredicts {', '.join(names)} for a photograph of at most "
                f"{limits.megabytes:g} MB and {limits.megapixels:g} megapixels. Images above "
                f"{limits.working_megapixels:g} megapixel are reduced. Files are deleted after "
                f"{limits.keep_seconds / 60:g} minutes."
            )
            token = gradio.State("")
            with gradio.Row():
                with gradio.Column(scale=1, min_width=300):
                    # Gradio would decode the file; the worker does it after it has checked it.
                    image = gradio.Image(
                        label="Image", sources=["upload", "webcam"], type="filepath", height=320
                    )
                    image.preprocess = lambda payload: payload
                    button = gradio.Button("Predict", variant="primary")
                    opacity = gradio.Slider(
                        0, 1, _OPACITY, step=0.05, label="Opacity of the predictions"
                    )
                    archive = gradio.File(label="All predictions (ZIP)", interactive=False)
                with gradio.Column(scale=2, min_width=300), gradio.Tabs():
                    with gradio.Tab("All tasks"):
                        panel = gradio.Image(label="All tasks", elem_id="panel", **picture)
                    pictures, legends = [], []
                    for name in names:
                        with gradio.Tab(name):
                            pictures.append(
                                gradio.Image(label=name, elem_id=f"picture-{name}", **picture)
                            )
                            legends.append(
                                gradio.Image(
                                    show_label=False,
                                    interactive=False,
                                    buttons=[],
                                    container=False,
                                    elem_classes="legend",
                                )
                            )
                    surface = []
                    if has_surface:
                        with gradio.Tab("3-D"):
                            surface.append(
                                gradio.Model3D(
                                    label="Depth as a surface, seen from the camera",
                                    height=420,
                                    clear_color=(1.0, 1.0, 1.0, 1.0),
                                    interactive=False,
                                )
                            )
                            gradio.Markdown(
                                f"The camera is assumed to see {worker.field_of_view:g} degrees "
                                "along the width of the image. Drag to turn, scroll to zoom."
                            )
            button.click(
                predict,
                [image, opacity],
                [token, panel, archive, *pictures, *legends, *surface],
                api_name="predict",
                concurrency_limit=1,
            )
            opacity.release(
                blend, [token, opacity], pictures, api_name="blend", show_progress="hidden"
            )
        return blocks


class _Guard:
    """Refuses requests before Gradio reads them."""

    def __init__(self, app: Any, page: Page) -> None:
        self.app, self.page = app, page

    async def __call__(self, scope: dict[str, Any], receive: _Receive, send: _Send) -> None:
        if scope["type"] == "http":
            path = scope["path"].lower()
            if any(part in path for part in _FORBIDDEN):
                return await _refuse(send, 403, "This server reads no other servers.")
            if scope["method"] == "POST" and path.rstrip("/").endswith("/upload"):
                refused = self._refuse_upload(scope)
                if refused is not None:
                    await _skip_body(receive, 4 * self.page.limits.bytes)
                    return await _refuse(send, *refused)
            elif scope["method"] == "POST":
                body = await _read_body(receive)
                if body is None:
                    return await _refuse(send, 413, "The request is too large.")
                if _names_url(body):
                    return await _refuse(send, 403, "This server reads no other servers.")
                receive = _replay(body, receive)
        return await self.app(scope, receive, send)

    def _refuse_upload(self, scope: dict[str, Any]) -> tuple[int, str] | None:
        length = dict(scope["headers"]).get(b"content-length", b"")
        client = scope["client"][0] if scope["client"] else ""
        if not length.isdigit():
            return 411, "State the length of the upload."
        try:
            self.page.check_upload(client, int(length))
        except RefusedError as error:
            return (413 if "larger" in str(error) else 429), str(error)
        return None


async def _skip_body(receive: _Receive, most: int) -> None:
    """Read what a client sends, so that it reads the answer, but not for ever."""
    while most > 0:
        message = await receive()
        most -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return


async def _read_body(receive: _Receive) -> bytes | None:
    """Body of a request; None if it is too large."""
    body = b""
    while len(body) <= _LARGEST_BODY:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body"):
            return body
    return None


def _replay(body: bytes, receive: _Receive) -> _Receive:
    """What gives a body that has been read, and then what follows it."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:
        return waiting.pop() if waiting else await receive()

    return again


def _names_url(body: bytes) -> bool:
    """Whether a request names a file at a URL, which Gradio would download."""
    try:
        remaining = [json.loads(body)]
    except (ValueError, RecursionError):
        return False
    while remaining:
        value = remaining.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and "://" in path:
                return True
            remaining += value.values()
        elif isinstance(value, list):
            remaining += value
    return False


async def _refuse(send: _Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def _client(request: Any) -> str:
    return request.client.host if request is not None and request.client else ""


def _theme(gradio: Any) -> Any:
    """Fonts of the system: the fonts of Gradio's own themes come from another server."""
    return gradio.themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def _gradio(folder: Path) -> Any:
    """The module ``gradio``, without messages to its makers, with its files in a folder."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    return import_extra("gradio", "serve", "The web page")
