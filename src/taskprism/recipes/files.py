"""Recipes as YAML files: inheritance, overrides, and where their names come from."""

from __future__ import annotations

import copy
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from taskprism.errors import InputError, RecipeError, UnknownNameError
from taskprism.recipes.schema import Recipe, explain
from taskprism.registry import import_parts, load_plugins
from taskprism.stores import fetch_folder, is_url
from taskprism.text_files import parse_yaml, read_yaml

_EXTENDS = "extends"
_IMPORTS = "imports"
_RECORDED = "recipe.yaml"  # in a run directory
_DATA = "data"  # folder of data YAMLs, which are not recipes


@dataclass(frozen=True)
class RecipeFile:
    """A recipe that fills one YAML file.

    Attributes:
        path: The file.

    Example:
        >>> RecipeFile(Path("recipes/mine.yaml")).name
        'mine'
    """

    path: Path

    @property
    def name(self) -> str:
        """Name of the run unless the recipe gives one."""
        return self.path.stem

    def __str__(self) -> str:
        return str(self.path)

    def values(self) -> dict[str, Any]:
        """The keys in the file, ``extends`` included.

        Raises:
            RecipeError: The file is broken.
        """
        return read_mapping(self.path)


class RecipeSource(ABC):
    """Finds recipes by name; see :func:`register_recipe_source`.

    Example:
        >>> issubclass(FolderSource, RecipeSource)
        True
    """

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Names that ``taskprism list recipes`` shows."""

    @abstractmethod
    def find(self, name: str, folder: Path) -> RecipeFile | None:
        """Recipe of that name, or None.

        Args:
            name: A name of :meth:`names`, or any other that the source knows.
            folder: Where relative paths start: the working directory, or the folder of the recipe
                that extends this one.
        """

    def is_recipe(self, content: Mapping[str, Any]) -> bool:
        """Whether a file with these keys may be a recipe; False if it is a file of this source."""
        return True


class FolderSource(RecipeSource):
    """Every YAML file below a folder: ``PREFIX/SUBFOLDER/FILE`` without the suffix.

    Files that start with ``_`` are not listed; they are there to be extended.

    Args:
        folder: The folder.
        prefix: First part of all names.
        excluded: Subfolders that hold other files.
    """

    def __init__(self, folder: Path, prefix: str = "", excluded: Sequence[str] = ()) -> None:
        self.folder = folder
        self.prefix = f"{prefix}/" if prefix else ""
        self.excluded = tuple(excluded)

    def names(self) -> list[str]:
        """Names of the files."""
        files = (path.relative_to(self.folder) for path in self.folder.rglob("*.yaml"))
        return [
            f"{self.prefix}{path.with_suffix('').as_posix()}"
            for path in files
            if path.name[0] != "_" and path.parts[0] not in self.excluded
        ]

    def find(self, name: str, folder: Path) -> RecipeFile | None:
        """File of that name."""
        if not name.startswith(self.prefix):
            return None
        path = self.folder / f"{name.removeprefix(self.prefix)}.yaml"
        return RecipeFile(path) if is_recipe(path) else None


_SOURCES: list[RecipeSource] = [FolderSource(Path(__file__).parent, excluded=[_DATA])]


def register_recipes(folder: str | Path, prefix: str = "") -> None:
    """Give the recipes in a folder names, so that they can be listed, trained and extended.

    Args:
        folder: Folder of YAML files; a file ``mine/small.yaml`` in it becomes ``mine/small``.
        prefix: First part of all names: ``my_package`` makes it ``my_package/mine/small``.

    Raises:
        InputError: The folder does not exist, or one of the names is taken.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> _ = Path(folder.name, "small.yaml").write_text("epochs: 3")
        >>> register_recipes(folder.name, prefix="my_package")
        >>> load_recipe("my_package/small").epochs
        3
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"Cannot register the recipes in {folder}: there is no such folder.")
    source = FolderSource(folder, prefix)
    for known in _SOURCES:
        if not isinstance(known, FolderSource):
            continue
        if (known.folder, known.prefix) == (folder, source.prefix):
            return
        taken = sorted({*known.names()} & {*source.names()})
        if taken:
            raise InputError(
                f"The recipe name {taken[0]!r} in {folder} is taken by {known.folder}; give "
                "register_recipes another prefix."
            )
    _SOURCES.append(source)


def register_recipe_source(source: RecipeSource) -> None:
    """Add recipes that are not one file each, such as the rows of a table.

    Example:
        >>> class One(RecipeSource):
        ...     def names(self):
        ...         return ["one"]
        ...
        ...     def find(self, name, folder):
        ...         return RecipeFile(Path("one.yaml")) if name == "one" else None
        >>> source = One()
        >>> register_recipe_source(source)
        >>> "one" in list_recipes()
        True
        >>> _SOURCES.remove(source)
    """
    if source not in _SOURCES:
        _SOURCES.append(source)


def recipe_sources() -> list[RecipeSource]:
    """All sources: taskprism's recipes first, then those of plug-ins."""
    load_plugins()
    return list(_SOURCES)


def list_recipes() -> list[str]:
    """Names of the recipes of taskprism and of its plug-ins.

    Rows of the papers' tables are recipes too; :func:`taskprism.papers.list_tables` lists them.

    Example:
        >>> "rooms/mti_net" in list_recipes()
        True
    """
    return sorted({name for source in recipe_sources() for name in source.names()})


def load_recipe(source: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    A recipe may contain ``extends: OTHER``, a file relative to it or a name: its own keys are then
    merged into those of the other, level by level (lists are replaced as a whole, except that
    ``imports`` are added up).

    The modules and files of its key ``imports`` (files relative to the recipe) are imported, so
    train only recipes that you trust. The recipe in a run directory imports nothing: pass what it
    needs to :func:`taskprism.registry.import_parts` or to ``--import`` first.

    Args:
        source: YAML file, run directory or its URL, name of :func:`list_recipes`, or a row of a
            paper's table: ``PAPER/TABLE/ROW`` (``mti_net/2a/single_task``).
        overrides: Dotted key (``optimizer.lr``) -> value; they take precedence over the file. With
            another ``data.protocol``, here or in a recipe that extends another, the old
            ``data.options`` and ``data.root`` are dropped, because they belong to the old data.

    Returns:
        The validated recipe. If it sets no ``name``, its name is that of the file or row.

    Raises:
        RecipeError: A key or value is wrong, a file is missing or broken, or files extend one
            another in a circle.
        InputError: An import fails, or what a run directory needs is not imported.

    Example:
        >>> load_recipe("rooms/mti_net", {"epochs": 3}).epochs
        3
    """
    file = find_recipe(source)
    recorded = file.path.name == _RECORDED and (file.path.parent / "manifest.json").is_file()
    values = recipe_values(file)
    if recorded and "optimiser" in values:  # the earlier spelling
        values["optimizer"] = values.pop("optimiser")
    overrides = overrides or {}
    if "data.protocol" in overrides:
        values["data"] = _for_protocol(values.get("data"), overrides["data.protocol"])
    for key, value in overrides.items():
        _set(values, key, value)
    recipe = validate(values, source=str(source))
    if recorded:
        check_imported(recipe, file.path.parent)
    else:
        import_parts(recipe.imports)
    return recipe


def check_imported(recipe: Recipe, run: Path) -> None:
    """Check that everything a run's recipe imports has been imported by the caller.

    Raises:
        InputError: A module or file is missing; the message says how to import it.
    """
    missing = [name for name in recipe.imports if _module_name(name) not in sys.modules]
    if missing:
        raise InputError(
            f"The run in {run} needs {', '.join(missing)}, and reading a run never imports code "
            f"by itself. If you trust it, pass imports={missing!r}, or on the command line "
            f"{' '.join(f'--import {name}' for name in missing)}."
        )


def _module_name(name: str) -> str:
    return Path(name).stem if name.endswith(".py") else name


def recipe_values(source: RecipeFile) -> dict[str, Any]:
    """Keys of a recipe and of all that it extends, as plain nested values.

    Raises:
        RecipeError: A file is missing or broken, or files extend one another in a circle.
    """
    return {"name": source.name, **_read(source, ())}


def validate(values: Mapping[str, Any], source: str) -> Recipe:
    """Make a recipe from plain nested values; ``source`` names their origin in errors."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, Recipe, source) from None


def find_recipe(source: str | Path) -> RecipeFile:
    """File of a recipe, given by path, run directory or name.

    Raises:
        RecipeError: There is no such file, or it is not a recipe.
        UnknownNameError: There is no recipe of that name.
    """
    if isinstance(source, str) and is_url(source):
        return _of_stored_run(source)
    path = Path(source)
    if is_recipe(path):
        return RecipeFile(path)
    if path.is_dir() and (path / _RECORDED).is_file():
        return RecipeFile(path / _RECORDED)  # a run directory holds its resolved recipe
    for each in recipe_sources():
        found = each.find(str(source), Path())
        if found is not None:
            return found
    if path.suffix in {".yaml", ".yml"}:
        raise RecipeError(f"No recipe file {path}. `taskprism list recipes` lists those available.")
    raise UnknownNameError("recipe", str(source), list_recipes())


def _of_stored_run(url: str) -> RecipeFile:
    """Recipe of a run at a URL."""
    run = url.rstrip("/").removesuffix(f"/{_RECORDED}")
    folder = fetch_folder(run, lambda name: name in (_RECORDED, "manifest.json"))
    if not (folder / _RECORDED).is_file():
        raise RecipeError(f"{run} is not a run directory: it has no {_RECORDED}.")
    return RecipeFile(folder / _RECORDED)


def is_recipe(path: Path) -> bool:
    """Whether a file is one recipe, and not a file that a source reads differently."""
    if not path.is_file():
        return False
    content = read_mapping(path)
    return all(source.is_recipe(content) for source in recipe_sources())


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every key present, in the order of the schema."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(source: RecipeFile, below: tuple[RecipeFile, ...]) -> dict[str, Any]:
    source = replace(source, path=source.path.resolve())
    if source in below:
        circle = " -> ".join(str(step) for step in (*below[below.index(source) :], source))
        raise RecipeError(f"Recipes extend one another in a circle: {circle}.")
    values = source.values()
    _anchor_paths(values, source.path.parent)
    parent = values.pop(_EXTENDS, None)
    if parent is None:
        return values
    inherited = _read(_parent(source, parent), (*below, source))
    data = values.get("data")
    if isinstance(data, dict) and "protocol" in data:
        inherited["data"] = _for_protocol(inherited.get("data"), data["protocol"])
    merged = merge(inherited, values)
    before, own = inherited.get(_IMPORTS), values.get(_IMPORTS)
    if isinstance(before, list) and isinstance(own, list):
        merged[_IMPORTS] = [*before, *(name for name in own if name not in before)]
    return merged


def _for_protocol(data: Any, protocol: Any) -> dict[str, Any]:
    """Inherited ``data`` keys for a protocol: options and root of another one do not apply."""
    kept = dict(data) if isinstance(data, dict) else {}
    if kept.get("protocol") != protocol:
        for key in ("options", "root"):
            kept.pop(key, None)
    return kept


def _parent(source: RecipeFile, parent: Any) -> RecipeFile:
    if not isinstance(parent, str):
        raise RecipeError(f"{source}: 'extends' must name one recipe, got {parent!r}.")
    folder = source.path.parent
    for candidate in (folder / parent, folder / f"{parent}.yaml"):
        if is_recipe(candidate):
            return RecipeFile(candidate)
    for each in recipe_sources():
        found = each.find(parent, folder)
        if found is not None:
            return found
    raise RecipeError(
        f"{source} extends {parent!r}, which is neither a file in {folder} nor the name of a "
        f"recipe ({', '.join(list_recipes())}), nor a row PAPER/TABLE/ROW of a paper's table."
    )


def _anchor_paths(values: dict[str, Any], folder: Path) -> None:
    """Resolve paths of data, weights and imports, which are relative to the recipe that names them.

    What does not exist there is left as it is: a name, or a path from the working directory.
    """

    def anchor(name: Any, is_path: Callable[[Path], bool]) -> Any:
        if isinstance(name, list):
            return [anchor(each, is_path) for each in name]
        if isinstance(name, dict):
            return {key: anchor(each, is_path) for key, each in name.items()}
        if is_url(name):
            return name
        found = isinstance(name, str) and name and is_path(folder / name)
        return str((folder / name).resolve()) if found else name

    imports = values.get(_IMPORTS)
    if isinstance(imports, list):
        values[_IMPORTS] = [
            str((folder / name).resolve()) if str(name).endswith(".py") else name
            for name in imports
        ]
    if "init" in values:
        values["init"] = anchor(values["init"], Path.exists)
    for section, key, is_path in (
        ("data", "protocol", _is_protocol_path),
        ("data", "root", Path.exists),
        ("data", "labels", _is_label_file),
        ("model", "pretrained", Path.exists),
    ):
        inner = values.get(section)
        if isinstance(inner, dict) and key in inner:
            values[section] = {**inner, key: anchor(inner[key], is_path)}


def _is_protocol_path(path: Path) -> bool:
    """Whether a path is a data YAML or a folder of packed shards; a name may also be a folder."""
    return path.is_file() or (path / "index.json").is_file()


def _is_label_file(path: Path) -> bool:
    """Whether a path is a file of kept labels; the names of choices have no suffix."""
    return path.is_file() and bool(path.suffix)


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.get(parent)
        values[parent] = dict(inner) if isinstance(inner, dict) else {}
        values = values[parent]
    values[last] = value


def parse_value(text: str) -> Any:
    """Value of one YAML scalar or flow collection: ``3``, ``1e-3``, ``true``, ``[192, 256]``."""
    try:
        return parse_yaml(text, "the value", RecipeError)
    except RecipeError:
        return text


def read_mapping(path: Path) -> dict[str, Any]:
    """Keys and values of a file; an empty one has none.

    Raises:
        RecipeError: The file is missing, is not valid YAML, or contains something else.
    """
    try:
        state = path.stat()
        values = copy.deepcopy(_parse(path.resolve(), state.st_mtime_ns, state.st_size))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.") from None
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise RecipeError(f"{path} must hold keys and values, not a {type(values).__name__}.")
    return values


@lru_cache(maxsize=512)
def _parse(path: Path, changed: int, size: int) -> Any:
    """Content of a file; read again only when it has changed."""
    return read_yaml(path, RecipeError)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` laid over ``below``, level by level; lists are replaced as a whole."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged
