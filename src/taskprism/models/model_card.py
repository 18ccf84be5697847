"""The model card of a saved model: ``README.md`` with a header that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

if TYPE_CHECKING:
    from taskprism.models.base import MultiTaskModel

CARD = "README.md"
LIBRARY = "taskprism"
_TAGS = ("multi-task-learning", "dense-prediction")


@dataclass(frozen=True)
class Score:
    """One number of the table of scores.

    Attributes:
        task: Name of the task.
        metric: Name of the metric.
        value: Its value.
        higher_is_better: Whether higher is better.
    """

    task: str
    metric: str
    value: float
    higher_is_better: bool


@dataclass(frozen=True)
class CardFacts:
    """What a model card says about the training and the scores of a model.

    Attributes:
        protocol: Name of the data and the rules of scoring.
        split: Images that were scored.
        weights: Which weights were scored, such as ``"epoch 20 (last)"``.
        scores: Task by task.
        seed: Of the run.
        settings: Name -> value of the main settings of the run.
        comparison: Table of this and other runs in Markdown, with Δm; empty: none.
        data_license: Terms of the data, or empty.
        weights_license: Source and terms of the initial weights, or empty.
        license: License of the model for the hub, an identifier such as ``apache-2.0``; None: not
            decided.
        picture: Name of a picture next to the card, or None.
        picture_text: What the picture shows, and its source.

    Example:
        >>> from taskprism.models.model_card import CardFacts
        >>> CardFacts("rooms", "test", "epoch 20 (last)").scores
        ()
    """

    protocol: str
    split: str
    weights: str
    scores: Sequence[Score] = ()
    seed: int = 0
    settings: Sequence[tuple[str, str]] = ()
    comparison: str = ""
    data_license: str = ""
    weights_license: str = ""
    license: str | None = None
    picture: str | None = None
    picture_text: str = ""


def model_card(
    model: MultiTaskModel, *, facts: CardFacts | None = None, repo_id: str | None = None
) -> ModelCard:
    """Model card of a model.

    Args:
        model: Its tasks and config.
        facts: About its training and scores, if known.
        repo_id: What the code in the card loads.

    Example:
        >>> import taskprism
        >>> from taskprism.models.model_card import model_card
        >>> model = taskprism.create_model("multi_task", {"depth": 1}, backbone="test_resnet")
        >>> model_card(model, repo_id="me/rooms").data.pipeline_tag
        'depth-estimation'
    """
    name = repo_id or model.name
    first = model.tasks[0].hub_tag if len({task.hub_tag for task in model.tasks}) == 1 else None
    data = ModelCardData(
        license=(facts.license if facts else None) or "other",
        library_name=LIBRARY,
        pipeline_tag=first or "image-to-image",
        tags=[*_TAGS, *(task.name for task in model.tasks), model.name],
        model_name=name.rpartition("/")[2],
        eval_results=[_eval_result(facts, score) for score in facts.scores] if facts else None,
    )
    content = _template().render(
        header=data.to_yaml(),
        name=name.rpartition("/")[2],
        model=model,
        backbone=model.config.get("backbone") or "",
        repo_id=name,
        facts=facts,
        main=model.tasks,
        first=model.tasks[0].name,
    )
    return ModelCard(content)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("taskprism.models", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown; the values are names and numbers
    )
    return environment.get_template("model_card.md.jinja")


def _eval_result(facts: CardFacts, score: Score) -> EvalResult:
    return EvalResult(
        task_type="image-to-image",
        task_name=score.task,
        dataset_type=facts.protocol,
        dataset_name=facts.protocol,
        dataset_split=facts.split,
        metric_type=score.metric,
        metric_name=f"{score.task} {score.metric}",
        metric_value=round(score.value, 6),
    )
