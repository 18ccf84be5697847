"""Read text, YAML and JSON files as editors of any system write them.

Every file that a user writes is read here: it must be a regular file of a limited size, and is
decoded by its byte order mark, so that UTF-8 with or without one and UTF-16 are the same. Content
that would take for ever, such as nested aliases, is an error.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from typing import Any

import yaml

from taskprism.errors import DataError, TaskprismError
from taskprism.stores.paths import AnyPath, StorePath, store_errors

TEXT_BYTES = 64 * 2**20  # a list of a million names
YAML_BYTES = 2 * 2**20  # PyYAML reads about half a megabyte per second
JSON_BYTES = 512 * 2**20  # an index of packed shards
DEEPEST = 50  # levels of nested lists and mappings
MOST_VALUES = 1_000_000  # in a YAML file, aliases written out

_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_TUPLE = "!tuple"
_LINE_ENDS = re.compile("\r\n|\r|\n")


def read_text(
    path: AnyPath,
    error: type[TaskprismError] = DataError,
    most_bytes: int = TEXT_BYTES,
    fallback: str | None = None,
) -> str:
    """Text of a file, without byte order mark, with a line feed at the end of each line.

    Args:
        path: The file.
        error: Raised if it cannot be read.
        most_bytes: Largest size.
        fallback: Encoding of files that are not UTF-8 and have no mark; by default an error.

    Raises:
        TaskprismError: The file is missing, too large, not a regular file, or not text.
    """
    content = _read_bytes(path, error, most_bytes)
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    if encoding is None and b"\0" in content[:1000]:  # UTF-16 without a mark, or no text
        encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    try:
        text = content.decode(encoding or "utf-8")
    except UnicodeDecodeError as problem:
        if encoding is not None or fallback is None:
            line = content[: problem.start].count(b"\n") + 1
            raise error(
                f"{path} is not {(encoding or 'utf-8').upper()} text (line {line}, byte "
                f"0x{content[problem.start]:02x}). Save it with the encoding UTF-8."
            ) from None
        text = content.decode(fallback, errors="replace")
    if "\0" in text:
        raise error(f"{path} is not a text file: it contains null bytes.")
    return _LINE_ENDS.sub("\n", text)


def _read_bytes(path: AnyPath, error: type[TaskprismError], most_bytes: int) -> bytes:
    if isinstance(path, StorePath):
        return _read_stored(path, error, most_bytes)
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):  # opening a pipe would wait for ever
            what = "a folder" if stat.S_ISDIR(state.st_mode) else "not a regular file"
            raise error(f"{path} cannot be read: it is {what}.")
        if state.st_size > most_bytes:
            raise error(
                f"{path} cannot be read: it has {state.st_size} bytes, more than {most_bytes}."
            )
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror or problem}.") from None
    except ValueError as problem:  # a null byte in the path
        raise error(f"{str(path)!r} cannot be read: {problem}.") from None
    if len(content) > most_bytes:
        raise error(f"{path} cannot be read: it has more than {most_bytes} bytes.")
    return content


def _read_stored(path: StorePath, error: type[TaskprismError], most_bytes: int) -> bytes:
    try:
        size = path.size()
        if size > most_bytes:
            raise error(f"{path} cannot be read: it has {size} bytes, more than {most_bytes}.")
        return path.read_bytes()
    except FileNotFoundError:
        raise error(f"{path} cannot be read: there is no such file.") from None
    except Exception as problem:
        reason = store_errors(problem)
        if reason is None:
            raise
        raise error(f"{path} cannot be read: {reason}.") from problem


def read_lines(path: AnyPath, error: type[TaskprismError] = DataError) -> list[str]:
    """Lines that are not blank, without spaces around them.

    Files that are not UTF-8 are read as Windows-1252, the encoding of many older editors.
    """
    text = read_text(path, error, fallback="cp1252")
    return [line for line in map(str.strip, text.split("\n")) if line]


def read_names(path: AnyPath, error: type[TaskprismError] = DataError) -> list[str]:
    """Names in a list: one per line, or a JSON array, or one line with commas.

    Commas at the end of lines and quotation marks around names are removed.

    Raises:
        TaskprismError: The file cannot be read, or a name has control characters or is too long
            for a file.
    """
    text = read_text(path, error, fallback="cp1252").strip()
    if text.startswith("["):
        names = parse_json(text, str(path), error)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise error(f"{path} must be a list of names. Write one name per line.")
    else:
        lines = [line.strip() for line in text.split("\n")]
        if len(lines) == 1:
            lines = [part.strip() for part in lines[0].split(",")]
        names = [line.rstrip(",").strip() for line in lines]
        names = [n[1:-1] if len(n) > 1 and n[0] == n[-1] and n[0] in "'\"" else n for n in names]
    for number, name in enumerate(names, start=1):
        wrong = name_problem(name)
        if wrong:
            raise error(f"{path}: name {number} {wrong}. Write one name per line.")
    return [name for name in names if name]


def name_problem(name: str) -> str | None:
    """What prevents a name from being part of a path, or None."""
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return f"({name[:40]!r}) has control characters"
    longest = max((len(part.encode("utf-8", "replace")) for part in name.split("/")), default=0)
    if longest > 240:
        return f"({name[:40]!r}...) has {len(name)} characters, too long for a file"
    return None


def parse_json(text: str, source: str, error: type[TaskprismError] = DataError) -> Any:
    """Content of a JSON text; ``source`` names it in errors."""
    try:
        content = json.loads(text)
    except RecursionError:
        raise error(f"{source} is nested too deeply, more than {DEEPEST} levels.") from None
    except ValueError as problem:
        raise error(f"{source} is not valid JSON: {problem}.") from None
    return _limited(content, source, error, most_values=None)


def read_json(path: AnyPath, error: type[TaskprismError] = DataError) -> Any:
    """Content of a JSON file."""
    return parse_json(read_text(path, error, JSON_BYTES), str(path), error)


class YamlLoader(yaml.SafeLoader):
    """Safe YAML in which a key may be a list, and may not occur twice.

    Example:
        >>> yaml.load("[128, 0, 0]: 1", Loader=YamlLoader)
        {(128, 0, 0): 1}
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Mapping in which no key occurs twice; PyYAML would keep the last value."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.SequenceNode):
                key.tag = _TUPLE
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    problem = f"the key {key.value!r} occurs twice"
                    raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return node


def _tuple(loader: YamlLoader, node: Any) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True))


YamlLoader.add_constructor(_TUPLE, _tuple)


class _NumbersLoader(YamlLoader):
    """In which ``1e-3`` is a number, as in YAML 1.2."""


_NumbersLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def parse_yaml(
    text: str, source: str, error: type[TaskprismError] = DataError, exponents: bool = True
) -> Any:
    """Content of a YAML text.

    Args:
        text: The text.
        source: Names it in errors.
        error: Raised if it is invalid.
        exponents: Whether ``1e3`` is a number; otherwise it is a word, such as a file's name.
    """
    try:
        content = yaml.load(text, Loader=_NumbersLoader if exponents else YamlLoader)
    except RecursionError:
        raise error(f"{source} is nested too deeply, more than {DEEPEST} levels.") from None
    except Exception as problem:  # a wrong tag or number raises nearly anything
        raise error(f"{source} is not valid YAML: {problem}") from None
    return _limited(content, source, error)


def read_yaml(
    path: AnyPath, error: type[TaskprismError] = DataError, exponents: bool = True
) -> Any:
    """Content of a YAML file."""
    return parse_yaml(read_text(path, error, YAML_BYTES), str(path), error, exponents)


def _limited(
    content: Any, source: str, error: type[TaskprismError], most_values: int | None = MOST_VALUES
) -> Any:
    """``content``, if it is neither too deep nor, with aliases written out, too large."""
    levels: list[Iterator[Any]] = [iter([content])]
    count = 0
    while levels:
        for value in levels[-1]:
            count += 1
            if most_values is not None and count > most_values:
                raise error(f"{source} has more than {most_values} values, aliases written out.")
            if isinstance(value, (dict, list, tuple)):
                if len(levels) > DEEPEST:
                    raise error(f"{source} is nested too deeply, more than {DEEPEST} levels.")
                levels.append(iter(value.values() if isinstance(value, dict) else value))
                break
        else:
            levels.pop()
    return content
