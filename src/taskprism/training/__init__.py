"""Training: from a recipe to a scored run.

* A *recipe* is one YAML file that describes a run; :func:`load_recipe` reads it. A *protocol* is a
  named benchmark: data, tasks, input size and rules of scoring.
* :func:`train` trains a recipe into a run directory (:class:`RunDirectory` lists its files), and
  :func:`evaluate` scores a run.
* :class:`Trainer` is the loop: a batch goes through ``Trainer._train_batch``. accelerate manages
  devices, processes, precision and trackers.
* :class:`Criterion` adds up the losses of tasks and scales; it works in any training loop.
* :class:`Adversary` makes the gradients of tasks alike while one task is trained at a time (ASTMT).

On a CPU the recipe's seed determines every number, with and without ``--resume``: see
:mod:`taskprism.training.feeding`.
"""

from taskprism.losses.criterion import Criterion, LossBreakdown
from taskprism.progress import Reporter
from taskprism.recipes.files import list_recipes, load_recipe
from taskprism.recipes.schema import Recipe
from taskprism.scoring.evaluation import score, split_loader
from taskprism.training.adversarial import Adversary
from taskprism.training.callbacks import Callback, EarlyStopping
from taskprism.training.evaluation import evaluate
from taskprism.training.experiment import Experiment, build_experiment
from taskprism.training.run import train
from taskprism.training.run_directory import RunDirectory
from taskprism.training.trainer import Stopped, Trainer

__all__ = [
    "Adversary",
    "Callback",
    "Criterion",
    "EarlyStopping",
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
