"""What a run's scores were made of, image by image.

The state of every metric of this library is a sum over images. Kept per image, the states tell the
score over any selection of images, with any image counted several times, without running the
network again: that is what resampling needs (:mod:`taskprism.scoring.bootstrap`).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taskprism.errors import DataError
from taskprism.scoring.runs import IMAGE_STATES_FILE
from taskprism.tasks import Task, task_from_config

_TASKS, _NAMES = "tasks", "names"


@dataclass(frozen=True)
class ImageStates:
    """States of the primary metrics for each image of a split.

    Attributes:
        names: One per image, in the order of the split.
        tasks: Task name -> task; without those of which some metric is no sum over images.
        states: Task name -> name of the state -> ``(images, ...)``, integers or float64. An image
            without a label of the task has zeros.
    """

    names: tuple[str, ...]
    tasks: Mapping[str, Task]
    states: Mapping[str, Mapping[str, np.ndarray]]

    def to_bytes(self) -> bytes:
        """A compressed ``.npz`` file; equal states give equal bytes."""
        arrays = {
            f"{task}/{state}": values
            for task, states in self.states.items()
            for state, values in states.items()
        }
        configs = json.dumps([task.to_config() for task in self.tasks.values()])
        head = {_TASKS: np.array(configs), _NAMES: np.array(self.names, dtype=np.str_)}
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **head, **arrays)
        return file.getvalue()


def read_image_states(run: str | Path) -> ImageStates:
    """Read the states in a run directory.

    Raises:
        DataError: There are none, or the file is broken; the message says how to make it.
    """
    file = Path(run) / IMAGE_STATES_FILE
    again = f"`taskprism evaluate {run}`"
    if not file.is_file():
        raise DataError(f"{run} holds no {IMAGE_STATES_FILE}; make it with {again}.")
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files}
        tasks = [task_from_config(config) for config in json.loads(str(arrays.pop(_TASKS)))]
        names = tuple(str(name) for name in arrays.pop(_NAMES))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} cannot be read ({error}); make it again with {again}.") from error
    states: dict[str, dict[str, np.ndarray]] = {task.name: {} for task in tasks}
    for key, values in arrays.items():
        task, _, state = key.rpartition("/")
        if task not in states or len(values) != len(names):
            raise DataError(f"{file} is not whole ({key}); make it again with {again}.")
        states[task][state] = values
    return ImageStates(names, {task.name: task for task in tasks}, states)
