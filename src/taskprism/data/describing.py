"""Text about a protocol: where to get its data, what they look like, how it is scored."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

from taskprism.data.benchmarks.base import BenchmarkProtocol
from taskprism.data.create import create_protocol, shipped_yamls
from taskprism.data.folder_config import load_config
from taskprism.data.protocol import Protocol

_YAML = (".yaml", ".yml")


def describe_protocol(name: str) -> str:
    """Text about a protocol, or about a data YAML.

    Raises:
        UnknownNameError: There is no such protocol.
        DataError: The YAML is invalid.
    """
    path = shipped_yamls().get(name, Path(name))
    if path.suffix in _YAML:
        return _describe_yaml(path)
    protocol = create_protocol(name)
    parts = [f"{protocol.name}: {_summary(protocol)}", ""]
    if isinstance(protocol, BenchmarkProtocol):
        parts += [
            f"Get it: {protocol.source}",
            f"License: {protocol.license}",
            f"Used by: {', '.join(protocol.used_by)}",
            "",
            *_tasks(protocol),
            *_settings(protocol),
            "",
            "Conventions:",
            *[f"  - {line}" for line in protocol.conventions],
            *_variants(protocol),
        ]
    else:
        parts += [f"License: {protocol.license}", "", *_tasks(protocol)]
        parts += [f"Splits: {', '.join(protocol.splits)}", f"Input size: {_size(protocol)}"]
    return "\n".join(parts)


def _summary(protocol: Protocol) -> str:
    return (inspect.getdoc(type(protocol)) or "").partition("\n")[0]


def _size(protocol: Protocol) -> str:
    return f"{protocol.input_size[0]} x {protocol.input_size[1]} (height x width)"


def _tasks(protocol: Protocol) -> list[str]:
    lines = ["Tasks:"]
    for task in protocol.tasks:
        kind = "" if task.kind == task.name else f" ({task.kind})"
        channels = f", {task.channels} channels" if task.channels > 1 else ""
        lines.append(
            f"  {task.name}{kind}{channels}, loss weight {task.loss_weight:g}, "
            f"ranked by {task.primary_metric}"
        )
    return lines


def _settings(protocol: BenchmarkProtocol) -> list[str]:
    counts = (f"{split} {protocol.counts.get(split, '?')}" for split in protocol.splits)
    lines = [f"Splits: {', '.join(counts)}", f"Input size: {_size(protocol)}"]
    lines.append(f"Scored at the {protocol.evaluation} resolution (evaluation=network|original)")
    lines.append("Augmentation (augmentation=..., border=ignore|zero):")
    for name, chosen in protocol.augmentations.items():
        mark = " [default]" if name == protocol.augmentation else ""
        lines.append(f"  {name}{mark}: {chosen.summary}")
    general = {field.name for field in dataclasses.fields(BenchmarkProtocol)}
    own = [field.name for field in dataclasses.fields(protocol) if field.name not in general]
    if own:
        values = ", ".join(f"{name}={getattr(protocol, name)!r}" for name in own)
        lines.append(f"Further options: {values}")
    return lines


def _variants(protocol: BenchmarkProtocol) -> list[str]:
    lines = []
    for variant in protocol.variants():
        lines += ["", f"Variant {variant.name!r}: {variant.summary}"]
        lines += [f"  {line}" for line in variant.tree.splitlines()]
    return lines


def _describe_yaml(path: Path) -> str:
    config = load_config(path)
    lines = [f"{config.name}: a folder of images, declared in {path}", ""]
    lines += [f"License: {config.license}", f"Root: {config.root or 'pass it as root=...'}", ""]
    lines += ["Tree:", f"  {config.image}"]
    for name, task in config.tasks.items():
        lines.append(f"  {task.path}  {name}{f' ({task.kind})' if task.kind else ''}")
    sources = {
        split: ", ".join(f"{k} {v}" for k, v in source.model_dump(exclude_none=True).items())
        for split, source in config.splits.items()
    }
    lines += ["Splits:", *[f"  {split}: {source}" for split, source in sources.items()]]
    lines.append(f"Input size: {config.input_size[0]} x {config.input_size[1]} (height x width)")
    return "\n".join(lines)
