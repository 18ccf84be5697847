"""What all commands share: help, errors, exit codes, and importing your own parts."""

import subprocess
import sys

import pytest

from taskprism import cli
from taskprism.cli import COMMANDS, main
from taskprism.errors import InputError
from taskprism.registry import temporary_parts


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name}" in text
        assert command.summary in text
    for word in ("A recipe is", "A protocol is", "A run is"):
        assert word in text


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
    except SystemExit as stop:  # tyro exits; commands with actions return
        status = stop.code
    assert status == 0
    assert f"usage: taskprism {name}" in capsys.readouterr().out


def test_errors_of_the_user_are_printed_without_a_traceback(monkeypatch, capsys):
    def fail(*_):
        raise InputError("Do this instead.")

    monkeypatch.setattr(cli, "_run", fail)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "taskprism list: Do this instead.\n"


def test_internal_errors_keep_their_traceback(monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["list"])


@pytest.mark.parametrize(("message", "shown"), [("Resume: X", "Resume: X"), ("", "Stopped.")])
def test_ctrl_c(monkeypatch, capsys, message, shown):
    def stop(*_):
        raise KeyboardInterrupt(message)

    monkeypatch.setattr(cli, "_run", stop)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == f"{shown}\n"


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = (
        "import sys; from taskprism.cli import main; main(['--help']);"
        "heavy = {'torch', 'timm', 'tyro', 'rich'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


PAGES = [(name,) for name, command in COMMANDS.items() if not command.actions]
PAGES += [(name, action) for name, command in COMMANDS.items() for action in command.actions]


@pytest.mark.parametrize("words", PAGES, ids="-".join)
def test_help_names_arguments_and_opens_with_usage(words, capsys):
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"usage: taskprism {' '.join(words)}")
    assert not {"STR", "PATH", "{None}|STR", "{None}|PATH"} & set(text.split())
    assert ("--import FILE_OR_MODULE" in " ".join(text.split())) == COMMANDS[words[0]].imports


def test_the_british_spelling_of_analyze_is_an_alias(capsys):
    assert main(["analyse"]) == 0
    assert "usage: taskprism analyze ACTION" in capsys.readouterr().out
    main(["--help"])
    assert "analyse" not in capsys.readouterr().out


def test_import_comes_before_every_lookup(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_protocols.py").write_text(
        "import dataclasses\n"
        "from taskprism.rooms import RoomsProtocol\n"
        "from taskprism.data import register_protocol\n"
        "@register_protocol\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Attic(RoomsProtocol):\n"
        "    name: str = 'attic'\n"
    )
    file = str(tmp_path / "my_protocols.py")
    with temporary_parts():
        assert main(["list", "protocol", "attic"]) == 2
        capsys.readouterr()
        assert main(["list", "protocol", "attic", "--import", file]) == 0
        assert capsys.readouterr().out == "attic  my_protocols:Attic\n"
        assert main(["data", "describe", "attic", f"--import={file}"]) == 0
        assert "attic" in capsys.readouterr().out
    sys.modules.pop("my_protocols")


@pytest.mark.parametrize("words", [["--import"], ["--import", "--out"], ["--import="]])
def test_import_needs_a_value(words, capsys):
    assert main(["list", *words]) == 2
    assert "--import takes a Python file or a module name" in capsys.readouterr().err


def test_import_names_what_is_missing(capsys):
    assert main(["list", "--import", "no_such_module_here"]) == 2
    assert "Cannot import 'no_such_module_here'" in capsys.readouterr().err
    assert main(["demo", "--import", "json"]) == 2
    assert "no option --import" in capsys.readouterr().err


def test_the_hint_after_ctrl_c_repeats_the_imports(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt("Resume with: taskprism train X")

    monkeypatch.setattr(cli, "_run", stop)
    assert main(["train", "X", "--import", "my parts.py"]) == 130
    assert capsys.readouterr().err == ("Resume with: taskprism train X --import 'my parts.py'\n")


def test_baseline_and_compare_ask_for_what_is_missing(tmp_path, capsys):
    assert main(["baseline", "--out", str(tmp_path / "run")]) == 2
    assert "Name a protocol: `taskprism baseline PROTOCOL" in capsys.readouterr().err
    assert main(["compare"]) == 2
    assert "Name at least one run" in capsys.readouterr().err
