"""Completion: the words of a command are those of its parser, and shells offer them."""

from __future__ import annotations

import shutil
import subprocess
import time
import warnings
from pathlib import Path

import pytest
import tyro

from taskprism.cli import COMMANDS, _function, main
from taskprism.cli.arguments import check_arguments
from taskprism.cli.completion import Context, contexts
from taskprism.cli.train import SHORT, _options
from taskprism.models import list_models
from taskprism.recipes import list_recipes
from taskprism.recipes.schema import Recipe
from taskprism.training.tracking import list_trackers


@pytest.fixture(scope="module")
def by_command() -> dict[str, Context]:
    return {context.command: context for context in contexts()}


def parsed_options(name: str) -> set[str]:
    """Options of a command in the parser that tyro makes."""
    command = COMMANDS[name.split()[0]]
    if command.reads_arguments:
        targets = [_options(Recipe())]
    elif command.actions:
        targets = [check_arguments(_function(command.actions[name.split()[1]][0]))]
    else:
        functions = [command.target, *command.by_suffix.values()]
        targets = [check_arguments(_function(target)) for target in functions]
    found: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for target in targets:
            for action in tyro.extras.get_parser(target)._actions:
                found |= {word for word in action.option_strings if word.startswith("--")}
    return found


def test_every_option_of_every_command_is_completed(by_command) -> None:
    expected = {name for name, command in COMMANDS.items() if not command.actions}
    expected |= {f"{name} {action}" for name, c in COMMANDS.items() for action in c.actions}
    assert set(by_command) == expected
    for name, context in by_command.items():
        own = {"--import"} if COMMANDS[name.split()[0]].imports else set()
        own |= set(SHORT) if name == "train" else set()
        assert {option.name for option in context.options} == parsed_options(name) | own, name


def test_values_are_names_and_choices(by_command) -> None:
    train = {option.name: option for option in by_command["train"].options}
    assert train["--precision"].choices == ("no", "fp16", "bf16")
    assert train["--trackers"].lists == ("trackers",) and train["--trackers"].takes_many
    assert train["--tracker-project"].lists == ()
    assert train["--data"].lists == ("protocols",) and train["--model.name"].lists == ("models",)
    assert train["--resume"].is_flag and train["--no-resume"].is_flag
    assert by_command["train"].lists == ["recipes", "models"]
    assert by_command["list"].lists == ["kinds"]


#: What is typed -> words that are offered.
TYPED = {
    "taskprism tra": {"train"},
    "taskprism ": {*COMMANDS},
    "taskprism data ch": {"check"},
    "taskprism train demo/": {name for name in list_recipes() if name.startswith("demo/")},
    "taskprism train ct": {name for name in list_models() if name.startswith("ct")},
    "taskprism train rooms/ctal --prec": {"--precision"},
    "taskprism train x --precision ": {"no", "fp16", "bf16"},
    "taskprism train x --tracker mlflow ": {*list_trackers()},
    "taskprism evaluate runs/a --split t": {"train", "test"},
    "taskprism data check rooms --sam": {"--samples"},
    "taskprism list mode": {"models"},
    "taskprism compare runs": set(),
}
_BASH = """
source "$1"
shift
for line in "$@"; do
    read -ra COMP_WORDS <<< "$line"
    case "$line" in *" ") COMP_WORDS+=("") ;; esac
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _taskprism taskprism "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
    echo "${COMPREPLY[*]}"
done
"""
_FISH = """
source $argv[1]
for line in $argv[2..]
    echo (complete -C $line | string replace -r '\\t.*' '')
end
"""


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    file = folder / f"taskprism.{shell}"
    file.write_text(capsys.readouterr().out)
    return file


@pytest.mark.parametrize(("shell", "program"), [("bash", _BASH), ("fish", _FISH)])
def test_a_shell_offers_the_words_at_once(shell, program, tmp_path, capsys) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    file = script(shell, tmp_path, capsys)
    words = [path, "-c", program, *(["--"] if shell == "fish" else ["bash"]), str(file)]
    start = time.perf_counter()
    done = subprocess.run([*words, *TYPED], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    offered = done.stdout.splitlines()
    for (line, expected), found in zip(TYPED.items(), offered, strict=True):
        options = {word for word in found.split() if line.endswith(" ") and word[0] == "-"}
        assert set(found.split()) - options == expected, line
    assert seconds / len(TYPED) < 1


def test_zsh_reads_the_script_of_bash(tmp_path, capsys) -> None:
    bash = script("bash", tmp_path, capsys).read_text().splitlines()
    zsh = script("zsh", tmp_path, capsys).read_text().splitlines()
    assert zsh[1] == "autoload -U +X bashcompinit && bashcompinit"
    assert zsh[2:] == bash[1:]
