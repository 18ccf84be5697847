"""What all commands share: help, errors, exit codes, and importing your own parts."""

import subprocess
import sys
from typing import get_args, get_type_hints

import pytest

from taskprism import cli
from taskprism.cli import COMMANDS, main
from taskprism.cli.arguments import Between, OnDevice, marks_of
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


def test_missing_command_prints_help(capsys):
    assert main([]) == 2
    assert "usage: taskprism" in capsys.readouterr().out


def test_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("taskprism 0.")


def test_unknown_command_is_reported(capsys):
    assert main(["trian"]) == 2
    assert "Did you mean 'train'" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_imports_and_has_help(name, capsys):
    try:
        status = main([name, "--help"])
    except SystemExit as stop:  # tyro exits; commands with actions return
        status = stop.code
    assert status == 0
    assert f"usage: taskprism {name}" in capsys.readouterr().out


def test_user_errors_are_printed_without_a_traceback(monkeypatch, capsys):
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
def test_ctrl_c_exits_with_130(monkeypatch, capsys, message, shown):
    def stop(*_):
        raise KeyboardInterrupt(message)

    monkeypatch.setattr(cli, "_run", stop)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == f"{shown}\n"


def test_help_imports_no_heavy_modules():
    code = (
        "import sys; from taskprism.cli import main; main(['--help']);"
        "heavy = {'torch', 'timm', 'tyro', 'rich'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


PAGES = [(name,) for name, command in COMMANDS.items() if not command.actions]
PAGES += [(name, action) for name, command in COMMANDS.items() for action in command.actions]


@pytest.mark.parametrize("words", PAGES, ids="-".join)
def test_help_starts_with_usage_and_names_arguments(words, capsys):
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


def test_failed_import_names_the_missing_module(capsys):
    assert main(["list", "--import", "no_such_module_here"]) == 2
    assert "Cannot import 'no_such_module_here'" in capsys.readouterr().err
    assert main(["demo", "--import", "json"]) == 2
    assert "no option --import" in capsys.readouterr().err


def test_hint_after_ctrl_c_repeats_the_imports(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt("Resume with: taskprism train X")

    monkeypatch.setattr(cli, "_run", stop)
    assert main(["train", "X", "--import", "my parts.py"]) == 130
    assert capsys.readouterr().err == ("Resume with: taskprism train X --import 'my parts.py'\n")


def test_baseline_and_compare_report_missing_arguments(tmp_path, capsys):
    assert main(["baseline", "--out", str(tmp_path / "run")]) == 2
    assert "Name a protocol: `taskprism baseline PROTOCOL" in capsys.readouterr().err
    assert main(["compare"]) == 2
    assert "Name at least one run" in capsys.readouterr().err


def _parsed_functions():
    for name, command in COMMANDS.items():
        if not command.actions and not command.reads_arguments:
            yield name, command.target
        for action, (target, _) in command.actions.items():
            yield f"{name} {action}", target


def _types(hint):
    arguments = [part for part in get_args(hint) if part not in marks_of(hint)]
    return {hint} | {inner for part in arguments for inner in _types(part)}


@pytest.mark.parametrize(("name", "target"), list(_parsed_functions()))
def test_every_number_has_bounds_and_every_device_is_tried(name, target):
    hints = get_type_hints(cli._function(target), include_extras=True)
    hints.pop("return", None)
    for parameter, hint in hints.items():
        marks = {type(mark) for mark in marks_of(hint)}
        if {int, float} & {part for part in _types(hint) if isinstance(part, type)}:
            assert Between in marks, (name, parameter)
        if parameter == "device":
            assert OnDevice in marks, name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("baseline rooms --out o --batch-size 0", "--batch-size must be at least 1, got 0"),
        ("baseline rooms --out o --input-size 0 32", "--input-size must be at least 1"),
        ("data check rooms --samples 0", "--samples must be at least 1, got 0"),
        ("data pack rooms --out o --workers -1", "--workers must be at least 0"),
        ("data pack rooms --out o --shard-megabytes 0", "--shard-megabytes must be at least 1"),
        ("analyze sheet run --out o --images 0", "--images must be at least 1, got 0"),
        ("analyze affinity rooms --out o --dilations 1 0", "--dilations must be at least 1, got 0"),
        ("edges a b --max-dist nan", "--max-dist must be at least 0 and at most 1, got nan"),
        ("profile multi_task --batch 0", "--batch must be at least 1, got 0"),
        ("profile multi_task --device foo", "Cannot use device 'foo'"),
        ("demo --minutes -1", "--minutes must be at least 0"),
        ("reproduce mti_net/2a --seeds 0", "--seeds must be at least 1, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_errors_of_the_system_are_printed_without_a_traceback(monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "No space left on device", "file")

    monkeypatch.setattr(cli, "_run", fail)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == (
        "taskprism list: [Errno 28] No space left on device: 'file'\n"
    )
