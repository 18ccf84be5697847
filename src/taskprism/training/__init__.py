"""From a recipe to a scored run.

* :func:`load_recipe` reads a recipe (YAML, with ``extends`` and overrides), :func:`train` trains it
  into a run directory (:class:`RunDirectory` says what is in there), :func:`evaluate` scores a run.
* :class:`Trainer` is the loop: a plain one, whose backward pass is in ``Trainer._descend``.
  accelerate owns devices, processes, precision and trackers.
* :class:`Criterion` adds up the losses of tasks and scales; a user with their own loop can use it
  alone.
* :class:`Adversary` makes the gradients of tasks alike while one task is trained at a time (ASTMT).

Everything is deterministic on a CPU given the recipe's seed, and stays so through ``--resume``, see
:mod:`taskprism.training.randomness`.
"""

from taskprism.losses.criterion import Criterion, LossBreakdown
from taskprism.progress import Reporter
from taskprism.recipes.files import list_recipes, load_recipe
from taskprism.recipes.schema import Recipe
from taskprism.scoring.evaluation import score, split_loader
from taskprism.training.adversarial import Adversary
from taskprism.training.experiment import Experiment, build_experiment
from taskprism.training.loop import Stopped, Trainer
from taskprism.training.run import evaluate, train
from taskprism.training.run_directory import RunDirectory

__all__ = [
    "Adversary",
    "Criterion",
    "Experiment",
    "LossBreakdown",
    "Recipe",
    "Reporter",
    "RunDirectory",
    "Stopped",
    "Trainer",
    "build_experiment",
    "evaluate",
    "list_recipes",
    "load_recipe",
    "score",
    "split_loader",
    "train",
]
