"""One step per task: who moves, who stays, and that stopping changes nothing."""

import json

import pytest
import torch

import taskprism
from reference.run_files import log, weights
from taskprism.errors import RecipeError
from taskprism.models import create_model
from taskprism.recipes.schema import OptimizerSettings
from taskprism.training import build_experiment, evaluate, train
from taskprism.training.optimizers import parameter_groups
from taskprism.training.run_directory import TrainingState
from taskprism.training.steps import create_adversary, rate_factors
from taskprism.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick")
NAMES = ["edge", "semseg", "depth"]


@pytest.fixture
def astmt(tiny_recipe):
    def make(adversarial=0.0, **changes):
        values = {
            "model": {"name": "astmt", "backbone": "mobilenet_v2", "options": {}},
            "tasks": NAMES,
            "optimizer": {"name": "sgd", "lr": 1e-3, "momentum": 0.9, "weight_decay": 0.1},
            "stepping": {"mode": "per_task", "adversarial": {"weight": adversarial}},
            "epochs": 1,
        }
        return tiny_recipe(**{**values, **changes})

    return make


def owner(name):
    """The task that a parameter belongs to."""
    return next((part for part in name.split(".") if part in NAMES), None)


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_a_step_for_one_task_moves_nothing_of_the_others(astmt, tmp_path, monkeypatch, adversarial):
    moved = []
    step = Trainer._optimizer_step

    def watching(self, number):
        before = {n: p.detach().clone() for n, p in self.learner.model.named_parameters()}
        step(self, number)
        after = dict(self.learner.model.named_parameters())
        moved.append({n for n, p in before.items() if not torch.equal(p, after[n])})
        momenta = [len(s) for s in self.learner.optimizer.state.values() if s]
        if len(moved) == 1:
            gone = {n for n in after if owner(n) not in (None, "edge")}
            assert len(momenta) == len(after) - len(gone) + (3 if adversarial else 0)

    monkeypatch.setattr(Trainer, "_optimizer_step", watching)
    run = train(astmt(adversarial), tmp_path / "run")
    assert len(moved) == 9
    for number, names in enumerate(moved):
        task = NAMES[number % 3]
        assert {owner(name) for name in names} == {None, task}, number
        assert f"heads.{task}.weight" in names
        assert "encoder.blocks.0.depthwise.weight" in names
    (entry, *_) = log(run)
    assert entry["step"] == 9
    assert list(entry["losses"]) == NAMES
    assert list(entry.get("adversarial_losses", [])) == (NAMES if adversarial else [])
    assert not [name for name in weights(run) if "discriminator" in name]
    assert json.loads((run / "metrics.json").read_text())["parameters"] == sum(
        p.numel() for p in taskprism.load(run).parameters()
    )


def test_a_task_without_labels_takes_no_step(astmt, tmp_path, monkeypatch, tiny_data):
    """Images 1 and 5 of the tiny data have no edges, so a batch of one of them has none."""
    steps = []
    step = Trainer._optimizer_step
    monkeypatch.setattr(
        Trainer, "_optimizer_step", lambda self, number: (steps.append(number), step(self, number))
    )
    model = {"name": "astmt", "backbone": "mobilenet_v2", "options": {"decoder": "uber_net"}}
    recipe = astmt(data={"batch_size": 1}, model=model)  # it normalizes no single values
    run = train(recipe, tmp_path / "run")
    assert len(steps) == 3 * 7 - 2
    assert all(loss > 0 for loss in log(run)[0]["losses"].values())


@pytest.mark.slow
def test_stopped_and_resumed_is_bit_equal(astmt, tmp_path, monkeypatch):
    recipe = astmt(0.1, ema_decay=0.9, clip_norm=1.0)
    whole = train(recipe, tmp_path / "whole")
    descend = Trainer._train_batch

    def once(self, *arguments):
        descend(self, *arguments)
        self.stop.ask()

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_batch", once)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "parts")
    parts = train(recipe, tmp_path / "parts", resume=True)
    assert log(whole) == log(parts)
    a, b = weights(whole), weights(parts)
    assert all(torch.equal(a[name], b[name]) for name in a)
    states = [TrainingState.load(run / "checkpoints" / "last") for run in (whole, parts)]
    for name, value in states[0].adversary.items():
        assert torch.equal(value, states[1].adversary[name])
    assert states[0].position.step == 9


def test_rates_and_sizes_of_the_released_groups(tiny_recipe):
    """SE-ResNet-26 with SE, adapters and discriminator on the five tasks of PASCAL-Context."""
    tasks = {"edge": 1, "semseg": 21, "human_parts": 7, "normals": 3, "saliency": 1}
    with torch.device("meta"):
        model = create_model("astmt", tasks, backbone="se_resnet26")
    recipe = tiny_recipe(stepping={"mode": "per_task", "adversarial": {"weight": 0.01}})
    adversary = create_adversary(recipe, model)
    network = torch.nn.ModuleList([model, adversary])
    factors = rate_factors(recipe, model, adversary)
    settings = OptimizerSettings(name="sgd", lr=1e-3, backbone_lr_factor=0.5)
    groups = parameter_groups(network, settings, factors)
    sizes = [(g["lr"], sum(p.numel() for p in g["params"])) for g in groups]
    in_encoder = sum(p.numel() for n, p in model.encoder.named_parameters() if _of(tasks, n))
    assert sizes == [
        (pytest.approx(2.5e-3), in_encoder),
        (pytest.approx(0.5e-3), 13_915_456),
        (pytest.approx(5e-3), 13_454_220 - in_encoder),
        (pytest.approx(1e-2), 4_421),
        (pytest.approx(1e-3), 3_905_280),
    ]
    chosen = tiny_recipe(stepping={"mode": "per_task", "task_lr_factor": 3.0})
    assert rate_factors(chosen, model, None)[0][1] == 3.0
    assert rate_factors(tiny_recipe(), model, None) == []


def _of(tasks, name):
    return bool(set(tasks) & set(name.split(".")))


def test_clear_errors(astmt, tiny_recipe):
    with pytest.raises(
        RecipeError, match=r"'stepping.mode': 'multi_task'.*per_task; use the model 'astmt'"
    ):
        build_experiment(tiny_recipe(stepping={"mode": "per_task"}))
    with pytest.raises(RecipeError, match=r"key 'accumulate'.*set it to 1"):
        build_experiment(astmt(accumulate=2))
    joint = {"mode": "joint", "adversarial": {"weight": 0.1}}
    with pytest.raises(RecipeError, match=r"'stepping.adversarial.weight'.*per_task"):
        build_experiment(astmt(stepping=joint))
    with pytest.raises(RecipeError, match=r"unknown key 'wight' in 'stepping.adversarial'"):
        tiny_recipe(stepping={"adversarial": {"wight": 0.1}})
    with pytest.raises(RecipeError, match=r"'stepping.adversarial.kernel_size'"):
        tiny_recipe(stepping={"adversarial": {"kernel_size": 2}})


@pytest.mark.slow
def test_two_processes_take_the_same_turns(astmt, tmp_path):
    """They stay in step though only one of them may have labels; both score what is saved."""
    from test_training_processes import in_two, quiet_train

    in_two(quiet_train, astmt(0.1, epochs=2), tmp_path / "run")
    entries = [entry for entry in log(tmp_path / "run") if entry["event"] == "train"]
    assert [entry["step"] for entry in entries] == [3, 6]
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]
    for task, values in evaluate(tmp_path / "run", pictures=False).items():
        assert scores[task] == pytest.approx(values, rel=1e-5), task
