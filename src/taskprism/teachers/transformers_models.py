"""Depth and segmentation models of the ``transformers`` library as teachers."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from taskprism.errors import CheckpointError, InputError, TaskprismError, UnknownNameError
from taskprism.extras import import_extra
from taskprism.layers import resize
from taskprism.tasks import create_task
from taskprism.tasks.base import Task
from taskprism.teachers.base import Teacher, hash_weights, register_teacher
from taskprism.teachers.model_cards import license_of_card
from taskprism.text_files import read_json, read_yaml

_DEPTH, _SEGMENTATION = "ForDepthEstimation", "ForSemanticSegmentation"
#: Model types whose processor returns meters; others say it in their config, or do not say it.
_METRIC_TYPES = ("depth_pro", "glpn", "zoedepth")
_TYPES = {"relative": "inverse", "metric": "metric"}


@register_teacher
class TransformersTeacher(Teacher):
    """A model for depth estimation or semantic segmentation of ``transformers``.

    Images go through the image processor that is saved with the model. A depth model labels
    ``depth`` in meters if its values are meters, otherwise ``inverse_depth``: such networks
    (MiDaS, relative Depth Anything) predict 1 / depth up to a factor and an offset that differ
    between images, so each map is divided by its largest value and lies in [0, 1]. A segmentation
    model labels ``semseg``.

    Args:
        source: A folder, or a hub id.
        device: Where it runs.
        imports: Not used.
        depth: What a depth model predicts: ``"metric"`` (meters) or ``"inverse"``. By default what
            its config says; a model that does not say it is refused.
        classes: YAML or JSON file ``{class of the model: your class}`` for segmentation. Several
            classes may become one; null, and classes that are not listed, mean no label. Classes
            of the model are names of its ``id2label``, or numbers.
        revision: Branch, tag or commit on the hub.

    Raises:
        InputError: ``transformers`` is not installed, the model is of another kind, or the unit of
            its depth is not known.
        CheckpointError: The model cannot be loaded.

    Example:
        >>> teacher = TransformersTeacher("models/segformer", classes="classes.yaml")
        ... # doctest: +SKIP
    """

    name = "transformers"

    def __init__(
        self,
        source: str,
        device: torch.device | str = "cpu",
        imports: Iterable[str | Path] = (),
        depth: Literal["auto", "metric", "inverse"] = "auto",
        classes: str | None = None,
        revision: str | None = None,
    ) -> None:
        self.source = source
        library = _library(source)
        config = _load(source, library.AutoConfig, revision)
        kind = _kind(source, config)
        if classes is not None and kind != _SEGMENTATION:
            raise InputError(f"{source} estimates depth. Leave out the option classes.")
        self.is_metric = kind == _DEPTH and _depth_of(source, config, depth) == "metric"
        part = getattr(library, f"AutoModel{kind}")
        self.processor = _load(source, library.AutoImageProcessor, revision)
        self.model = _load(source, part, revision).to(device).eval()
        self.device = device
        self.license = _license(source, revision)
        self.settings = {"config": config.to_diff_dict(), "metric": self.is_metric}
        self.notes = []
        self.groups: list[list[int]] = []
        if kind == _DEPTH:
            self.tasks = (create_task("depth" if self.is_metric else "inverse_depth"),)
        else:
            self.tasks = (self._segmentation(config.id2label, classes),)

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``config.json`` there has the key ``model_type``."""
        try:
            return "model_type" in read_json(_config_file(source))
        except (TaskprismError, TypeError):
            return False

    def outputs(self, images: Sequence[Tensor], tasks: Sequence[str]) -> list[dict[str, Tensor]]:
        """Raw outputs: depth at the size of each image, logits at that of the network."""
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, image in enumerate(images):
            by_size[(image.shape[-2], image.shape[-1])].append(index)
        results: list[dict[str, Tensor]] = [{} for _ in images]
        for size, members in by_size.items():
            maps = self._run([images[index] for index in members], size)
            for index, values in zip(members, maps, strict=True):
                results[index] = {self.tasks[0].name: values[None]}
        return results

    def fingerprint(self) -> str:
        """Hash of weights, configuration, processor and classes."""
        settings = {**self.settings, "processor": self.processor.to_dict(), "groups": self.groups}
        settings["processor"].pop("processor_class", None)
        return hash_weights(self.model, settings)

    def decode(self, task: Task, output: Tensor, size: tuple[int, int]) -> Tensor:
        """As for any teacher; the last channel of a segmentation is "none of the classes"."""
        if not self.groups:
            return super().decode(task, output, size)
        return super().decode(task, output[:, :-1], size)

    def confidence(self, task: Task, output: Tensor, flipped: Tensor | None) -> Tensor:
        """Probability among all classes of the model; 0 where none of yours is most probable."""
        if not self.groups:
            return super().confidence(task, output, flipped)
        probability = output.softmax(dim=1)
        best = probability[:, :-1].amax(dim=1, keepdim=True)
        return torch.where(best > probability[:, -1:], best, 0)

    def _run(self, images: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Maps ``(C, h, w)`` of images of one size."""
        pictures = [(image * 255).round().to(torch.uint8) for image in images]
        options: dict[str, Any] = {"input_data_format": "channels_first"}
        if getattr(self.processor, "do_center_crop", None):
            options["do_center_crop"] = False  # every pixel of the image gets a label
        inputs = self.processor(images=pictures, return_tensors="pt", **options).to(self.device)
        found = self.model(**inputs)
        if self.groups:
            return list(self._grouped(found.logits.float()))
        process = getattr(self.processor, "post_process_depth_estimation", None)
        if process is None:
            return list(resize(found.predicted_depth.float().unsqueeze(1), size))
        sizes = [size] * len(images)
        known = inspect.signature(process).parameters
        extra = {"source_sizes": sizes} if "source_sizes" in known else {}
        maps = [each["predicted_depth"] for each in process(found, target_sizes=sizes, **extra)]
        return [self._in_units(each.float().reshape(1, *size)) for each in maps]

    def _in_units(self, values: Tensor) -> Tensor:
        if self.is_metric:
            return values
        values = values.clamp(min=0)
        return values / values.max().clamp(min=torch.finfo(torch.float32).tiny)

    def _grouped(self, logits: Tensor) -> Tensor:
        """Log-probabilities of your classes, and of none of them, ``(B, classes + 1, h, w)``."""
        log = logits.log_softmax(dim=1)
        none = sorted(set(range(log.shape[1])).difference(*self.groups))
        parts = [log[:, members].logsumexp(dim=1) for members in self.groups]
        last = log[:, none].logsumexp(dim=1) if none else torch.full_like(parts[0], -1e4)
        return torch.stack([*parts, last], dim=1)

    def _segmentation(self, id2label: Mapping[int, str], file: str | None) -> Task:
        names = [str(id2label[index]) for index in sorted(id2label)]
        if file is None:
            self.groups = [[index] for index in range(len(names))]
            shown = [re.sub(r"[/\\]", "-", name).strip().lstrip(".") for name in names]
            return create_task("semseg", class_names=shown)
        stored = read_json(Path(file)) if file.endswith(".json") else read_yaml(Path(file))
        if not isinstance(stored, dict) or not any(stored.values()):
            raise InputError(f"{file}: expected a mapping of classes of the model to yours.")
        members: dict[str, list[int]] = {}
        listed: set[int] = set()
        for key, target in stored.items():
            index = _class_index(key, names, file)
            listed.add(index)
            if target is not None:
                members.setdefault(str(target), []).append(index)
        if len(listed) < len(names):
            left = [name for index, name in enumerate(names) if index not in listed]
            self.notes = [
                f"{len(left)} of {len(names)} classes of the model are not in {file}, so their "
                f"pixels get no label: {', '.join(left[:5])}{', ...' if len(left) > 5 else ''}."
            ]
        self.groups = list(members.values())
        return create_task("semseg", class_names=list(members))


def _class_index(key: Any, names: Sequence[str], file: str) -> int:
    if isinstance(key, str) and key in names:
        return names.index(key)
    number = int(key) if str(key).isdecimal() else -1
    if not 0 <= number < len(names):
        raise UnknownNameError(f"class of the model in {file}", key, names)
    return number


def _library(source: str) -> Any:
    return import_extra("transformers", "teachers", f"Loading {source}")


def _load(source: str, part: Any, revision: str | None) -> Any:
    try:
        return part.from_pretrained(source, revision=revision)
    except Exception as error:  # the library has no common base for "offline", "broken", ...
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"Cannot load {source} with {part.__name__}: {reason}") from error


def _kind(source: str, config: Any) -> str:
    architectures = getattr(config, "architectures", None) or []
    for kind in (_DEPTH, _SEGMENTATION):
        if any(name.endswith(kind) for name in architectures):
            return kind
    raise InputError(
        f"{source} is a {', '.join(architectures) or config.model_type}. A teacher is a model for "
        "depth estimation or semantic segmentation."
    )


def _depth_of(source: str, config: Any, stated: str) -> str:
    """``"metric"`` or ``"inverse"``."""
    known = _TYPES.get(str(getattr(config, "depth_estimation_type", None)))
    if config.model_type in _METRIC_TYPES:
        known = "metric"
    if known is None and stated == "auto":
        raise InputError(
            f"The config of {source} ({config.model_type}) does not say whether it predicts meters "
            "or inverse depth. Look at its model card, then set the option depth=metric or "
            "depth=inverse."
        )
    if known is not None and stated not in ("auto", known):
        raise InputError(
            f"The option depth is {stated!r}, but {source} ({config.model_type}) predicts "
            f"{'meters' if known == 'metric' else 'inverse depth'}. Leave out the option."
        )
    return known or stated


def _config_file(source: str) -> Path:
    """``config.json`` of a folder or of a model of the hub."""
    path = Path(source) / "config.json"
    if path.is_file() or not re.fullmatch(r"[\w\-]+/[\w\-.]+", source) or Path(source).exists():
        return path
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(source, "config.json"))
    except Exception:  # offline, gone or private: no common base
        return path


def _license(source: str, revision: str | None) -> str:
    if Path(source).is_dir():
        return license_of_card(Path(source))
    from huggingface_hub import hf_hub_download

    try:
        return license_of_card(Path(hf_hub_download(source, "README.md", revision=revision)).parent)
    except Exception:  # a model without a card, or offline: the license is not known
        return ""
