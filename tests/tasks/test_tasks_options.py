"""Names and option values of tasks: typed, bounded, and refused with a message that says why."""

import json
import math

import pytest
import torch

from reference.batches import every_task
from taskprism.checks import check_class_name, check_name
from taskprism.errors import CheckpointError, InputError, TaskprismError, UnknownNameError
from taskprism.models import create_model
from taskprism.models.hub import load
from taskprism.tasks import Depth, create_task, list_tasks, resolve_tasks, task_from_config

BAD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "/some/where",
    "a/b",
    "a\\b",
    "C:x",
    ".hidden",
    "-x",
    "two words",
    "a.b",
    "line\nbreak",
    "nul\0",
    "tab\t",
    "trailing\n",
    "Größe",
    "x" * 101,
    None,
    3,
    True,
    ["depth"],
    b"depth",
]
BAD_CLASS_NAMES = [
    "",
    " ",
    "..",
    ".hidden",
    "a/b",
    "a\\b",
    "two\nlines",
    "nul\0",
    "bell\a",
    "right\u202eto left",
    "x" * 101,
    None,
    3,
    b"wall",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_invalid_names_are_refused(name):
    with pytest.raises(InputError, match="name must be 1 to 100 letters"):
        check_name("Task", "name", name)
    with pytest.raises(InputError, match="Task: name must be 1 to 100 letters"):
        create_task("depth", name=name)
    with pytest.raises(InputError, match="Task: name must be 1 to 100 letters"):
        resolve_tasks([{"kind": "depth", "name": name}], trusted=False)


@pytest.mark.parametrize("name", ["depth", "Depth-2", "0", "a_b", "x" * 100])
def test_valid_names_are_accepted(name):
    assert check_name("Task", "name", name) == name
    assert create_task("depth", name=name).name == name


@pytest.mark.parametrize("name", ["type", "training", "items", "to", "forward"])
def test_attributes_of_module_dictionaries_are_not_names(name):
    with pytest.raises(InputError, match=f"cannot be named '{name}'"):
        create_task("depth", name=name)


def test_a_class_cannot_avoid_the_check_of_its_name():
    class Unchecked(Depth):
        def __post_init__(self):
            pass

    with pytest.raises(InputError, match=r"'\.\./x'"):
        create_task(Unchecked, name="../x")


@pytest.mark.parametrize("name", BAD_CLASS_NAMES, ids=repr)
def test_invalid_class_names_are_refused(name):
    with pytest.raises(InputError, match="Data: class must be 1 to 100 printable characters"):
        check_class_name("Data", "class", name)
    with pytest.raises(InputError, match=r"'semseg': class_names\[1\] must be 1 to 100 printable"):
        create_task("semseg", class_names=["wall", name])


@pytest.mark.parametrize("name", ["night stand", "Straße", "空", "a.b", "wall (painted)", "№ 5"])
def test_class_names_may_use_any_alphabet(name):
    assert create_task("semseg", class_names=[name]).class_names == (name,)


@pytest.mark.parametrize("name", ["/some/where", "../x"])
def test_a_model_whose_task_is_named_as_a_path_is_refused(tmp_path, name):
    """``predict`` writes to a folder with the name of the task."""
    model = create_model("multi_task", {"depth": 1}, backbone="test_resnet")
    model.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    content = config.read_text()
    changed = json.loads(content)
    (task,) = changed["tasks"]
    task["name"] = name
    config.write_text(json.dumps(changed))
    with pytest.raises(TaskprismError, match="name must be 1 to 100 letters") as caught:
        load(tmp_path)
    assert name in str(caught.value)
    assert isinstance(caught.value, InputError | CheckpointError)
    config.write_text(content)
    assert load(tmp_path).tasks[0].name == "depth"


NOT_WHOLE = [0, -1, 10**9, 2**63, 1.5, 1.0, True, "3", math.nan, [1]]
NOT_POSITIVE = [-1, -0.1, math.nan, math.inf, -math.inf, 1e9, True, "1", None, [1.0], 10**400]


@pytest.mark.parametrize("channels", NOT_WHOLE, ids=repr)
def test_numbers_of_classes_are_bounded(channels):
    with pytest.raises(InputError, match=r"Task 'semseg': channels must be an integer from 1 to"):
        create_task("semseg", channels)


@pytest.mark.parametrize("kind", list_tasks())
@pytest.mark.parametrize("weight", NOT_POSITIVE, ids=str)
def test_loss_weights_are_finite_and_not_negative(kind, weight):
    with pytest.raises(InputError, match="loss_weight must be a finite number from 0 to 1000000"):
        create_task(kind, 3 if kind in ("semseg", "normals") else None, loss_weight=weight)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("edge", "soft"),
        ("edge", "odsf"),
        ("saliency", "soft"),
        ("depth", "median_scaled"),
        ("human_parts", "skip_empty_images"),
    ],
)
@pytest.mark.parametrize("value", [0, 1, "true", None, math.nan], ids=repr)
def test_flags_are_true_or_false(kind, field, value):
    with pytest.raises(InputError, match=f"{field} must be true or false, got"):
        create_task(kind, **{field: value})


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan, math.inf, True, "0.5", [0.5]], ids=repr)
def test_positive_weights_are_from_zero_to_one(weight):
    for kind in ("edge", "saliency"):
        with pytest.raises(InputError, match="positive_weight must be a finite number from 0 to 1"):
            create_task(kind, positive_weight=weight)


@pytest.mark.parametrize("count", [0, -1, 1001, 1.5, True, "9", math.nan], ids=repr)
def test_numbers_of_thresholds_are_bounded(count):
    with pytest.raises(InputError, match="odsf_thresholds must be an integer from 1 to 1000, got"):
        create_task("edge", odsf_thresholds=count)


@pytest.mark.parametrize(
    "limits",
    [
        (0.0, 10.0),
        (5.0, 5.0),
        (10.0, 1.0),
        (-1.0, 1.0),
        (math.nan, 1.0),
        (1.0, math.inf),
        (1.0,),
        (1.0, 2.0, 3.0),
        ("1", "2"),
        3.0,
        None,
        "ab",
    ],
    ids=repr,
)
def test_ranges_of_depth_classes_ascend_from_above_zero(limits):
    with pytest.raises(InputError, match="Task 'depth': category_range"):
        create_task("depth", category_range=limits)


@pytest.mark.parametrize("value", ["abc", 3, {"a": 1}, None], ids=repr)
def test_other_values_than_lists_are_refused(value):
    with pytest.raises(InputError, match="class_names must be a list of names"):
        create_task("semseg", 3, class_names=value)
    with pytest.raises(InputError, match="extra_metrics must be a list of metrics"):
        create_task("depth", extra_metrics=value)
    with pytest.raises(InputError, match="extra_metrics must be a list of metrics"):
        task_from_config({"kind": "depth", "extra_metrics": value})


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("semseg", "absent_classes"),
        ("saliency", "max_f"),
        ("edge", "odsf_convention"),
    ],
)
@pytest.mark.parametrize("value", ["huber", "", 3, None, True, ["l1"], {"l1": 1}], ids=repr)
def test_invalid_choices_of_any_type_list_the_choices(kind, field, value):
    with pytest.raises(UnknownNameError, match=rf"{field} of task '{kind}' .*Known: \w+, "):
        create_task(kind, 3 if kind == "semseg" else None, **{field: value})


@pytest.mark.parametrize("config", [None, 3, "depth", [], ["depth"]], ids=repr)
def test_configs_are_mappings(config):
    with pytest.raises(InputError, match="Expected the config of a task"):
        task_from_config(config)


def test_primary_metrics_are_names():
    for value in (None, 3, ["rmse"]):
        with pytest.raises(InputError, match="primary_metric must be the name of a metric"):
            create_task("depth", primary_metric=value)


@pytest.mark.parametrize("task", every_task(), ids=lambda task: task.kind)
def test_numbers_of_other_types_are_accepted(task):
    """A YAML file writes a weight of 5 as an integer, NumPy code as its own type."""
    for weight in (5, 0, 0.5, torch.tensor(0.5).numpy()[()]):
        assert create_task(task, loss_weight=weight).loss_weight == weight
