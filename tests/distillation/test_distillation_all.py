"""What every cross-task module keeps to."""

import pytest
import torch

from reference.distillation_checks import assert_close, gradients, make_features
from taskprism.distillation import (
    DISTILLATIONS,
    Concat,
    Distillation,
    create_distillation,
    list_distillations,
)
from taskprism.errors import InputError, UnknownNameError

SOURCES = ["semseg", "depth", "normals", "edge"]
ALL = pytest.mark.parametrize("name", list_distillations())


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
def test_inputs_are_left_alone(name):
    module = build(name, SOURCES, SOURCES)
    features = make_features(SOURCES, (2, 4, 6, 8), dtype=torch.float32, grad=False)
    before = {task: x.clone() for task, x in features.items()}
    module(features, features)
    assert all(torch.equal(features[task], before[task]) for task in SOURCES)


def blocks(weight, order, dim):
    """Weight with its ``len(order)`` equal blocks along ``dim`` in another order."""
    return torch.cat([weight.chunk(len(order), dim)[i] for i in order], dim)


# What in a state dict depends on the order of tasks; everything else goes by name.
REORDER = {
    "spatial_attention": {},
    "affinity_diffusion": {"mixing": (0, 1)},
    "ctal": {"kernel": (1,)},
    "tpim": {},
    "xtam": {"merge": "others"},
    "relational_context": {"gather": (1,)},
    "concat": {"reduce": (1,)},
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


@ALL
def test_has_a_manual(name):
    module = DISTILLATIONS.find(name)
    assert issubclass(module, Distillation)
    assert "Args:" in module.__doc__


def test_names_are_unique():
    assert len(set(list_distillations())) == len(DISTILLATIONS)


def test_unknown_names_and_options():
    with pytest.raises(UnknownNameError, match="Did you mean 'ctal'"):
        create_distillation("ctl", ["a"], 4)
    with pytest.raises(UnknownNameError, match="iterations"):
        create_distillation("tpim", ["a"], 4, iteration=3)


def test_stride_sets_what_depends_on_it():
    assert create_distillation("tpim", ["a"], 4, stride=8).downscale == 2
    assert create_distillation("tpim", ["a"], 4, stride=8, downscale=3).downscale == 3
    assert create_distillation("tpim", ["a"], 4).downscale == 4


def test_concat_is_a_linear_map_of_all():
    module = Concat(["a"], 2, ["a", "b"]).double()
    features = make_features("ab", (1, 2, 3, 3), grad=False)
    weight, bias = module.reduce["a"].weight[:, :, 0, 0], module.reduce["a"].bias
    stacked = torch.cat([features["a"], features["b"]], dim=1)
    expected = torch.einsum("oc,bchw->bohw", weight, stacked) + bias[None, :, None, None]
    assert_close(module(features)["a"], expected, 1e-12)
    assert sum(p.numel() for p in module.parameters()) == 2 * 2 * 2 + 2
