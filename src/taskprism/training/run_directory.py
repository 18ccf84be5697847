"""The folder of a run: what is where, and who may write into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from taskprism.atomic import recover_folder, write_text
from taskprism.data.protocol import Split
from taskprism.errors import CheckpointError, RecipeError
from taskprism.recipes.files import load_recipe, to_yaml
from taskprism.recipes.schema import Recipe
from taskprism.scoring.runs import IMAGE_STATES_FILE
from taskprism.training.log import RunLog

CheckpointName = Literal["last", "best"]
#: Keys that a resumed run may change: they touch speed and places, not numbers.
FREE_ON_RESUME = ("data.workers", "data.root", "trackers", "imports")


class RunDirectory:
    """A run directory.

    ======================  ====================================================================
    ``recipe.yaml``         resolved recipe
    ``manifest.json``       versions, git state, data, hardware, licenses, times
    ``log.jsonl``           one line per epoch and evaluation
    ``checkpoints/last/``   model, and the training state from which ``--resume`` goes on
    ``checkpoints/best/``   model of the best evaluation so far
    ``metrics.json``        final scores on the test split
    ``image_states.npz``    what these scores were made of, image by image
    ``pictures/``           panels of some test images
    ======================  ====================================================================

    Args:
        path: The folder; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe_file = self.path / "recipe.yaml"
        self.manifest_file = self.path / "manifest.json"
        self.metrics_file = self.path / "metrics.json"
        self.image_states_file = self.path / IMAGE_STATES_FILE
        self.pictures = self.path / "pictures"
        self.log = RunLog(self.path / "log.jsonl")

    def scores_file(self, split: Split) -> Path:
        """Where the scores of a split are: ``metrics.json`` for test, else ``metrics_SPLIT``."""
        file = self.metrics_file
        return file if split == "test" else file.with_name(f"{file.stem}_{split}{file.suffix}")

    def checkpoint(self, name: CheckpointName) -> Path:
        """Folder of a checkpoint, whether it exists or not."""
        return self.path / "checkpoints" / name

    def has_checkpoint(self, name: CheckpointName) -> bool:
        """Whether there is a complete checkpoint of that name."""
        folder = self.checkpoint(name)
        if folder.parent.is_dir():
            recover_folder(folder)
        return (folder / "config.json").is_file()

    def find_checkpoint(self, name: CheckpointName) -> Path:
        """Folder of a checkpoint that exists.

        Raises:
            CheckpointError: There is none.
        """
        folder = self.checkpoint(name)
        if not self.has_checkpoint(name):
            raise CheckpointError(
                f"{self.path} has no checkpoint {name!r} ({folder}). Train it first: "
                "`taskprism train RECIPE --out DIR`."
            )
        return folder

    def recipe(self) -> Recipe:
        """The resolved recipe of this run.

        Raises:
            CheckpointError: This is no run directory.
        """
        if not self.recipe_file.is_file():
            raise CheckpointError(f"{self.path} is not a run directory: it has no recipe.yaml.")
        return load_recipe(self.recipe_file)

    def check_free(self) -> None:
        """Check that a new run may start here: nothing is here, or nothing was trained yet.

        Raises:
            CheckpointError: Something is there that would be lost.
        """
        if self.recipe_file.is_file():
            if self.has_checkpoint("last") or self.has_checkpoint("best"):
                raise CheckpointError(
                    f"{self.path} already holds a run. Add --resume to go on with it, or give "
                    "another --out for a new one."
                )
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise CheckpointError(f"{self.path} is not empty; give another --out.")

    def check_resumable(self, recipe: Recipe) -> None:
        """Check that the run in this folder can be resumed with ``recipe``.

        Raises:
            CheckpointError: There is no run.
            RecipeError: The recipe differs from the one the run was started with.
        """
        if not self.recipe_file.is_file():
            raise CheckpointError(
                f"{self.path} holds no run to resume; leave --resume out to start one there."
            )
        before, now = _flat(self.recipe().model_dump()), _flat(recipe.model_dump())
        changed = [
            f"{key} ({before.get(key)!r} -> {now.get(key)!r})"
            for key in dict.fromkeys([*before, *now])
            if before.get(key) != now.get(key) and not key.startswith(FREE_ON_RESUME)
        ]
        if changed:
            raise RecipeError(
                f"The recipe is not the one {self.path} was started with; changed: "
                f"{', '.join(changed)}. Resume with `taskprism train {self.recipe_file} --out "
                f"{self.path} --resume`, or start a new run in another --out."
            )

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe."""
        write_text(self.recipe_file, to_yaml(recipe))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        elif value != {}:
            flat[f"{prefix}{key}"] = value
    return flat
