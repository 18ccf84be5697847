"""A recipe: one file that says everything about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Frozen settings that refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(Strict):
    """Which system, on which backbone (the arguments of ``create_model``)."""

    name: str = Field("multi_task", description="a name of `taskprism list models`")
    backbone: str = Field("hrnet_w18_small_v2", description="any timm name")
    pretrained: bool | str = Field(
        False, description="True: timm's weights from the hub; a path: a local file; or a package"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="the model's own options")


class DataSettings(Strict):
    """Which labelled images, and how they are fed."""

    protocol: str | list[str] = Field(
        "rooms", description="a name of `taskprism list protocols`, or data YAML(s)"
    )
    root: Path | None = Field(None, description="folder of the data; overrides the YAML's own")
    options: dict[str, Any] = Field(
        default_factory=dict, description="the protocol's own options (input_size, length, ...)"
    )
    batch_size: int = Field(8, ge=1)
    workers: int = Field(0, ge=0, description="loader processes; 0 loads in the main one")


class OptimiserSettings(Strict):
    """How weights follow gradients."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD only")
    nesterov: bool = False
    backbone_lr_factor: float = Field(1.0, gt=0, description="lr of the backbone / lr of the rest")


class ScheduleSettings(Strict):
    """How the learning rate goes over the epochs."""

    name: Literal["constant", "poly", "cosine", "cosine_restarts"] = "poly"
    power: float = Field(0.9, gt=0, description="poly: lr * (1 - t) ** power")
    warmup_epochs: float = Field(0.0, ge=0, description="linear from 0")
    period: float = Field(25, gt=0, description="cosine_restarts: epochs of the first cycle")
    period_factor: float = Field(2, ge=1, description="cosine_restarts: growth of the cycles")


class LossSettings(Strict):
    """How the losses of tasks and scales are added up."""

    weights: dict[str, float] = Field(
        default_factory=dict, description="task: factor; overrides the protocol's"
    )
    initial: Literal["sum", "mean"] = Field(
        "sum", description="over the scales of deep supervision (MTI-Net sums, CTAL takes the mean)"
    )
    initial_weight: float = Field(1.0, ge=0, description="factor of all initial predictions")


class Recipe(Strict):
    """Everything about a run. Every key can be given on the command line too."""

    name: str = Field("run", description="name of the run in tables and folders")
    model: ModelSettings = Field(default_factory=ModelSettings)
    data: DataSettings = Field(default_factory=DataSettings)
    tasks: list[str] = Field(
        default_factory=list, description="main tasks; empty: all of the protocol"
    )
    auxiliary_tasks: list[str] = Field(default_factory=list)
    optimiser: OptimiserSettings = Field(default_factory=OptimiserSettings)
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
    loss: LossSettings = Field(default_factory=LossSettings)
    epochs: int = Field(100, ge=1)
    accumulate: int = Field(1, ge=1, description="batches per optimiser step")
    clip_norm: float | None = Field(None, gt=0, description="maximal gradient norm")
    ema_decay: float | None = Field(None, gt=0, lt=1, description="moving average of the weights")
    evaluate_every: int = Field(10, ge=1, description="epochs")
    precision: Literal["no", "fp16", "bf16"] = "no"
    trackers: list[Literal["tensorboard", "wandb"]] = Field(default_factory=list)
    seed: int = 0
