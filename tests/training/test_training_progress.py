import io
import os
import signal
import threading

import pytest
from rich.console import Console

from taskprism import progress
from taskprism.progress import Reporter
from taskprism.training.launch import stop_on_interrupt


@pytest.fixture
def plain():
    return Reporter(Console(file=io.StringIO(), force_terminal=False, width=200))


def written(reporter):
    return reporter.console.file.getvalue()


def test_plain_lines_come_now_and_then(plain, monkeypatch):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(plain.track("abcdef", "counting", done=4)) == list("abcdef")
    assert written(plain).splitlines() == ["counting: 6/10", "counting: 8/10", "counting: 10/10"]


def test_quick_work_writes_nothing(plain):
    assert list(plain.track(range(100), "counting")) == list(range(100))
    assert written(plain) == ""


def test_markup_in_names_is_text(plain):
    plain.line("[bold]image[/bold].png")
    assert written(plain) == "[bold]image[/bold].png\n"


def test_a_terminal_gets_a_bar():
    reporter = Reporter(Console(file=io.StringIO(), force_terminal=True, width=80))
    assert list(reporter.track(iter("ab"), "counting", total=2)) == ["a", "b"]
    assert "counting" in written(reporter)


def test_quiet_is_quiet():
    reporter = Reporter(Console(file=io.StringIO(), force_terminal=True), quiet=True)
    reporter.line("nothing")
    assert list(reporter.track("ab", "counting")) == ["a", "b"]
    assert written(reporter) == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_interrupts(number):
    before = signal.getsignal(number)
    with stop_on_interrupt() as request:
        assert not request
        os.kill(os.getpid(), number)
        assert request
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_signals_keep_their_meaning_in_other_threads():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with stop_on_interrupt() as request:
            seen.append((bool(request), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
