"""The registry of parts by name, with which parts outside the package are added.

A part is a task, model, distillation, head, backbone, protocol, metric or balancer. Wherever
taskprism accepts the name of a part, it accepts

* a registered name: ``"mti_net"``;
* ``"module:Class"``, which imports the module: ``"my_parts:MyModel"``;
* the class (or factory) itself, and where one object is used, an instance.

Three ways register a part by name:

* a decorator in any module that is imported: ``@taskprism.register_model``;
* the recipe key ``imports: [my_parts]``, or ``--import my_parts.py`` on the command line, which
  import such a module (see :func:`import_parts`);
* the entry-point group ``taskprism.plugins`` of an installed package. Its entries name modules,
  which are imported the first time a part is looked up.

Example:
    >>> from taskprism.registry import Registry
    >>> class Shape:
    ...     pass
    >>> shapes = Registry("shape", Shape)
    >>> @shapes.register("square")
    ... class Square(Shape):
    ...     pass
    >>> shapes.names()
    ['square']
    >>> shapes.find("square") is shapes.find(Square) is Square
    True

Saved files name parts as ``module:Class``. :meth:`Registry.find_saved` resolves these and never
imports a module: see there.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast, overload

from taskprism.checks import check_name
from taskprism.errors import InputError, TaskprismError, UnknownNameError

PLUGIN_GROUP = "taskprism.plugins"

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """One registered part.

    Attributes:
        name: Its name.
        part: The class or factory.
        origin: ``module:Class`` of the part.
    """

    name: str
    part: Any
    origin: str

    @property
    def builtin(self) -> bool:
        """Whether the part is in taskprism itself."""
        return self.origin.startswith("taskprism.")


class Registry(Generic[T]):
    """Parts of one kind by name.

    Args:
        kind: What the parts are, in messages and in ``taskprism list``: ``"model"``.
        base: Class that every registered class derives from. A factory (function that returns an
            instance) is accepted if ``factories`` is set.
        key: Class attribute that holds the name of a class, if the decorator gives none.
        package: Package of the built-in parts; all its modules are imported at the first lookup.
        factories: Whether functions can be registered.

    Raises:
        InputError: A registry of this kind exists.
    """

    #: Every registry by kind.
    all: ClassVar[dict[str, Registry[Any]]] = {}

    def __init__(
        self,
        kind: str,
        base: type[Any],
        *,
        key: str = "name",
        package: str | None = None,
        factories: bool = False,
    ) -> None:
        self.kind = kind
        self.base = base
        self.key = key
        self.package = package
        self.factories = factories
        self._entries: dict[str, Entry] = {}
        self._discovered = package is None
        Registry.all[kind] = self

    @overload
    def register(self, part: C) -> C: ...
    @overload
    def register(self, part: str | None = None, /) -> Callable[[C], C]: ...

    def register(self, part: Any = None) -> Any:
        """Class decorator, bare or with a name: ``@register`` or ``@register("my_name")``.

        Raises:
            InputError: The part is of another kind, has no valid name, or its name is taken by
                another class.
        """
        if part is None or isinstance(part, str):
            return lambda decorated: self._add(decorated, part)
        return self._add(part, None)

    def _add(self, part: C, name: str | None) -> C:
        origin = describe_part(part)
        self.check(part, origin)
        if name is None:
            name = part.__name__ if inspect.isfunction(part) else getattr(part, self.key, None)
        if name is None:
            raise InputError(
                f"Cannot register {origin} as {self.kind}: it has no name. Set its class "
                f"attribute {self.key!r}, or give the decorator a name."
            )
        check_name(f"Cannot register {origin} as {self.kind}", self.key, name)
        taken = self._entries.get(name)
        # Running a notebook cell or importing a file again replaces its own parts.
        if taken is not None and taken.part is not part and taken.origin != origin:
            raise InputError(
                f"The {self.kind} name {name!r} is taken by {taken.origin}; give {origin} "
                "another name."
            )
        self._entries[name] = Entry(name, part, origin)
        return part

    def names(self) -> list[str]:
        """Registered names in alphabetical order."""
        self._discover()
        return sorted(self._entries)

    def entries(self) -> list[Entry]:
        """Registered parts in the order of :meth:`names`."""
        return [self._entries[name] for name in self.names()]

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        self._discover()
        return len(self._entries)

    def find(self, part: str | T | Callable[..., Any]) -> Any:
        """Class or factory of a registered name, of ``"module:Class"``, or given as such.

        Raises:
            UnknownNameError: No part has that name.
            InputError: The module cannot be imported, or what is named is not a part of this kind.
        """
        if not isinstance(part, str):
            self.check(part, describe_part(part))
            return part
        registered = self._registered(part)
        if registered is not None:
            return registered
        module, _, attribute = part.partition(":")
        try:
            found = importlib.import_module(module)
        except ImportError as error:
            raise InputError(
                f"Cannot import module {module!r} of {self.kind} {part!r}: {error}. Install it, "
                "add its folder to PYTHONPATH, or give its file with --import."
            ) from error
        return self._class_or_registered(found, attribute, part)

    def find_saved(self, part: str) -> Any:
        """Class or factory named in a saved file, which may come from someone you do not trust.

        Nothing is imported. A registered name or ``module:Class`` resolves if the part is
        registered, or if its module is imported already and it is a class of this kind.

        Raises:
            UnknownNameError: No part has that name.
            InputError: The module is not imported; the message says what to import.
        """
        if not isinstance(part, str):
            raise InputError(f"Expected the name of a {self.kind}, got {part!r}.")
        registered = self._registered(part)
        if registered is not None:
            return registered
        module, _, attribute = part.partition(":")
        if module not in sys.modules:
            raise InputError(
                f"This file needs the {self.kind} {part!r}, whose module {module!r} is not "
                "imported. Loading a file never imports code by itself: if you trust the module, "
                f"import it first, pass imports=[{module!r}], or on the command line "
                f"--import {module}."
            )
        return self._class_or_registered(sys.modules[module], attribute, part)

    def _registered(self, name: str) -> Any:
        """Part with this name or origin; None for the ``module:Class`` of another.

        Raises:
            UnknownNameError: The name is neither registered nor of the form ``module:Class``.
        """
        # Discovery imports every part and plug-in; a name that is registered does not need it.
        if name not in self._entries:
            self._discover()
        if name in self._entries:
            return self._entries[name].part
        if ":" not in name:
            raise UnknownNameError(self.kind, name, self._entries)
        return next((e.part for e in self._entries.values() if e.origin == name), None)

    def name_of(self, part: Any) -> str:
        """How saved files name a class or factory: a built-in's name, else ``module:Class``.

        Raises:
            InputError: It is defined inside a function, so no name leads to it.
        """
        for entry in self._entries.values():  # a class that exists has been registered
            if entry.part is part and entry.builtin:
                return entry.name
        registered = any(entry.part is part for entry in self._entries.values())
        origin = describe_part(part)
        if "<" in origin and not registered:
            raise InputError(
                f"{origin} is defined inside a function, so a saved file cannot name it. Define it "
                f"at the top of a module, or register it with @register_{self.kind}."
            )
        return origin

    def check(self, part: Any, name: str) -> None:
        """Raise :class:`InputError` if ``part`` is not a class (or factory) of this kind."""
        if inspect.isclass(part):
            if issubclass(part, self.base):
                return
        elif self.factories and callable(part):
            return
        factory = " or a function that returns one" if self.factories else ""
        raise InputError(
            f"Expected a {self.kind}: a registered name, 'module:Class', or a subclass of "
            f"{self.base.__module__}.{self.base.__name__}{factory}; got {name}."
        )

    def _class_or_registered(self, module: Any, attribute: str, name: str) -> Any:
        """What a text names; never any function that is not meant to create such a part."""
        found = self._attribute(module, attribute, name)
        if not inspect.isclass(found) and all(e.part is not found for e in self._entries.values()):
            raise InputError(
                f"{name!r} is a function that is not registered as a {self.kind}, so its name is "
                f"not enough. Register it with @register_{self.kind}, or pass the function."
            )
        return found

    def _attribute(self, module: Any, attribute: str, name: str) -> Any:
        found = module
        for step in attribute.split("."):
            # Only what the module itself holds: no lazy attribute runs code.
            if step not in vars(found):
                raise InputError(
                    f"Module {module.__name__!r} has no {attribute!r} (looking for the "
                    f"{self.kind} {name!r})."
                )
            found = vars(found)[step]
        self.check(found, repr(name))
        return found

    def _discover(self) -> None:
        if not self._discovered:
            self._discovered = True
            package = importlib.import_module(cast(str, self.package))
            for module in pkgutil.walk_packages(package.__path__, f"{self.package}."):
                importlib.import_module(module.name)
        load_plugins()


def describe_part(part: Any) -> str:
    """``module:Class`` of a class or function; of anything else its ``repr``."""
    module, name = getattr(part, "__module__", None), getattr(part, "__qualname__", None)
    return f"{module}:{name}" if module and name else repr(part)


def load_plugins() -> None:
    """Import the modules of the entry-point group ``taskprism.plugins``, once.

    A plug-in that cannot be imported is reported as a warning and left out.
    """
    if _Plugins.loaded:
        return
    _Plugins.loaded = True
    for point in metadata.entry_points(group=PLUGIN_GROUP):
        try:
            point.load()
        except Exception as error:  # a stranger's package must not end every command
            warnings.warn(
                f"Plug-in {point.name!r} ({point.value}) could not be imported and is left out: "
                f"{type(error).__name__}: {error}",
                stacklevel=2,
            )


class _Plugins:
    """Whether installed plug-ins have been imported."""

    loaded = False


def import_parts(imports: Iterable[str | Path], folder: Path | None = None) -> None:
    """Import modules that register parts.

    Args:
        imports: Module names, or paths of Python files (which end in ``.py``). A file is imported
            under its stem, as if its folder were in ``PYTHONPATH``.
        folder: What relative paths start from; by default the working directory.

    Raises:
        InputError: A module or file cannot be imported.

    Example:
        >>> import_parts(["json"])  # a module; or the path of a file, parts/mine.py
    """
    for name in imports:
        if str(name).endswith(".py"):
            _import_file((folder or Path()) / name)
            continue
        try:
            importlib.import_module(str(name))
        except TaskprismError:
            raise
        except Exception as error:  # the user's code may raise anything
            raise InputError(
                f"Cannot import {str(name)!r}: {type(error).__name__}: {error}. Give the name of "
                "an installed module or the path of a Python file (ending in .py)."
            ) from error


def _import_file(path: Path) -> None:
    path = path.resolve()
    if not path.is_file():
        raise InputError(f"Cannot import {str(path)!r}: there is no such file.")
    name = path.stem
    known = sys.modules.get(name)
    if known is not None:
        if Path(getattr(known, "__file__", None) or "").resolve() == path:
            return
        raise InputError(
            f"Cannot import {str(path)!r}: another module named {name!r} is imported already "
            f"({getattr(known, '__file__', 'built in')}). Rename the file."
        )
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"Cannot import {str(path)!r}: it is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # the file may import others of its folder
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception) or isinstance(error, TaskprismError):
            raise
        raise InputError(f"Cannot import {str(path)!r}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Keyword options of a function or class, ``name -> default``, without required arguments."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }


def check_options(owner: str, options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise :class:`~taskprism.errors.UnknownNameError` for the first option that is not known.

    Args:
        owner: Whose options they are, for the message: ``"model 'mti_net'"``.
        options: What the user gave.
        known: Names of the options that exist.
    """
    names = sorted(known)
    for option in options:
        if option not in names:
            raise UnknownNameError(f"option of {owner}", option, names)


@contextmanager
def temporary_parts() -> Iterator[None]:
    """Forget at the end what was registered inside; for tests and notebooks."""
    # Built-in parts and plug-ins are imported once; imported inside, they would be forgotten too.
    for registry in list(Registry.all.values()):
        registry._discover()
    before = {kind: dict(registry._entries) for kind, registry in Registry.all.items()}
    try:
        yield
    finally:
        for kind, registry in Registry.all.items():
            registry._entries = before.get(kind, registry._entries)
