"""``taskprism completion``: completion of commands, options and names for a shell.

The script that it prints holds every word, so the shell starts no process when you press TAB.
"""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro
from pydantic import BaseModel

from taskprism.cli import COMMANDS, Command, _function
from taskprism.cli.listing import name_lists
from taskprism.recipes.schema import Recipe

Shell = Literal["bash", "zsh", "fish"]
#: What a value is called in the help, or option, or command and argument -> the lists of names
#: that complete it.
_LISTS = {
    "RECIPE": ("recipes", "models"),
    "MODEL": ("models",),
    "BACKBONE": ("backbones",),
    "PROTOCOL": ("protocols",),
    "TASK": ("tasks",),
    "TRACKER": ("trackers",),
    "list kind": ("kinds",),
    "--loss.balancing": ("balancers",),
    "--consistency.name": ("consistency_losses",),
}
_KINDS = "kinds"
_IMPORT = "--import"


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        name: Such as ``--out``.
        choices: All values that it takes; empty if they cannot be listed.
        lists: Lists of names that complete its value, in addition to files.
        is_flag: It takes no value.
        takes_many: It takes several values.
    """

    name: str
    choices: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    is_flag: bool = False
    takes_many: bool = False


@dataclass
class Context:
    """What can follow a command, or an action of a group of commands.

    Attributes:
        command: ``train``, or ``data check``.
        options: Its options.
        lists: Lists of names that complete its other arguments, in addition to files.
    """

    command: str
    options: list[Option] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)


def completion(shell: Annotated[Shell, tyro.conf.Positional], /) -> None:
    """Print a script that completes commands, options and names when you press TAB.

    Write it into a file that your shell reads, and write it again after an update or when you have
    installed a plug-in:

    bash: taskprism completion bash > ~/.local/share/bash-completion/completions/taskprism

    zsh: taskprism completion zsh > ~/.taskprism.zsh, and in ~/.zshrc after compinit: source
    ~/.taskprism.zsh

    fish: taskprism completion fish > ~/.config/fish/completions/taskprism.fish

    Args:
        shell: Your shell.
    """
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](contexts(), names()))


def names() -> dict[str, list[str]]:
    """List of names by kind: those of ``taskprism list``, and the kinds themselves."""
    lists = {kind: sorted(entries()) for kind, entries in name_lists().items()}
    return {**lists, _KINDS: sorted(lists)}


def contexts() -> list[Context]:
    """What can follow each command and action."""
    found = []
    for name, command in COMMANDS.items():
        if command.actions:
            found += [
                _context(f"{name} {action}", command, [target])
                for action, (target, _) in command.actions.items()
            ]
        else:
            found.append(_context(name, command, [command.target, *command.by_suffix.values()]))
    return found


def _context(name: str, command: Command, targets: Sequence[str]) -> Context:
    context = Context(name)
    options = [Option("--help", is_flag=True)]
    if command.imports:
        options.append(Option(_IMPORT))
    for target in targets:
        if command.reads_arguments:  # train: its options are the keys of a recipe
            from taskprism.cli.train import SHORT, _options

            long = {option.name: option for option in _model_options(_options(Recipe()), "")}
            options += [*long.values(), *(replace(long[SHORT[s]], name=s) for s in SHORT)]
            context.lists += _LISTS["RECIPE"]
            continue
        function = _function(target)
        hints = get_type_hints(function, include_extras=True)
        for parameter in inspect.signature(function).parameters.values():
            hint = hints[parameter.name]
            if _is_marked(hint, "Suppress"):
                continue
            if parameter.kind is parameter.POSITIONAL_ONLY:
                context.lists += _lists(_metavar(_marks(hint)), f"{name} {parameter.name}")
                context.lists += _choices(hint)
                continue
            options += _option(parameter.name, hint)
    context.options = list({option.name: option for option in options}.values())
    context.lists = list(dict.fromkeys(context.lists))
    return context


def _option(name: str, hint: Any) -> list[Option]:
    """Option of a parameter or key, and for a flag its opposite."""
    section, dot, key = name.rpartition(".")
    key = next((mark.name for mark in _marks(hint) if getattr(mark, "name", None)), key)
    section, key = ((each.strip("_").replace("_", "-")) for each in (section, key))
    option = f"--{section}{dot}{key}"
    if list(_flat(hint)) == [bool]:
        has_opposite = not _is_marked(hint, "FlagCreatePairsOff")
        opposite = [Option(f"--{section}{dot}no-{key}", is_flag=True)] * has_opposite
        return [Option(option, is_flag=True), *opposite]
    lists = tuple(_lists(_metavar(_marks(hint)), option))
    return [Option(option, tuple(_choices(hint)), lists, takes_many=_takes_many(hint))]


def _model_options(model: type[BaseModel], prefix: str) -> Iterator[Option]:
    """Options of a class from which tyro derives them."""
    for key, info in model.model_fields.items():
        kind: Any = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            is_top = any(getattr(mark, "name", None) == "" for mark in info.metadata)
            yield from _model_options(kind, prefix if is_top else f"{prefix}{key}.")
        else:
            hint = Annotated[kind, *info.metadata] if info.metadata else kind
            yield from _option(f"{prefix}{key}", hint)


def _marks(hint: Any) -> tuple[Any, ...]:
    return getattr(hint, "__metadata__", ())


def _is_marked(hint: Any, name: str) -> bool:
    """Whether an annotation has a mark of ``tyro.conf``."""
    return any(name in repr(mark) for mark in _marks(hint))


def _metavar(marks: Sequence[Any]) -> str:
    return next((mark.metavar for mark in marks if getattr(mark, "metavar", None)), "")


def _lists(metavar: str, option: str) -> list[str]:
    if option in _LISTS:
        return list(_LISTS[option])
    words = re.findall(r"(?<![\w=])[A-Z_]+(?![\w=])", metavar)  # not in TASK=VALUE
    return list(next((_LISTS[word] for word in words if word in _LISTS), ()))


def _flat(hint: Any) -> Iterator[Any]:
    """Types in an annotation without None."""
    origin = get_origin(hint)
    if origin is Annotated:
        yield from _flat(get_args(hint)[0])
    elif origin in (Union, UnionType):
        for each in get_args(hint):
            yield from _flat(each)
    elif hint is not type(None):
        yield hint


def _choices(hint: Any) -> list[str]:
    return [
        str(choice)
        for each in _flat(hint)
        if get_origin(each) is Literal
        for choice in get_args(each)
    ]


def _takes_many(hint: Any) -> bool:
    return any(get_origin(each) in (tuple, list) for each in _flat(hint))


# --- Scripts -----------------------------------------------------------------------------------


def _header(shell: str) -> str:
    version = metadata.version("taskprism")
    return f"# Completion of taskprism {version}; written by `taskprism completion {shell}`."


def _words(option: Option) -> str:
    return " ".join([*option.choices, *(f"$_taskprism_{name}" for name in option.lists)])


def _bash(contexts: Sequence[Context], names: dict[str, list[str]]) -> str:
    used = {name for context in contexts for name in context.lists if name in names}
    used |= {name for context in contexts for option in context.options for name in option.lists}
    groups: dict[str, list[str]] = {}  # command -> actions
    for context in contexts:
        command, _, action = context.command.partition(" ")
        groups.setdefault(command, [])
        groups[command] += [action] if action else []
    with_actions = "|".join(command for command, actions in groups.items() if actions)
    lines = [_header("bash")]
    lines += [f'_taskprism_{name}="{" ".join(names[name])}"' for name in sorted(used)]
    lines += [
        "_taskprism() {",
        '    local current="$2" previous="$3" command="" option="" found="" position=0 word',
        '    for word in "${COMP_WORDS[@]}"; do',
        '        if [ "$position" -ge "$COMP_CWORD" ]; then break; fi',
        '        if [ "$position" -eq 1 ]; then command="$word"; fi',
        '        if [ "$position" -eq 2 ]; then',
        '            case "$command" in',
        f'                {with_actions}) command="$command $word" ;;',
        "            esac",
        "        fi",
        '        case "$word" in --*) option="$word" ;; esac',
        "        position=$((position + 1))",
        "    done",
        '    if [ "$COMP_CWORD" -eq 1 ]; then',
        f'        found="{" ".join(groups)} --help --version"',
        "    else",
        '        case "$command|$previous|$option" in',
    ]
    for context in contexts:
        for option in context.options:
            if text := _words(option):
                name = option.name
                place = f'|"*"|{name}"' if option.takes_many else f'|{name}|"*'
                lines.append(f'            "{context.command}{place}) found="{text}" ;;')
    lines += ["        esac", '        case "$current|$command" in']
    for context in contexts:
        text = " ".join(option.name for option in context.options)
        lines.append(f'            -*"|{context.command}") found="{text}" ;;')
    for command, actions in groups.items():
        if actions:
            lines.append(f'            *"|{command}") found="{" ".join(actions)} --help" ;;')
    for context in contexts:
        if context.lists:
            text = " ".join(
                f"$_taskprism_{name}" if name in names else name for name in context.lists
            )
            lines.append(f'            *"|{context.command}") found="${{found:-{text}}}" ;;')
    lines += [
        "        esac",
        "    fi",
        "    COMPREPLY=()",  # without compgen, which zsh has in another form
        "    for word in $(printf '%s' \"$found\"); do",
        '        case "$word" in "$current"*) COMPREPLY+=("$word") ;; esac',
        "    done",
        "}",
        "complete -o default -F _taskprism taskprism",
    ]
    return "\n".join(lines)


def _zsh(contexts: Sequence[Context], names: dict[str, list[str]]) -> str:
    script = _bash(contexts, names).replace("completion bash`", "completion zsh`", 1)
    header, _, rest = script.partition("\n")
    return f"{header}\nautoload -U +X bashcompinit && bashcompinit\n{rest}"


_FISH = """\
function __taskprism_is --argument-names command action
    set -l words (commandline -opc)
    test "$words[2]" = "$command"; and begin
        test -z "$action"; or test "$words[3]" = "$action"
    end
end"""


def _fish(contexts: Sequence[Context], names: dict[str, list[str]]) -> str:
    def complete(condition: str, *words: str) -> str:
        return f"complete -c taskprism -n {shlex.quote(condition)} {' '.join(words)}"

    def expand(lists: Sequence[str]) -> str:
        words = [word for name in lists for word in names.get(name, [name])]
        return shlex.quote(" ".join(words))

    first = "test (count (commandline -opc)) -eq 1"
    lines = [_header("fish"), _FISH]
    for name, command in COMMANDS.items():
        lines.append(complete(first, "-f", "-a", name, "-d", shlex.quote(command.summary)))
        for action, (_, summary) in command.actions.items():
            second = f"__taskprism_is {name}; and {first[:-1]}2"
            lines.append(complete(second, "-f", "-a", action, "-d", shlex.quote(summary)))
    for context in contexts:
        seen = f"__taskprism_is {context.command}"
        if context.lists:
            lines.append(complete(seen, "-a", expand(context.lists)))
        for option in context.options:
            words = ["-l", option.name.removeprefix("--")]
            if option.choices:
                words += ["-x", "-a", expand(option.choices)]
            elif option.lists:
                words += ["-r", "-a", expand(option.lists)]
            elif not option.is_flag:
                words.append("-r")
            lines.append(complete(seen, *words))
    return "\n".join(lines)
