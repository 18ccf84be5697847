"""The list of protocols, and the one function that makes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from taskprism.data.benchmarks.bsds import Bsds500Protocol
from taskprism.data.benchmarks.cityscapes import (
    Cityscapes2Protocol,
    Cityscapes7Protocol,
    Cityscapes19Protocol,
)
from taskprism.data.benchmarks.fsv import FsvProtocol
from taskprism.data.benchmarks.nyud import Nyud13Protocol, Nyud40Protocol, Nyud41Protocol
from taskprism.data.benchmarks.pascal_context import PascalContextProtocol
from taskprism.data.benchmarks.saliency_sets import Msra10kProtocol, PascalSProtocol
from taskprism.data.benchmarks.voc import SbdProtocol, Voc12Protocol
from taskprism.data.folder import FolderProtocol
from taskprism.data.folder_config import load_config
from taskprism.data.joint import JointProtocol
from taskprism.data.protocol import Protocol
from taskprism.data.shards.index import FILE as INDEX
from taskprism.data.shards.protocol import ShardsProtocol
from taskprism.errors import InputError, UnknownNameError
from taskprism.rooms.protocol import RoomsProtocol
from taskprism.tasks.registry import change_task

#: Protocols with code of their own; the list is the registry.
PROTOCOLS: list[type[Protocol]] = [
    RoomsProtocol,
    Nyud40Protocol,
    Nyud41Protocol,
    Nyud13Protocol,
    Cityscapes19Protocol,
    Cityscapes7Protocol,
    Cityscapes2Protocol,
    PascalContextProtocol,
    FsvProtocol,
    Voc12Protocol,
    SbdProtocol,
    Msra10kProtocol,
    PascalSProtocol,
    Bsds500Protocol,
    ShardsProtocol,
]

Root = str | Path | Mapping[str, str | Path] | None

_YAML = (".yaml", ".yml")
_FIXED = ("name", "root", "tasks", "license")  # what a protocol is, or is given in another way


def shipped_yamls() -> dict[str, Path]:
    """Name -> file of the data YAMLs in the package; they need a ``root``."""
    folder = Path(str(files("taskprism"))) / "recipes" / "data"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def list_protocols() -> list[str]:
    """Names that :func:`create_protocol` knows; a path of a data YAML works too."""
    return [protocol.name for protocol in PROTOCOLS] + list(shipped_yamls())


def create_protocol(
    name: str | Path | Sequence[str],
    root: Root = None,
    tasks: Sequence[str] | None = None,
    task_options: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> Protocol:
    """Make a protocol.

    Args:
        name: One of :func:`list_protocols`, the path of a data YAML or of a folder that
            ``taskprism data pack`` has written, or a list of these, which makes one partly labeled
            set of all of them.
        root: Folder of the data; overrides the YAML's own. For a list: the folder that holds one
            folder per protocol, named like it, or a mapping protocol name -> folder.
        tasks: Names of the tasks to read, when not all are wanted.
        task_options: Task name -> fields that are to have other values than the protocol gives
            them: ``{"edge": {"odsf": True, "primary_metric": "odsf"}}``. Scores under other metric
            options are no longer the protocol's own.
        options: The protocol's own options, such as ``input_size`` (``(H, W)``); for a YAML, any
            of its top-level keys. A list takes ``sampling="balanced"`` (show each set equally often
            in training) or ``"concatenated"``, and hands the others to every part.

    Raises:
        UnknownNameError: If there is no such protocol.
        InputError: If an option is unknown or the parts do not fit together.
        DataError: If the data or its YAML is wrong.
    """
    names = [str(name)] if isinstance(name, (str, Path)) else [str(part) for part in name]
    if not names:
        raise InputError("An empty list of protocols; name at least one.")
    if len(names) == 1:
        return _only([_create(names[0], root, options, joint=False)], tasks, task_options)[0]
    sampling = options.pop("sampling", "concatenated")
    parts = [_create(part, root, options, joint=True) for part in names]
    return JointProtocol.of(_only(parts, tasks, task_options), sampling)


def _only(
    parts: list[Protocol],
    names: Sequence[str] | None,
    changes: Mapping[str, Mapping[str, Any]] | None,
) -> list[Protocol]:
    """The protocols with some of their tasks, and these with other fields."""
    changes = changes or {}
    known = list(dict.fromkeys(task.name for part in parts for task in part.tasks))
    for name in [*(names or ()), *changes]:
        if name not in known:
            raise UnknownNameError("task in " + " + ".join(p.name for p in parts), name, known)
    if names is None and not changes:
        return parts
    kept = []
    for part in parts:
        left = [task for task in part.tasks if names is None or task.name in names]
        if not left:
            raise InputError(
                f"Protocol {part.name!r} has none of the tasks {', '.join(names or ())}; leave it "
                f"out, or take one of {', '.join(task.name for task in part.tasks)}."
            )
        changed = tuple(change_task(task, changes.get(task.name, {})) for task in left)
        kept.append(dataclasses.replace(part, tasks=changed))
    return kept


def _create(name: str, root: Root, options: Mapping[str, Any], *, joint: bool) -> Protocol:
    classes = {protocol.name: protocol for protocol in PROTOCOLS}
    if (Path(name) / INDEX).is_file():
        return _from_class(ShardsProtocol, Path(name), options)
    if name in classes:
        folder = _folder(root, name, joint)
        # A generator among folders needs no folder of its own.
        if joint and folder is not None and not folder.is_dir():
            folder = None
        return _from_class(classes[name], folder, options)
    path = shipped_yamls().get(name)
    if path is None and name.endswith(_YAML):
        path = Path(name)
    if path is None:
        raise UnknownNameError("protocol (or path of a data .yaml)", name, list_protocols())
    own_name = load_config(path).name
    return FolderProtocol.from_yaml(path, _folder(root, own_name, joint), **options)


def _folder(root: Root, name: str, joint: bool) -> Path | None:
    if isinstance(root, Mapping):
        return Path(root[name]) if name in root else None
    if root is None:
        return None
    return Path(root) / name if joint else Path(root)


def _from_class(
    protocol: type[Protocol], folder: Path | None, options: Mapping[str, Any]
) -> Protocol:
    known = [f.name for f in dataclasses.fields(protocol) if f.init and f.name not in _FIXED]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(
            f"Protocol {protocol.name!r} has no option {', '.join(unknown)}; it has "
            f"{', '.join(known)}."
        )
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.items()
    }
    if folder is not None:
        values["root"] = str(folder)
    return protocol(**values)
