"""What all commands share: help, errors, exit codes."""

import subprocess
import sys

import pytest

from taskprism import cli
from taskprism.cli import COMMANDS, main
from taskprism.errors import InputError


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name}" in text
        assert command.summary in text


def test_without_a_command(capsys):
    assert main([]) == 2
    assert "usage: taskprism" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("taskprism 0.")


def test_unknown_command(capsys):
    assert main(["trian"]) == 2
    assert "Did you mean 'train'" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_imported_and_helps(name, capsys):
    try:
        status = main([name, "--help"])
    except SystemExit as stop:  # tyro's way; commands with actions of their own return
        status = stop.code
    assert status == 0
    assert f"usage: taskprism {name}" in capsys.readouterr().out


def test_errors_of_the_user_are_told_without_a_traceback(monkeypatch, capsys):
    def fail(name, words):
        raise InputError("The way out is this.")

    monkeypatch.setattr(cli, "_run", fail)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "taskprism list: The way out is this.\n"


def test_mistakes_of_ours_keep_their_traceback(monkeypatch):
    def fail(name, words):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["list"])


@pytest.mark.parametrize(("message", "told"), [("Go on with X", "Go on with X"), ("", "Stopped.")])
def test_ctrl_c(monkeypatch, capsys, message, told):
    def stop(name, words):
        raise KeyboardInterrupt(message)

    monkeypatch.setattr(cli, "_run", stop)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == f"{told}\n"


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = (
        "import sys; from taskprism.cli import main; main(['--help']);"
        "heavy = {'torch', 'timm', 'tyro', 'rich'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
