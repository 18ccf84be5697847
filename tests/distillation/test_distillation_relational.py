import pytest
import torch

from reference.distillation_checks import assert_same, make_features
from reference.distillation_relational import relational_context
from taskprism.distillation import RelationalContext
from taskprism.distillation.relational_context import GENOTYPES, resolve_genotype
from taskprism.errors import InputError, UnknownNameError

NYUD = ["semseg", "depth", "normals", "edge"]
PASCAL = ["semseg", "human_parts", "saliency", "normals", "edge"]
MIXED = {
    "semseg": {"semseg": "target_label", "depth": "source_label", "edge": "none"},
    "depth": {"semseg": "global", "depth": "local", "edge": "source_label"},
}


def build(genotype, tasks=("semseg", "depth"), sources=("semseg", "depth", "edge"), **options):
    options.setdefault("dropout", 0.0)
    module = RelationalContext(list(tasks), 5, list(sources), genotype=genotype, **options)
    for layers in module.gather.values():
        torch.nn.init.normal_(layers[-1].weight)  # 0 would hide the context
    return module.double()


@pytest.mark.parametrize(
    "genotype", ["none", "global", "local", "target_label", "source_label", MIXED]
)
def test_equals_the_equations(genotype):
    module = build(genotype)
    features = make_features(module.sources, (2, 5, 4, 3))
    labels = make_features(module.sources, (2, 3, 2, 3), seed=1, grad=False)
    theirs = relational_context(module, features, labels)
    assert_same(module, module(features, labels), theirs, features)


def test_context_has_no_effect_at_first():
    module = RelationalContext(["a"], 4, ["a", "b"], genotype="global", dropout=0.0)
    features = make_features("ab", (2, 4, 3, 3), dtype=torch.float32, grad=False)
    changed = {**features, "b": features["b"] + 1}
    assert torch.equal(module(features)["a"], module(changed)["a"])


def test_parameter_counts():
    """The published ATRC minus its plain network and label heads, by hand.

    Per pair 2 (C M + M^2) + C M + 10 M, per target (sources M C + 2 C) + (2 C^2 + 2 C), with
    C = 67 and M = 33.
    """
    pair = 2 * (67 * 33 + 33 * 33 + 4 * 33) + 67 * 33 + 2 * 33
    assert pair == 9141
    nyud = RelationalContext(NYUD, 67, genotype="nyud_w18")
    merge = 2 * 67 * 67 + 2 * 67
    expected = 16 * pair + 4 * (4 * 33 * 67 + 2 * 67 + merge)
    label_heads = 4 * (270 * 270 + 2 * 270) + 271 * (40 + 40 + 40 + 2)
    assert sum(p.numel() for p in nyud.parameters()) == expected == 218_616
    assert expected + label_heads == 5_060_994 - 4_515_556
    pascal = RelationalContext(PASCAL, 67, genotype="pascal_w18")
    label_heads = 5 * (270 * 270 + 2 * 270) + 271 * (21 + 7 + 2 + 40 + 2)
    total = sum(p.numel() for p in pascal.parameters())
    assert total == 318_678
    assert total + label_heads == 5_383_142 - 4_677_752


def test_published_genotypes():
    """Counts of each context over all pairs, as the authors report them."""

    def contexts(name):
        contexts = [context for row in GENOTYPES[name].values() for context in row.values()]
        return {context: contexts.count(context) for context in set(contexts)}

    assert contexts("nyud_w18") == {"target_label": 8, "source_label": 7, "global": 1}
    assert contexts("pascal_w18") == {
        "target_label": 17,
        "source_label": 6,
        "global": 1,
        "none": 1,
    }
    assert GENOTYPES["nyud_w18"]["depth"] == dict(
        zip(NYUD, ["source_label", "target_label", "source_label", "source_label"], strict=True)
    )
    assert GENOTYPES["nyud_w48"]["semseg"]["normals"] == "none"


def test_genotype_of_a_subset_of_tasks():
    chosen = resolve_genotype("nyud_w18", ["depth"], ["semseg", "depth"])
    assert chosen == {"depth": {"semseg": "source_label", "depth": "target_label"}}


def test_wrong_genotypes_are_errors():
    with pytest.raises(UnknownNameError, match="nyud_w18"):
        resolve_genotype("nyud", ["a"], ["a"])
    with pytest.raises(InputError, match=r"'semseg' and source 'albedo'"):
        resolve_genotype("nyud_w18", ["semseg"], ["semseg", "albedo"])
    with pytest.raises(UnknownNameError, match="context of 'a' from 'a'"):
        resolve_genotype({"a": {"a": "globl"}}, ["a"], ["a"])


def test_missing_predictions_are_named():
    module = build("source_label")
    features = make_features(module.sources, (1, 5, 4, 3))
    with pytest.raises(InputError, match="labels of 'semseg'"):
        module(features)
    some = {"semseg": torch.zeros(1, 2, 4, 3, dtype=torch.float64)}
    with pytest.raises(InputError, match="labels of 'depth'"):
        module(features, some)


def test_no_predictions_without_label_context():
    module = build("global")
    assert set(module(make_features(module.sources, (1, 5, 4, 3)))) == {"semseg", "depth"}


def test_one_channel_is_one_region():
    module = build("target_label", dropout=0.05)
    features = make_features(module.sources, (2, 5, 4, 3))
    single = make_features(module.sources, (2, 1, 4, 3), seed=1)
    assert module(features, single)["depth"].isfinite().all()
