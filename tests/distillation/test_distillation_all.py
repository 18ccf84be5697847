"""The contract of every registered distillation, plug-ins and one class of this file included."""

import json
import math

import pytest
import torch

from reference.distillation_checks import assert_close, gradients, make_features
from taskprism.checks import check_number
from taskprism.distillation import (
    DISTILLATIONS,
    Concat,
    Distillation,
    create_distillation,
    list_distillations,
)
from taskprism.errors import InputError, TaskprismError, UnknownNameError
from taskprism.registry import options_of

SOURCES = ["semseg", "depth", "normals", "edge"]
OUTSIDE = f"{__name__}:ScaledMean"
ALL = pytest.mark.parametrize("name", [*list_distillations(), OUTSIDE])


class ScaledMean(Distillation):
    """Adds the scaled mean of all sources; not registered, so only "module:Class" names it.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: Channels of every task's feature map.
        sources: Names of the tasks whose features are read.
        scale: Initial factor of the mean.
    """

    name = "scaled_mean"

    def __init__(self, tasks, channels, sources=None, scale=1.0):
        super().__init__(tasks, channels, sources)
        scale = check_number("ScaledMean", "scale", scale, -10, 10)
        self.scale = torch.nn.Parameter(torch.tensor(scale))

    def forward(self, features, predictions=None):
        mean = sum(features[source] for source in self.sources) / len(self.sources)
        return {task: features[task] + self.scale * mean for task in self.tasks}


def build(name, tasks, sources, size=(6, 8), **options):
    return create_distillation(name, tasks, 4, sources, size=size, **options)


@ALL
@pytest.mark.parametrize(
    ("tasks", "sources"),
    [(["depth"], ["depth"]), (["depth", "semseg"], SOURCES), (SOURCES, SOURCES)],
)
@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 3)])
def test_shapes_and_gradients(name, tasks, sources, size):
    module = build(name, tasks, sources, size)
    features = make_features(sources, (2, 4, *size), dtype=torch.float32)
    labels = make_features(sources, (2, 3, 2, 2), dtype=torch.float32, grad=False)
    refined = module(features, labels)
    assert list(refined) == tasks
    assert all(x.shape == (2, 4, *size) for x in refined.values())
    inputs = [features[task] for task in tasks] + list(module.parameters())
    assert all(g.isfinite().all() for g in gradients(refined, inputs))


@ALL
def test_inputs_are_not_modified(name):
    module = build(name, SOURCES, SOURCES)
    features = make_features(SOURCES, (2, 4, 6, 8), dtype=torch.float32, grad=False)
    before = {task: x.clone() for task, x in features.items()}
    module(features, features)
    assert all(torch.equal(features[task], before[task]) for task in SOURCES)


def blocks(weight, order, dim):
    """Weight with its ``len(order)`` equal blocks along ``dim`` in another order."""
    return torch.cat([weight.chunk(len(order), dim)[i] for i in order], dim)


# Entries of the state dict that depend on the order of tasks; others have the task's name.
REORDER = {
    "spatial_attention": {},
    "affinity_diffusion": {"mixing": (0, 1)},
    "ctal": {"kernel": (1,)},
    "tpim": {},
    "xtam": {"merge": "others"},
    "relational_context": {"gather": (1,)},
    "concat": {"reduce": (1,)},
    "window_attention": {},
    OUTSIDE: {},
}


@ALL
def test_permuting_tasks_permutes_outputs(name):
    order = [2, 0, 3, 1]
    moved = [SOURCES[i] for i in order]
    module = build(name, SOURCES, SOURCES).double()
    other = build(name, moved, moved).double()
    torch.nn.init.normal_(next(module.parameters(), torch.zeros(1)))
    state = module.state_dict()
    for key, dims in REORDER[name].items():
        for entry, weight in list(state.items()):
            if not entry.startswith(key) or (weight.dim() < 2):
                continue
            if dims == "others":
                own = entry.split(".")[1]
                others = [task for task in SOURCES if task != own]
                theirs = [others.index(task) for task in moved if task != own]
                if weight.shape[1] == 12:
                    state[entry] = blocks(weight, theirs, 1)
            else:
                for dim in dims:
                    state[entry] = weight = blocks(weight, order, dim)
    other.load_state_dict(state)
    module.eval(), other.eval()
    features = make_features(SOURCES, (2, 4, 6, 8), grad=False)
    labels = make_features(SOURCES, (2, 3, 3, 4), seed=1, grad=False)
    ours, theirs = module(features, labels), other(features, labels)
    assert list(theirs) == moved
    for task in SOURCES:
        assert_close(theirs[task], ours[task], 1e-10, task)


@ALL
def test_export_with_any_batch(name):
    sources = ["depth", "edge"]
    module = build(name, ["depth"], sources, (12, 10)).eval()
    features = make_features(sources, (2, 4, 12, 10), dtype=torch.float32, grad=False)
    labels = make_features(sources, (2, 3, 4, 5), dtype=torch.float32, grad=False)
    batch = torch.export.Dim("batch", min=2, max=16)
    shapes = ({task: {0: batch} for task in sources},) * 2
    program = torch.export.export(module, (features, labels), dynamic_shapes=shapes).module()
    more = {task: x.repeat(2, 1, 1, 1) for task, x in features.items()}
    many = {task: x.repeat(2, 1, 1, 1) for task, x in labels.items()}
    exported = program(more, many)
    for task, value in module(more, many).items():
        assert_close(exported[task], value, 1e-4, task)


@ALL
def test_autocast(name):
    module = build(name, SOURCES, SOURCES)
    features = make_features(SOURCES, (2, 4, 6, 8), dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        refined = module(features, features)
    assert all(x.isfinite().all() for x in refined.values())


@ALL
def test_tasks_must_be_among_the_sources(name):
    with pytest.raises(InputError, match="edge"):
        build(name, ["edge"], ["depth"])
    with pytest.raises(InputError, match="twice"):
        build(name, ["depth"], ["depth", "depth"])


# Options other than the defaults, with which a module is saved and created again.
OPTIONS = {
    "affinity_diffusion": {"beta": 0.5, "iterations": 1, "normalize": "channels"},
    "ctal": {"kernel_size": 1, "gamma": 0.5, "shared_kernel": False, "bias": False},
    "tpim": {"fusion": "B", "iterations": 2, "key_channels": 3, "downscale": 1},
    "xtam": {"downscale": 1},
    "relational_context": {"genotype": "nyud_w18", "inner_channels": 3, "dropout": 0.0},
    OUTSIDE: {"scale": 0.5},
}


@ALL
def test_options_and_weights_give_the_same_module_again(name):
    options = OPTIONS.get(name, {})
    module = build(name, ["depth", "semseg"], SOURCES, **options).eval()
    again = build(name, ["depth", "semseg"], SOURCES, **json.loads(json.dumps(options))).eval()
    again.load_state_dict(module.state_dict())
    features = make_features(SOURCES, (2, 4, 6, 8), dtype=torch.float32, grad=False)
    labels = make_features(SOURCES, (2, 3, 3, 4), dtype=torch.float32, seed=1, grad=False)
    refined = module(features, labels)
    for task, value in again(features, labels).items():
        assert torch.equal(value, refined[task])


@ALL
def test_maps_of_another_size_are_refined_or_refused(name):
    module = build(name, ["depth"], ["depth", "edge"], (6, 8))
    features = make_features(["depth", "edge"], (2, 4, 5, 9), dtype=torch.float32, grad=False)
    if module.any_size:
        assert module(features, features)["depth"].shape == (2, 4, 5, 9)
    else:
        with pytest.raises(InputError, match=r"6x8.*5x9"):
            module(features, features)


@ALL
def test_an_unknown_option_is_an_error_that_lists_the_options(name):
    with pytest.raises(UnknownNameError, match=r"no_such_option.*Known:"):
        build(name, ["depth"], ["depth"], no_such_option=1)


HOSTILE = [
    None, True, False, "x", "", "3", -1, 0, 0.5, 1.5, -0.5, math.nan, math.inf, -math.inf, 10**9,
    2**63, -(2**63), 10**400, 1e300, [], [2], {}, {"depth": 3}, {"depth": {"depth": 3}}, object(),
]  # fmt: skip


def refined_or_refused(name, tasks=("depth",), channels=4, sources=None, size=(2, 3), **options):
    """Refuse with an error of taskprism, or refine to finite features."""
    try:
        module = create_distillation(name, tasks, channels, sources, size=size, **options)
    except TaskprismError as error:
        assert len(str(error)) < 2000
        return
    maps = make_features(module.sources, (2, channels, 2, 3), dtype=torch.float32, grad=False)
    try:
        refined = module(maps, maps)
    except TaskprismError:
        assert not module.any_size
        return
    assert all(value.isfinite().all() for value in refined.values())


@ALL
def test_no_option_value_ends_in_an_unnamed_error(name):
    for option in options_of(DISTILLATIONS.find(name)):
        for value in HOSTILE:
            refined_or_refused(name, **{option: value})


@ALL
def test_no_size_or_channels_end_in_an_unnamed_error(name):
    for value in [*HOSTILE, [0, 3], [3, 1e6], [10**6, 10**6], "2x3", [3], [2, 3, 4], [True, 3]]:
        refined_or_refused(name, size=value)
        if value not in (0.5, 1.5):
            refined_or_refused(name, channels=value)


@ALL
@pytest.mark.parametrize("channels", [0, -4, 10**9, 2.0, "4", True, None, math.nan])
def test_channels_are_a_positive_integer(name, channels):
    with pytest.raises(InputError, match=r"channels must be an integer from"):
        create_distillation(name, ["depth"], channels, size=(2, 3))


@ALL
@pytest.mark.parametrize("tasks", [[], "depth", [3], None, ["depth", "depth"]])
def test_tasks_are_a_list_of_names(name, tasks):
    with pytest.raises(InputError, match=r"tasks"):
        create_distillation(name, tasks, 4, size=(2, 3))


@ALL
def test_is_documented_with_an_example(name):
    module = DISTILLATIONS.find(name)
    assert issubclass(module, Distillation)
    assert "Args:" in module.__doc__
    assert name == OUTSIDE or "Example:" in module.__doc__


def test_names_are_unique():
    assert len(set(list_distillations())) == len(DISTILLATIONS)


def test_unknown_names_and_options():
    with pytest.raises(UnknownNameError, match="Did you mean 'ctal'"):
        create_distillation("ctl", ["a"], 4)
    with pytest.raises(UnknownNameError, match="iterations"):
        create_distillation("tpim", ["a"], 4, iteration=3)


def test_stride_sets_the_defaults_that_depend_on_it():
    assert create_distillation("tpim", ["a"], 4, stride=8).downscale == 2
    assert create_distillation("tpim", ["a"], 4, stride=8, downscale=3).downscale == 3
    assert create_distillation("tpim", ["a"], 4).downscale == 4


@ALL
@pytest.mark.parametrize("stride", [0, -4, 1.5, "8", True, math.inf])
def test_stride_is_a_positive_integer(name, stride):
    with pytest.raises(InputError, match=r"stride must be an integer of at least 1"):
        create_distillation(name, ["depth"], 4, size=(2, 3), stride=stride)


def test_concat_is_a_linear_map_of_all_sources():
    module = Concat(["a"], 2, ["a", "b"]).double()
    features = make_features("ab", (1, 2, 3, 3), grad=False)
    weight, bias = module.reduce["a"].weight[:, :, 0, 0], module.reduce["a"].bias
    stacked = torch.cat([features["a"], features["b"]], dim=1)
    expected = torch.einsum("oc,bchw->bohw", weight, stacked) + bias[None, :, None, None]
    assert_close(module(features)["a"], expected, 1e-12)
    assert sum(p.numel() for p in module.parameters()) == 2 * 2 * 2 + 2
