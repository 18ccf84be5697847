"""Start commands in real processes of their own, without waiting for PyTorch to be imported.

A server process imports the third-party libraries once per test run and never computes. Each
command is a fork of it that then behaves as ``python -m taskprism ...``: taskprism itself is
imported anew, with its own arguments, folder, environment, signals, exit status and process group.

    done = commands.run("list", "models")                   # wait; fails on another exit status
    assert "pad_net" in done.output                         # also done.errors, done.status
    with commands.start("train", recipe, "--out", run) as process:   # killed at the end
        process.wait_until(lambda: (run / "log.jsonl").is_file())
        process.kill()                                      # or send_signal(n), kill_group(n)
        assert process.wait(60) == -9                       # also process.pid, output, errors
    commands.run_python("print(1 + 1)")                     # python -c; start_python likewise
    one, two = commands.call(function, argument, processes=2)   # results of two ranks, over gloo
    with commands.launch(2, "train", recipe, "--out", run) as ranks:  # as torchrun starts them
        ranks.wait(60)

``fresh=True`` starts a new interpreter instead: for import times, entry points, and environment
variables that libraries read while they are imported. Every process computes with one thread.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import pickle
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: What commands import, apart from taskprism.
_LIBRARIES = """
    torch torch.distributed torch.utils.data torchvision.transforms.v2 torchmetrics timm accelerate
    scipy.ndimage scipy.optimize scipy.sparse.csgraph skimage.morphology matplotlib.pyplot
    safetensors.torch huggingface_hub jinja2 pydantic tyro yaml lazy_loader filelock rich.console
    rich.progress rich.table PIL.Image PIL.ImageDraw
"""


# --- What tests call -----------------------------------------------------------------------------


def start(*words: str | Path, **how: Any) -> Process:
    """Start ``python -m taskprism WORDS``.

    Args:
        words: The command and its arguments.
        how: ``folder`` (working directory), ``environment`` (variables added to those of this
            process; None removes one), ``input`` (text for standard input; ``PIPE`` opens
            ``process.input`` for writing), ``fresh`` (a new interpreter).
    """
    return Process(["-m", "taskprism", *map(str, words)], **how)


def start_python(code: str, *arguments: str | Path, **how: Any) -> Process:
    """Start ``python -c CODE ARGUMENTS``; ``how`` as in :func:`start`."""
    return Process(["-c", code, *map(str, arguments)], **how)


def start_script(script: Path, *arguments: str | Path, **how: Any) -> Process:
    """Start ``python SCRIPT ARGUMENTS``; ``how`` as in :func:`start`."""
    return Process([str(script), *map(str, arguments)], **how)


def run(*words: str | Path, **how: Any) -> Done:
    """Run a command to its end. ``status`` is the expected exit status, ``timeout`` in seconds."""
    return _finish(start, words, **how)


def run_python(code: str, *arguments: str | Path, **how: Any) -> Done:
    """Run ``python -c CODE`` to its end."""
    return _finish(start_python, (code, *arguments), **how)


def run_script(script: Path, *arguments: str | Path, **how: Any) -> Done:
    """Run ``python SCRIPT`` to its end."""
    return _finish(start_script, (script, *arguments), **how)


def launch(processes: int, *words: str | Path, **how: Any) -> Ranks:
    """Start a command in several processes that know of each other, as ``torchrun`` does."""
    return Ranks(["-m", "taskprism", *map(str, words)], processes, **how)


def call(
    function: Callable[..., Any], *arguments: Any, processes: int = 1, timeout: float = 120
) -> list[Any]:
    """Results of a module-level function in several processes that know of each other.

    The function, arguments and results are pickled. Environment variables are those of
    ``torchrun``; the function starts the process group itself, as commands do.
    """
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder, "job")
        job.write_bytes(pickle.dumps((function, arguments)))
        paths = os.pathsep.join(entry for entry in sys.path if entry)
        how: dict[str, Any] = {"environment": {"PYTHONPATH": paths}}
        with Ranks(["-c", _CALL, folder], processes, **how) as ranks:
            ranks.wait(timeout)
            for rank, process in enumerate(ranks.processes):
                assert process.poll() == 0, f"Rank {rank}: {process.errors}"
        return [pickle.loads(Path(folder, str(rank)).read_bytes()) for rank in range(processes)]


_CALL = """
import os, pickle, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
function, arguments = pickle.loads(Path(sys.argv[1], "job").read_bytes())
result = function(*arguments)
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
Path(sys.argv[1], os.environ["RANK"]).write_bytes(pickle.dumps(result))
"""

PIPE = object()


@dataclass(frozen=True)
class Done:
    """Exit status and texts of a command that has ended."""

    status: int
    output: str
    errors: str


class Process:
    """A command in a new process group; a context manager that kills what still runs."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        folder: Path | None = None,
        environment: Mapping[str, str | None] | None = None,
        input: str | object = "",
        fresh: bool = False,
    ) -> None:
        self._words = list(words)
        changed = {**os.environ, **(environment or {})}
        variables = {name: value for name, value in changed.items() if value is not None}
        self._open = contextlib.ExitStack()
        self._output = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._errors = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self.input: Any = None
        with contextlib.ExitStack() as stack:
            stdin: Any = stack.enter_context(tempfile.TemporaryFile())
            if input is PIPE:
                reading, writing = os.pipe()
                stdin = stack.enter_context(os.fdopen(reading, "rb"))
                self.input = os.fdopen(writing, "w")
            else:
                stdin.write(str(input).encode())
                stdin.seek(0)
            start = _New if fresh or not hasattr(os, "fork") else _Forked
            files = (stdin.fileno(), self._output.fileno(), self._errors.fileno())
            self._process: Any = start(self._words, str(folder or Path.cwd()), variables, files)
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while the process runs."""
        return self._process.poll()

    def wait(self, timeout: float = 120) -> int:
        """Exit status; an assertion error with the output after ``timeout`` seconds."""
        status = self._process.wait(timeout)
        assert status is not None, f"{self} still runs after {timeout} s"
        return status

    def wait_until(self, condition: Callable[[], Any], timeout: float = 120) -> None:
        """Wait until a condition is true; an assertion error if the process ends before."""
        end = time.monotonic() + timeout
        while not condition():
            ended = self.poll() is not None
            assert not ended or condition(), f"{self} ended with status {self.poll()}"
            assert time.monotonic() < end, f"{self} waited for {timeout} s"
            time.sleep(0.01)

    def send_signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL to the process alone."""
        self.send_signal(signal.SIGKILL)

    def kill_group(self, number: int = getattr(signal, "SIGKILL", signal.SIGTERM)) -> None:
        """Send a signal to the process and those that it has started, as a terminal does."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
        else:
            self.send_signal(number)

    @property
    def output(self) -> str:
        """What the process has written to standard output so far."""
        return _read(self._output)

    @property
    def errors(self) -> str:
        """What the process has written to standard error so far."""
        return _read(self._errors)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: Any) -> None:
        if self.input is not None and not self.input.closed:
            with contextlib.suppress(OSError):
                self.input.close()
        if self.poll() is None:
            self.kill_group()
        self._process.wait(60)
        self._process.close()
        self._open.close()

    def __str__(self) -> str:
        return f"{' '.join(self._words)[:300]}\n{self.output}\n{self.errors}\n"


class Ranks:
    """Several processes with the environment of ``torchrun``; a context manager that kills them."""

    def __init__(
        self,
        words: Sequence[str],
        processes: int,
        environment: Mapping[str, str | None] | None = None,
        **how: Any,
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        self.processes: list[Process] = []
        for rank in map(str, range(processes)):
            variables = {
                "RANK": rank,
                "LOCAL_RANK": rank,
                "WORLD_SIZE": str(processes),
                "LOCAL_WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "ACCELERATE_USE_CPU": "true",
            }
            self.processes.append(
                Process(words, environment={**variables, **(environment or {})}, **how)
            )

    def wait(self, timeout: float = 120) -> list[int]:
        """Exit statuses of all processes.

        Does not kill the others when one fails: a process that waits for a dead one is an error
        of the code under test, and shows as a timeout.
        """
        end = time.monotonic() + timeout
        return [process.wait(max(0.0, end - time.monotonic())) for process in self.processes]

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: Any) -> None:
        for process in self.processes:
            process.kill_group()
        for process in self.processes:
            process.__exit__()


def _finish(
    starter: Callable[..., Process],
    words: Sequence[Any],
    status: int | None = 0,
    timeout: float = 120,
    **how: Any,
) -> Done:
    with starter(*words, **how) as process:
        ended = process.wait(timeout)
        assert status is None or ended == status, f"{process} ended with status {ended}"
        return Done(ended, process.output, process.errors)


def _read(file: Any) -> str:
    size = os.fstat(file.fileno()).st_size
    if hasattr(os, "pread"):  # leaves the position alone, which the process shares
        return os.pread(file.fileno(), size, 0).decode(errors="replace")
    with Path(file.name).open("rb") as again:
        return again.read().decode(errors="replace")


# --- The two ways to start a process -------------------------------------------------------------


class _New:
    """A new interpreter."""

    def __init__(
        self, words: list[str], folder: str, environment: dict[str, str], files: tuple[int, ...]
    ) -> None:
        stdin, stdout, stderr = files
        self._process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env={"OMP_NUM_THREADS": "1", **environment},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.poll = self._process.poll

    def wait(self, timeout: float) -> int | None:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Nothing is open."""


class _Forked:
    """A fork of the server, which reports its process id and later its exit status."""

    def __init__(
        self, words: list[str], folder: str, environment: dict[str, str], files: tuple[int, ...]
    ) -> None:
        request = {"words": words, "folder": folder, "environment": environment}
        self._status: int | None = None
        self._connection = _connect()
        content = json.dumps(request).encode()
        socket.send_fds(self._connection, [len(content).to_bytes(8, "big")], list(files))
        self._connection.sendall(content)
        self.pid = self._receive()

    def _receive(self) -> int:
        answer = self._connection.recv(8, socket.MSG_WAITALL)
        if len(answer) < 8:
            raise RuntimeError("The server that starts commands has ended; its log is above.")
        return int.from_bytes(answer, "big", signed=True)

    def poll(self) -> int | None:
        return self.wait(0)

    def wait(self, timeout: float) -> int | None:
        if self._status is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._connection, selectors.EVENT_READ)
                if selector.select(max(timeout, 0) or -1):
                    self._status = self._receive()
        return self._status

    def close(self) -> None:
        self._connection.close()


def _connect() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(_server().address))
    return connection


@dataclass
class _Server:
    address: Path
    #: The server ends when no process holds a connection to it.
    connection: socket.socket


@cache
def _server() -> _Server:
    """Server of this test run, shared by the processes of pytest-xdist; started by the first."""
    import filelock

    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"process{os.getpid()}")
    folder = Path(tempfile.gettempdir())
    address = folder / f"taskprism-commands-{run}"
    with filelock.FileLock(f"{address}.lock"):
        connection = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            connection.connect(str(address))
            return _Server(address, connection)
        address.unlink(missing_ok=True)
        variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        variables |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, __file__, str(address)],
            env=variables,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", "the server of commands did not start"
        connection.connect(str(address))
        return _Server(address, connection)


# --- The server ----------------------------------------------------------------------------------


def _serve(address: Path) -> dict[str, Any]:
    """Fork a process for each request; returns only in these, with their request."""
    import importlib

    for library in _LIBRARIES.split():
        importlib.import_module(library)
    gc.collect()
    gc.freeze()  # else the collector of every fork touches, so copies, all pages
    tasks = Path("/proc/self/task")
    if tasks.is_dir() and len(list(tasks.iterdir())) > 1:
        raise RuntimeError("A library started a thread while it was imported; forks need one.")
    waking, woken = socket.socketpair()
    waking.setblocking(False)
    woken.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno())
    selector = selectors.DefaultSelector()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(address))
    listening.listen(64)
    selector.register(listening, selectors.EVENT_READ, "listening")
    selector.register(waking, selectors.EVENT_READ, "waking")
    children: dict[int, socket.socket] = {}
    connections: set[socket.socket] = set()
    os.write(1, b"ready\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    connected = False
    while connections or not connected:
        for key, _ in selector.select():
            source: Any = key.fileobj
            if key.data == "listening":
                connection, _ = listening.accept()
                connected = True
                connections.add(connection)
                selector.register(connection, selectors.EVENT_READ, "connection")
            elif key.data == "waking":
                waking.recv(4096)
                for pid, status in _ended(children):
                    with contextlib.suppress(OSError):
                        children.pop(pid).sendall(status.to_bytes(8, "big", signed=True))
            else:
                request, files = _request(source)
                if request is None:
                    selector.unregister(source)
                    connections.discard(source)
                    for pid, client in list(children.items()):
                        if client is source:  # the test was killed or forgot the process
                            with contextlib.suppress(ProcessLookupError):
                                os.killpg(pid, signal.SIGKILL)
                    source.close()
                    continue
                pid = os.fork()
                if not pid:
                    for opened in (*connections, listening, waking, woken):
                        opened.close()
                    selector.close()
                    return {**request, "files": files}
                for file in files:
                    os.close(file)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.setpgid(pid, pid)  # the child does so too, whichever is first
                children[pid] = source
                with contextlib.suppress(OSError):
                    source.sendall(pid.to_bytes(8, "big", signed=True))
    address.unlink(missing_ok=True)
    Path(f"{address}.lock").unlink(missing_ok=True)
    os._exit(0)


def _request(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    length, files, _, _ = socket.recv_fds(connection, 8, 3)
    if len(length) < 8:
        return None, []
    content = connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
    return json.loads(content), files


def _ended(children: Mapping[int, Any]) -> Iterator[tuple[int, int]]:
    for pid in list(children):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            yield pid, os.waitstatus_to_exitcode(status)


def _become(request: dict[str, Any]) -> Callable[[], None]:
    """Make this fork what a fresh interpreter is; returns what the interpreter would then run."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(PermissionError):
        os.setpgid(0, 0)
    for target, file in enumerate(request["files"]):
        os.dup2(file, target)
        os.close(file)
    unbuffered = bool(request["environment"].get("PYTHONUNBUFFERED"))
    encoding, _, errors = request["environment"].get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdin = os.fdopen(0, encoding=encoding, closefd=False)
    for file, name in ((1, "stdout"), (2, "stderr")):
        binary = os.fdopen(file, "wb", 0 if unbuffered else -1, closefd=False)
        errors = "backslashreplace" if name == "stderr" else errors or "strict"
        line_buffering = name == "stderr"
        wrapped = io.TextIOWrapper(
            binary, encoding, errors, None, line_buffering, write_through=unbuffered
        )
        setattr(sys, name, wrapped)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    tempfile.tempdir = None  # may be another in this environment
    _seed()
    sys.modules["__main__"] = types.ModuleType("__main__")
    flag, *arguments = request["words"]
    paths = os.environ.get("PYTHONPATH", "")
    rest = [entry for entry in sys.path if Path(entry) != Path(__file__).parent]
    sys.path[:] = [str(Path(entry).absolute()) for entry in paths.split(os.pathsep) if entry] + rest
    namespace = sys.modules["__main__"].__dict__
    namespace["__builtins__"] = __builtins__
    if flag == "-m":
        sys.path.insert(0, str(Path.cwd()))
        sys.argv = ["-m", *arguments[1:]]
        return lambda: runpy._run_module_as_main(arguments[0])
    if flag == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *arguments[1:]]
        return lambda: exec(compile(arguments[0], "<string>", "exec"), namespace)
    sys.path.insert(0, str(Path(flag).absolute().parent))
    sys.argv = [flag, *arguments]
    namespace["__file__"] = flag
    code = Path(flag).read_bytes()
    return lambda: exec(compile(code, flag, "exec"), namespace)


def _seed() -> None:
    """Global generators start as in a new interpreter, not all at the state of the server."""
    import random

    import numpy as np
    import torch

    random.seed()
    np.random.seed()  # noqa: NPY002  the global generator is the point
    torch.seed()


def _run_and_exit(run: Callable[[], None]) -> None:
    """Run and end as an interpreter does, except for freeing the memory of all modules."""
    import atexit
    import threading

    status, number = 0, None
    try:
        run()
    except SystemExit as stop:
        if stop.code is not None and not isinstance(stop.code, int):
            print(stop.code, file=sys.stderr)
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:
        status, number = 1, signal.SIGINT if isinstance(error, KeyboardInterrupt) else None
        sys.excepthook(type(error), error, error.__traceback__)
    threading._shutdown()  # type: ignore[attr-defined]  waits for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if number is not None:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(status & 0xFF)


if __name__ == "__main__":
    _run_and_exit(_become(_serve(Path(sys.argv[1]))))
