"""A recipe: one file that says everything about a run.

The classes here are the schema: every key with its meaning, range and default. Reading the files
is in :mod:`taskprism.recipes.files`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from taskprism.errors import RecipeError
from taskprism.options import read_trainable, refuse_boolean
from taskprism.stores.paths import is_url


class Strict(BaseModel):
    """Frozen settings that refuse unknown keys, numbers that are not finite, and true as 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_not_one(cls, value: Any, info: ValidationInfo) -> Any:
        types = {*_flat_types(cls.model_fields[str(info.field_name)].annotation)}
        return value if bool in types or not types & {int, float} else refuse_boolean(value)


def _flat_types(annotation: Any) -> Iterator[Any]:
    """Types in an annotation such as ``int | None``, without those inside containers."""
    if get_origin(annotation) in (Union, UnionType):
        for argument in get_args(annotation):
            yield from _flat_types(argument)
    else:
        yield annotation


_Milestone = Annotated[float, BeforeValidator(refuse_boolean), Field(gt=0)]
_Weight = Annotated[float, BeforeValidator(refuse_boolean), Field(ge=0)]
_MOST_EPOCHS = 1_000_000
_MOST_SHOWN = 20  # keys in a message


def _without_own_keys(options: dict[str, Any], own: Mapping[str, str], where: str) -> Any:
    """Refuse options that have a key elsewhere in the recipe."""
    for key, place in own.items():
        if key in options:
            raise ValueError(f"{where} has no option {key!r}; set {place} instead")
    return options


class ModelSettings(Strict):
    """Which system, on which backbone (the arguments of ``create_model``).

    Example:
        >>> ModelSettings(name="mti_net", options={"neck_channels": 64}).backbone
        'hrnet_w18_small_v2'
    """

    name: str = Field("multi_task", description="a name from `taskprism list models`")
    backbone: str = Field(
        "hrnet_w18_small_v2", description="any timm name; see `taskprism list backbones`"
    )
    pretrained: bool | str = Field(
        False, description="True: timm's weights from the hub; a path: a local file; or a package"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of the model: --model.options.KEY VALUE"
    )

    @field_validator("options")
    @classmethod
    def _names_no_model(cls, value: dict[str, Any]) -> Any:
        own = {"name": "model.name", "backbone": "model.backbone", "pretrained": "model.pretrained"}
        own |= {"tasks": "tasks", "auxiliary_tasks": "auxiliary_tasks"}
        return _without_own_keys(value, own, "a model")

    @field_validator("pretrained", mode="before")
    @classmethod
    def _spelled_as_yaml(cls, value: Any) -> Any:
        """``false`` on the command line is a value, not a file name."""
        words = {"true": True, "false": False}
        return words.get(value.lower(), value) if isinstance(value, str) else value


class BackboneSettings(Strict):
    """Which part of the backbone is trained. Neck, distillation and heads always are."""

    trainable: str = Field(
        "all",
        description="all; none; norms: normalization layers; last:N: the last N stages, or blocks "
        "of a plain transformer; or adapters",
    )
    freeze_batch_norm: bool = Field(
        False,
        description="keep the running statistics in trained layers too; frozen layers always do",
    )

    @field_validator("trainable", mode="before")
    @classmethod
    def _is_a_part(cls, value: Any) -> Any:
        value = "none" if value is None else value  # YAML reads null, tyro None
        read_trainable(value)
        return value


class DataSettings(Strict):
    """The labeled images, and how they are loaded.

    Example:
        >>> DataSettings(protocol="rooms", options={"train_length": 8}).batch_size
        8
    """

    protocol: str | list[str] = Field(
        "rooms", description="a name from `taskprism list protocols`, or data YAML files"
    )
    root: str | Path | dict[str, str | Path] | None = Field(
        None, description="folder of the data or its URL, or one per protocol; overrides the YAML"
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="options of the protocol (input_size, ...): --data.options.KEY VALUE",
    )
    batch_size: int = Field(8, ge=1, le=65_536, description="images per step and process")
    workers: int = Field(
        0, ge=0, le=1024, description="loader processes; 0: load in the main process"
    )
    on_bad_sample: Literal["stop", "skip"] = Field(
        "stop",
        description="what to do with a training image that cannot be read; skip: train on another",
    )

    augmentation: list[str | dict[str, Any]] = Field(
        default_factory=list,
        description="transforms of training images and labels with their options, in place of the "
        "protocol's: [{RandomCrop: {size: [256, 256]}}, ...]",
    )
    labels: str = Field(
        "all",
        description="training labels to keep: all; one: of each image, at random; random: a random "
        "subset; or a file that says which (.pth, .npy)",
    )
    labels_seed: int = Field(
        0, ge=0, le=2**63 - 1, description="seed of data.labels one and random; not the run's"
    )
    labels_tasks: list[str] = Field(
        default_factory=list,
        description="tasks of the columns of a file in data.labels; empty: the run's, in order",
    )

    @field_validator("root")
    @classmethod
    def _path_or_url(cls, value: Any) -> Any:
        def place(folder: str | Path) -> str | Path:
            return folder if is_url(folder) else Path(folder)

        if isinstance(value, dict):
            return {name: place(folder) for name, folder in value.items()}
        return value if value is None else place(value)

    @field_validator("options")
    @classmethod
    def _names_no_data(cls, value: dict[str, Any]) -> Any:
        own = {"protocol": "data.protocol", "root": "data.root", "tasks": "tasks"}
        return _without_own_keys(value, {**own, "trusted": "imports"}, "a protocol")


class OptimizerSettings(Strict):
    """How the optimizer updates the weights."""

    name: Literal["adam", "adamw", "sgd"] = Field("adam", description="update rule")
    lr: float = Field(1e-4, gt=0, description="learning rate")
    weight_decay: float = Field(
        1e-4, ge=0, description="applied to all parameters, as in the papers"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD only")
    nesterov: bool = Field(False, description="SGD only")
    backbone_lr_factor: float = Field(1.0, gt=0, description="lr of the backbone / lr of the rest")
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="lr of each layer of the backbone / lr of the layer after it; 1: all the same",
    )


class ScheduleSettings(Strict):
    """How the learning rate changes over the epochs.

    Example:
        >>> ScheduleSettings(name="multi_step", milestones=[60, 80]).drop_factor
        0.1
    """

    name: Literal["constant", "poly", "cosine", "cosine_restarts", "multi_step", "one_cycle"] = (
        Field("poly", description="shape of the curve")
    )
    per: Literal["epoch", "step"] = Field(
        "epoch", description="when the shape is stepped; one_cycle: always per step"
    )
    power: float = Field(0.9, gt=0, description="poly: lr * (1 - epoch / epochs) ** power")
    warmup_epochs: float = Field(0.0, ge=0, description="linear increase from 0, stepped per batch")
    period: float = Field(25, gt=0, description="cosine_restarts: epochs of the first cycle")
    period_factor: float = Field(
        2, ge=1, description="cosine_restarts: each cycle is this much longer"
    )
    milestones: list[_Milestone] = Field(
        default_factory=list, description="multi_step: epochs after which lr is multiplied"
    )
    drop_factor: float = Field(
        0.1, gt=0, le=1, description="multi_step: factor on lr at each milestone"
    )
    peak: float = Field(
        0.3, gt=0, lt=1, description="one_cycle: share of the run in which lr increases to its peak"
    )
    start_factor: float = Field(
        0.04, gt=0, le=1, description="one_cycle: first lr / lr of the recipe, which is the peak"
    )
    end_factor: float = Field(4e-6, ge=0, le=1, description="one_cycle: last lr / lr of the recipe")

    @model_validator(mode="after")
    def _fits_the_name(self) -> ScheduleSettings:
        if self.name == "multi_step" and not self.milestones:
            raise ValueError(
                "multi_step needs milestones: the epochs after which lr drops, such as [60, 80]"
            )
        if self.name != "multi_step" and self.milestones:
            raise ValueError(f"milestones belong to multi_step, not to {self.name}")
        if self.name == "one_cycle" and self.warmup_epochs:
            raise ValueError("one_cycle already starts with an increase; set warmup_epochs to 0")
        return self


class LossSettings(Strict):
    """How the losses of tasks and scales are added up."""

    weights: dict[str, _Weight] = Field(
        default_factory=dict,
        description="factor per task; overrides the protocol: --loss.weights.TASK VALUE",
    )
    average: Literal["pixels", "images"] = Field(
        "pixels",
        description="over labeled pixels, or over images, each times tasks / its labeled tasks",
    )
    initial: Literal["sum", "mean"] = Field(
        "sum", description="over the scales of deep supervision (MTI-Net sums, CTAL takes the mean)"
    )
    initial_weight: float = Field(1.0, ge=0, description="factor of all initial predictions")
    balancing: str = Field(
        "fixed", description="how task losses become one: `taskprism list balancers`"
    )
    balancing_options: dict[str, Any] = Field(
        default_factory=dict,
        description="options of the balancing: --loss.balancing-options.KEY VALUE",
    )


class AdversarialSettings(Strict):
    """A discriminator that makes the gradients of the tasks similar (ASTMT)."""

    weight: float = Field(
        0.0, ge=0, lt=1, description="share of its loss; 0: none (ASTMT: 0.01, its paper: 0.1)"
    )
    kernel_size: Literal[1, 3] = Field(
        1, description="size of its two convolutions (ASTMT: 1 on PASCAL-Context, 3 on NYUD)"
    )
    lr_factor: float = Field(
        10.0, gt=0, description="lr of the discriminator / lr of shared layers"
    )


class SteppingSettings(Strict):
    """What the optimizer does with a batch."""

    mode: Literal["joint", "per_task"] = Field(
        "joint", description="one step on the sum of all losses, or one per task in turn (astmt)"
    )
    task_lr_factor: float | None = Field(
        None,
        gt=0,
        description="per_task: lr of layers of one task / lr of shared ones; null: number of tasks",
    )
    adversarial: AdversarialSettings = Field(default_factory=AdversarialSettings)


class ConsistencySettings(Strict):
    """A loss that links the tasks of images in which some lack labels."""

    name: str | None = Field(
        None, description="a name from `taskprism list consistency_losses`; null: none"
    )
    weight: float = Field(2.0, gt=0, description="factor of the loss (MTPSL: 2)")
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of the loss: --consistency.options.KEY VALUE"
    )

    @field_validator("options")
    @classmethod
    def _names_no_settings(cls, value: dict[str, Any]) -> Any:
        own = {"name": "consistency.name", "weight": "consistency.weight"}
        return _without_own_keys(value, {**own, "tasks": "tasks"}, "a consistency loss")


class EarlyStoppingSettings(Strict):
    """When to end the training before the last epoch."""

    metric: str | None = Field(
        None,
        description="SPLIT/TASK/METRIC (val/depth/rmse), loss/TASK or loss/total; null: never",
    )
    patience: int = Field(
        10, ge=1, le=_MOST_EPOCHS, description="evaluations without an improvement (losses: epochs)"
    )
    min_delta: float = Field(0.0, ge=0, description="improvements up to this one do not count")


class Recipe(Strict):
    """Everything about a run. Every key can be given on the command line too.

    Example:
        >>> recipe = Recipe.model_validate({"optimizer": {"lr": 0.001}, "epochs": 3})
        >>> recipe.optimizer.name, recipe.optimizer.lr
        ('adam', 0.001)
    """

    name: str = Field("run", description="name of the run in tables; all its seeds share it")
    imports: list[str] = Field(
        default_factory=list,
        description="modules or Python files that register your own parts: my_parts, parts/file.py",
    )
    model: ModelSettings = Field(default_factory=ModelSettings)
    init: str | None = Field(
        None,
        description="initial weights: a run, a saved model, a hub id or a file (.safetensors, .pt)",
    )
    backbone: BackboneSettings = Field(default_factory=BackboneSettings)
    data: DataSettings = Field(default_factory=DataSettings)
    tasks: list[str] = Field(
        default_factory=list, description="main tasks; empty: all tasks of the protocol"
    )
    auxiliary_tasks: list[str] = Field(
        default_factory=list, description="predicted by the front end only, to help the main ones"
    )
    optimizer: OptimizerSettings = Field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
    loss: LossSettings = Field(default_factory=LossSettings)
    consistency: ConsistencySettings = Field(default_factory=ConsistencySettings)
    stepping: SteppingSettings = Field(default_factory=SteppingSettings)
    epochs: int = Field(100, ge=1, le=_MOST_EPOCHS, description="passes over the training images")
    accumulate: int = Field(1, ge=1, le=1_000_000, description="batches per optimizer step")
    clip_norm: float | None = Field(
        None, gt=0, description="maximum gradient norm; null: no clipping"
    )
    max_skipped_steps: int = Field(
        10,
        ge=0,
        description="steps in a row to skip because a loss or gradient is not finite; 0: stop",
    )
    sync_batch_norm: bool = Field(
        False, description="several processes: batch norm over the images of all (exact, slower)"
    )
    ema_decay: float | None = Field(None, gt=0, lt=1, description="moving average of the weights")
    evaluate_every: int = Field(
        10, ge=1, description="epochs between evaluations; the last epoch is always evaluated"
    )
    early_stopping: EarlyStoppingSettings = Field(default_factory=EarlyStoppingSettings)
    callbacks: list[str] = Field(
        default_factory=list, description="your own callbacks, as module:Class"
    )
    precision: Literal["no", "fp16", "bf16"] = Field("no", description="mixed precision")
    compile: bool = Field(
        False, description="compile the model with torch.compile: slow first steps, then faster"
    )
    compile_backend: str = Field(
        "inductor", description="backend of torch.compile; inductor needs a C++ compiler or triton"
    )
    fsdp: bool = Field(
        False,
        description="divide weights, gradients and optimizer state among processes (FSDP)",
    )
    stall_timeout: float = Field(
        1200.0,
        ge=0,
        description="several processes: seconds after which one that hangs ends the run; 0: never",
    )
    trackers: list[str] = Field(
        default_factory=list,
        description="in addition to log.jsonl: names from `taskprism list trackers`",
    )
    tracker_project: str = Field(
        "taskprism", description="project or experiment that the run belongs to in the trackers"
    )
    tracker_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="options of a tracker: --tracker-options.NAME.KEY VALUE",
    )
    seed: int = Field(
        0, ge=0, le=2**63 - 1, description="seed of weights, image order and augmentation"
    )


def explain(error: ValidationError, schema: type[BaseModel], source: str) -> RecipeError:
    """Turn pydantic's report into one message.

    Args:
        error: What validation found.
        schema: The class that was being filled, for the names that would have been valid.
        source: Where the values came from: a file or the command line.

    Returns:
        An error with one line per key: an unknown key with the valid ones of its level, a wrong
        value with the allowed range.
    """
    lines: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        path = _keys(schema, detail["loc"])
        key = ".".join(path)
        if detail["type"] == "extra_forbidden":
            lines.setdefault(key, _unknown_key(schema, path))
        elif detail["type"] == "value_error":  # raised by a validator of the schema
            lines[key] = (f"key {key!r}: " if key else "") + str(detail["ctx"]["error"])
        elif detail["type"] == "missing":
            lines[key] = f"key {key!r} is missing"
        elif key in lines:
            lines[key] += f", or {_lower(detail['msg'])}"
        else:
            lines[key] = f"key {key!r}: {_lower(detail['msg'])}, got {detail['input']!r}"
    shown = list(lines.values())[:_MOST_SHOWN]
    more = f"; and {len(lines) - _MOST_SHOWN} more keys" if len(lines) > _MOST_SHOWN else ""
    return RecipeError(f"{source}: {'; '.join(shown)}{more}.")


def _unknown_key(schema: type[BaseModel], path: list[str]) -> str:
    fields = _level(schema, path[:-1]).model_fields
    known = [field.alias or name for name, field in fields.items()]
    close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    where = f"in {'.'.join(path[:-1])!r}" if len(path) > 1 else "at the top"
    return f"unknown key {path[-1]!r} {where}.{hint} Keys there: {', '.join(known)}"


def _level(schema: type[BaseModel], path: list[str]) -> type[BaseModel]:
    level: Any = schema
    for name in path:
        level = _inner(level, name)[0]
    return level


def _keys(schema: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Drop what pydantic adds for the branches of a union (``protocol.list[str]``)."""
    keys: list[str] = []
    level: Any = schema
    free_form = False
    for part in location:
        if level is None:  # below a plain value: keep list positions and the user's own keys
            keys += [str(part)] if isinstance(part, int) or free_form else []
            continue
        keys.append(str(part))
        level, free_form = _inner(level, str(part))
    return keys


def _inner(level: Any, key: str) -> tuple[Any, bool]:
    """The level below a key (None for a plain value), and whether its keys are free.

    A level is a schema, or a dictionary or list of schemas.
    """
    if isinstance(level, type) and issubclass(level, BaseModel):
        names = {field.alias or name: field for name, field in level.model_fields.items()}
        annotation: Any = names[key].annotation if key in names else None
    else:
        annotation = get_args(level)[-1 if get_origin(level) is dict else 0]
    if isinstance(annotation, UnionType):
        annotation = next((a for a in get_args(annotation) if _is_schema(a)), annotation)
    free_form = get_origin(annotation) is dict
    holds_schemas = any(_is_schema(argument) for argument in get_args(annotation))
    return (annotation if _is_schema(annotation) or holds_schemas else None), free_form


def _is_schema(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
