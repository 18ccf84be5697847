import json

import pytest

from reference.batches import every_task
from taskprism.errors import InputError, UnknownNameError
from taskprism.tasks import (
    TASKS,
    Edge,
    HumanParts,
    SemanticSegmentation,
    create_task,
    list_tasks,
    resolve_tasks,
    task_from_config,
)


def test_public_names():
    assert list_tasks() == [
        "albedo",
        "depth",
        "disparity",
        "edge",
        "human_parts",
        "inverse_depth",
        "normals",
        "saliency",
        "semseg",
    ]
    channels = {task.name: task.channels for task in every_task()}
    assert channels == {
        "semseg": 5,
        "depth": 1,
        "normals": 3,
        "edge": 1,
        "saliency": 1,
        "human_parts": 7,
        "albedo": 3,
        "disparity": 1,
        "inverse_depth": 1,
    }
    targets = {entry.part.target_type for entry in TASKS.entries()}
    assert len(targets) == len(TASKS) - 1  # parts are classes too


@pytest.mark.parametrize("task", every_task(), ids=lambda t: t.kind)
def test_config_round_trip(task):
    config = json.loads(json.dumps(task.to_config()))
    again = task_from_config(config)
    assert again == task and type(again) is type(task) and hash(again) == hash(task)


def test_config_keeps_every_field():
    task = create_task(
        "semseg", class_names=["background", "cat"], name="animals", absent_classes="zero"
    )
    assert isinstance(task, SemanticSegmentation)
    assert task.channels == 2 and task.class_names == ("background", "cat")
    assert task_from_config(task.to_config()) == task


def test_short_forms():
    made = resolve_tasks({"semseg": 40, "depth": 1, "edge": None})
    assert [(task.name, task.channels) for task in made] == [
        ("semseg", 40),
        ("depth", 1),
        ("edge", 1),
    ]
    edge = create_task("edge", positive_weight=0.8)
    assert resolve_tasks([edge, "depth", {"kind": "semseg", "channels": 3}]) == (
        edge,
        create_task("depth"),
        create_task("semseg", 3),
    )
    assert resolve_tasks([]) == ()


def test_seven_human_parts_have_the_names_of_pascal():
    assert create_task("human_parts").class_names[1] == "head"
    assert create_task("human_parts", 15).class_names == ()
    assert isinstance(create_task("human_parts", class_names=["none", "arm"]), HumanParts)


@pytest.mark.parametrize("task", every_task(), ids=lambda t: t.kind)
def test_primary_metric_has_a_direction(task):
    assert task.primary_metric in task.metrics()
    better_if_high = {"semseg", "human_parts", "saliency"}
    assert task.primary_higher_is_better == (task.kind in better_if_high)
    assert set(task.higher_is_better) == set(task.metrics().keys())


def test_primary_metric_can_be_chosen():
    task = create_task("depth", primary_metric="delta1")
    assert task.primary_higher_is_better
    with pytest.raises(UnknownNameError, match=r"metric of task 'depth' 'delta4'.*Known: .*delta1"):
        _ = create_task("depth", primary_metric="delta4").primary_higher_is_better


def test_unknown_kind_lists_the_known_kinds():
    with pytest.raises(UnknownNameError, match=r"'dept'.*Did you mean 'depth'.*human_parts"):
        create_task("dept")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: create_task("semseg"), r"needs a number of classes.*create_task\('semseg', 40"),
        (lambda: create_task("depth", 2), r"'depth' must have 1 output channel, got 2"),
        (lambda: create_task("saliency", 3), r"'saliency' must have 1 or 2 output channels, got 3"),
        (lambda: create_task("semseg", 0), r"channels must be an integer from 1 to \d+, got 0"),
        (lambda: create_task("edge", weight=1), r"'edge' has no field weight. It has .*positive_w"),
        (
            lambda: create_task("edge", positive_weight=95),
            r"positive_weight must be .* from 0 to 1, got 95",
        ),
        (lambda: create_task("semseg", 3, class_names=["a"]), r"3 channels but 1 class names"),
        (
            lambda: task_from_config({"name": "edge"}),
            r"needs the key 'kind', one of albedo, .*name",
        ),
        (lambda: resolve_tasks("semseg"), r"Write \['semseg'\]"),
        (lambda: resolve_tasks([Edge(), "edge"]), r"named twice: edge"),
        (lambda: resolve_tasks([3]), r"Expected a Task, .* got 3"),
    ],
)
def test_invalid_input_is_refused_with_advice(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("semseg", "absent_classes"),
        ("saliency", "max_f"),
    ],
)
def test_unknown_choice_lists_the_choices(kind, field):
    with pytest.raises(UnknownNameError, match=rf"{field} of task '{kind}' 'huber'\. Known: \w+, "):
        create_task(kind, 3 if kind in ("semseg", "normals") else None, **{field: "huber"})
