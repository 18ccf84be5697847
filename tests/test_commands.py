"""Forked commands behave as those of a new interpreter."""

import os
import signal

import pytest

import commands

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

SEE = """
import os, sys, threading
import torch
print(sys.argv, __name__, os.getcwd(), os.environ.get("GIVEN"), os.environ.get("HOME"))
print(torch.get_num_threads(), threading.active_count())
print([name for name in sys.modules if name.split(".")[0] in ("taskprism", "pytest", "_pytest")])
print(sys.path)
print(sys.stdin.read())
"""


def test_a_fork_equals_a_new_interpreter(tmp_path):
    how = {"folder": tmp_path, "environment": {"GIVEN": "1", "HOME": None}, "input": "text"}
    forked, fresh = (commands.run_python(SEE, "a", fresh=fresh, **how) for fresh in (False, True))
    assert forked == fresh
    assert f"['-c', 'a'] __main__ {tmp_path} 1 None" in forked.output


def test_signals_have_their_usual_effect():
    code = """
import signal
names = ("SIGTERM", "SIGCHLD", "SIGPIPE", "SIGHUP", "SIGUSR1")
print(*(int(signal.getsignal(getattr(signal, name))) for name in names))
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    assert commands.run_python(code).output == "0 0 1 0 0\nTrue\n"


def test_generators_differ_between_processes():
    code = """
import random, numpy, torch
print(random.random(), numpy.random.rand(), torch.rand(()).item())
"""
    one, two = (commands.run_python(code).output.split() for _ in range(2))
    assert len(one) == 3 and not set(one) & set(two)


@pytest.mark.parametrize(
    ("code", "status", "errors"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('text')", 1, "text"),
        ("import atexit, sys; atexit.register(lambda: sys.stderr.write('end'))", 0, "end"),
        ("raise ValueError('bad')", 1, "ValueError: bad"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt"),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM, ""),
    ],
)
def test_exit_status_and_messages(code, status, errors):
    done = commands.run_python(code, status=status)
    assert errors in done.errors
    assert "Traceback" in done.errors or errors == done.errors.strip()


def test_commands_find_their_parts_and_report_errors():
    assert "pad_net" in commands.run("list", "models").output
    assert "Did you mean 'models'" in commands.run("list", "modelz", status=2).errors


def test_a_process_is_watched_and_stopped():
    code = """
import sys
print("ready", flush=True)
print(sys.stdin.readline(), flush=True)
sys.stdin.read()
"""
    with commands.start_python(code, input=commands.PIPE) as process:
        process.wait_until(lambda: "ready" in process.output)
        process.input.write("line\n")
        process.input.flush()
        process.wait_until(lambda: "line" in process.output)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait() == -signal.SIGINT
    with commands.start_python("import time; time.sleep(99)") as process:
        pass
    assert process.poll() == -signal.SIGKILL


def _sum_of_ranks(factor):
    import torch
    import torch.distributed

    torch.distributed.init_process_group("gloo")
    value = torch.tensor([factor * (1.0 + torch.distributed.get_rank())])
    torch.distributed.all_reduce(value)
    return value.item()


def test_functions_run_in_connected_processes():
    assert commands.call(_sum_of_ranks, 2.0, processes=2) == [6.0, 6.0]
