"""Make protocols from names, classes, instances and data YAMLs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from taskprism.data.folder import FolderProtocol
from taskprism.data.folder_config import load_config
from taskprism.data.joint import JointProtocol
from taskprism.data.protocol import PROTOCOLS, Protocol
from taskprism.data.shards.index import FILE as INDEX
from taskprism.data.shards.protocol import ShardsProtocol
from taskprism.errors import InputError, UnknownNameError
from taskprism.stores.paths import AnyPath, StorePath, as_path, is_url
from taskprism.tasks.create import change_task

ProtocolLike = str | AnyPath | Protocol | type[Protocol]
"""What :func:`create_protocol` accepts as one protocol."""
Root = str | AnyPath | Mapping[str, str | AnyPath] | None

_YAML = (".yaml", ".yml")


def shipped_yamls() -> dict[str, Path]:
    """Name -> file of the data YAMLs in the package; they need a ``root``."""
    folder = Path(str(files("taskprism"))) / "recipes" / "data"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def absolute_protocol(protocol: str, folder: Path | None = None) -> str:
    """The path of a data YAML or a folder of packed shards as an absolute path; names unchanged.

    Args:
        protocol: What :func:`create_protocol` accepts as a string.
        folder: Folder that a relative path starts from; by default the working directory.
    """
    if is_url(protocol):
        return protocol
    folder = Path() if folder is None else folder
    is_path = protocol.endswith(_YAML) or (folder / protocol / INDEX).is_file()
    return str((folder / protocol).resolve()) if is_path else protocol


def list_protocols() -> list[str]:
    """Names that :func:`create_protocol` accepts: registered classes and shipped data YAMLs.

    Example:
        >>> "nyud40" in list_protocols()
        True
    """
    return sorted({*PROTOCOLS.names(), *shipped_yamls()})


def create_protocol(
    protocol: ProtocolLike | Sequence[ProtocolLike],
    root: Root = None,
    tasks: Sequence[str] | None = None,
    task_options: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    trusted: bool = True,
    **options: Any,
) -> Protocol:
    """Make a protocol.

    Args:
        protocol: One of

            * a name of :func:`list_protocols`, or ``"module:Class"``;
            * the path or URL of a data YAML, or of a folder that ``taskprism data pack`` has
              written;
            * a subclass of :class:`~taskprism.data.Protocol`, or an instance;
            * a list of these, which makes one partly labeled set of all of them.
        root: Folder of the data, or its URL (``s3://bucket/data``, or any other that fsspec opens);
            overrides the YAML's own. For a list: the folder that holds one
            folder per protocol, named like it, or a mapping protocol name -> folder. An instance
            has its own.
        tasks: Names of the tasks to read; by default all.
        task_options: Task name -> fields to change: ``{"edge": {"odsf": True, "primary_metric":
            "odsf"}}``. Scores under other metric options are not comparable with the protocol's.
        trusted: Whether ``"module:Class"`` may import the module. Set False for a name from a saved
            file, whose module must then be imported already.
        options: The protocol's options, such as ``input_size`` (``(H, W)``); for a YAML, any of its
            top-level keys. A list takes ``sampling="balanced"`` (show each set equally often in
            training) or ``"concatenated"``, and ``weights``, which maps names of sets to factors of
            their losses in training; it passes the others to every part.

    Raises:
        UnknownNameError: There is no such protocol.
        InputError: An option is unknown, or the parts do not fit together.
        DataError: The data or its YAML is invalid.

    Example:
        >>> from taskprism.data import create_protocol
        >>> create_protocol("rooms", tasks=["depth"], input_size=(48, 64)).input_size
        (48, 64)
    """
    single = isinstance(protocol, (str, Path, StorePath, Protocol, type))
    parts = [protocol] if single else list(protocol)
    if not parts:
        raise InputError("The list of protocols is empty. Give at least one.")
    joint = len(parts) > 1
    sampling = options.pop("sampling", "concatenated") if joint else "concatenated"
    weights = options.pop("weights", None) if joint else None
    made = [_create(part, root, options, joint, trusted) for part in parts]
    made = _select_tasks(made, tasks, task_options)
    return JointProtocol.of(made, sampling, weights) if joint else made[0]


def _select_tasks(
    parts: list[Protocol],
    names: Sequence[str] | None,
    changes: Mapping[str, Mapping[str, Any]] | None,
) -> list[Protocol]:
    """The protocols with some of their tasks, and these with changed fields."""
    changes = changes or {}
    known = list(dict.fromkeys(task.name for part in parts for task in part.tasks))
    for name in [*(names or ()), *changes]:
        if name not in known:
            raise UnknownNameError("task in " + " + ".join(p.name for p in parts), name, known)
    if names is None and not changes:
        return parts
    selected = []
    for part in parts:
        kept = [task for task in part.tasks if names is None or task.name in names]
        if not kept:
            raise InputError(
                f"Protocol {part.name!r} has none of the tasks {', '.join(names or ())}. Leave it "
                f"out, or choose among {', '.join(task.name for task in part.tasks)}."
            )
        changed = tuple(change_task(task, changes.get(task.name, {})) for task in kept)
        selected.append(dataclasses.replace(part, tasks=changed))
    return selected


def _create(
    protocol: ProtocolLike, root: Root, options: Mapping[str, Any], joint: bool, trusted: bool
) -> Protocol:
    if isinstance(protocol, Protocol):
        return _from_instance(protocol, root, options, joint)
    if isinstance(protocol, type):
        return _from_class(PROTOCOLS.find(protocol), root, options, joint)
    if not isinstance(protocol, (str, Path, StorePath)):
        raise InputError(
            "Expected the name of a protocol, 'module:Class', the path of a data YAML, a Protocol "
            f"class or an instance, got {protocol!r}."
        )
    name = str(protocol)
    place = as_path(name)
    path = place if name.endswith(_YAML) else None
    if path is None and (place / INDEX).is_file():
        return ShardsProtocol.from_options(options, place)
    if path is None and isinstance(place, StorePath):
        raise InputError(
            f"{place} is neither a data YAML nor a folder that `taskprism data pack` has written "
            f"(it has no {INDEX})."
        )
    if path is None and name not in PROTOCOLS:
        path = shipped_yamls().get(name)
    if path is not None:
        own_name = load_config(path).name
        return FolderProtocol.from_yaml(path, _folder(root, own_name, joint), **options)
    if name not in PROTOCOLS and ":" not in name:
        raise UnknownNameError("protocol (or path of a data .yaml)", name, list_protocols())
    kind = PROTOCOLS.find(name) if trusted else PROTOCOLS.find_saved(name)
    return _from_class(kind, root, options, joint)


def _from_class(
    kind: type[Protocol], root: Root, options: Mapping[str, Any], joint: bool
) -> Protocol:
    folder = _folder(root, kind.name, joint)
    # A generator that is joined with folders needs no folder.
    if joint and folder is not None and not folder.is_dir():
        folder = None
    if isinstance(folder, StorePath) and kind is not ShardsProtocol:
        raise InputError(
            f"Protocol {kind.name!r} reads a local folder, not {folder}. Pack it with `taskprism "
            "data pack` and give the URL of the packed folder, or describe the data with a YAML."
        )
    return kind.from_options(options, folder)


def _from_instance(
    protocol: Protocol, root: Root, options: Mapping[str, Any], joint: bool
) -> Protocol:
    if root is not None and not joint:
        raise InputError(
            f"Protocol {protocol.name!r} is an instance, which has its own root. Leave out root, "
            "or give the class."
        )
    return protocol.with_options(options) if options else protocol


def _folder(root: Root, name: str, joint: bool) -> AnyPath | None:
    if isinstance(root, Mapping):
        return as_path(root[name]) if name in root else None
    if root is None:
        return None
    return as_path(root) / name if joint else as_path(root)
