"""Many trainings: engines that run them, sweeps over settings, and tuning.

* An :class:`Engine` trains a list of :class:`Job` objects into the folder of a
  :class:`RunCollection`: :class:`LocalEngine` in this process, one after the other, and
  :class:`RayEngine` in parallel on one machine or many. Finished runs are skipped and unfinished
  ones are resumed.
* :func:`plan_sweep` makes jobs for the product of recipes, values of keys, and seeds
  (``taskprism sweep``).
* :mod:`taskprism.sweeps.tune` searches for the best settings with Ray Tune (``taskprism tune``).
"""

from taskprism.cluster import Resources
from taskprism.sweeps.engine import Engine, Job, LocalEngine, RunCollection, report_missing
from taskprism.sweeps.ray_engine import RayEngine, create_engine
from taskprism.sweeps.sweep import plan_sweep

__all__ = [
    "Engine",
    "Job",
    "LocalEngine",
    "RayEngine",
    "Resources",
    "RunCollection",
    "create_engine",
    "plan_sweep",
    "report_missing",
]
