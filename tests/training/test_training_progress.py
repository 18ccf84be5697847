import io
import os
import signal
import threading

import pytest
from rich.console import Console

from taskprism import progress
from taskprism.errors import Terminated
from taskprism.progress import Reporter
from taskprism.training.stopping import TERMINATING, stop_on_signals


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


@pytest.mark.parametrize("number", [signal.SIGINT, *TERMINATING])
def test_the_first_signal_asks(number):
    before = signal.getsignal(number)
    with stop_on_signals() as request:
        assert not request
        os.kill(os.getpid(), number)
        assert request
        assert request.by_interrupt == (number == signal.SIGINT)
    assert signal.getsignal(number) == before


def test_only_a_second_interrupt_ends_at_once():
    with stop_on_signals() as request:
        for number in (*TERMINATING, signal.SIGINT, *TERMINATING):
            os.kill(os.getpid(), number)
        assert not request.by_interrupt, "the first signal decides"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_torchrun_passes_one_interrupt_on(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with stop_on_signals() as request:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        assert request.by_interrupt


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_before_training_a_signal_ends_at_once(number, kind):
    with stop_on_signals() as request:
        with pytest.raises(KeyboardInterrupt) as caught, request.at_once():
            os.kill(os.getpid(), number)
        assert caught.type is kind
        with pytest.raises(kind), request.at_once():
            pass


def test_ignored_signals_stay_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not request
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_keep_their_meaning_in_other_threads():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with stop_on_signals() as request:
            seen.append((bool(request), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
