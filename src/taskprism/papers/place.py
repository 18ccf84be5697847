"""The folder that all runs and tables of a user are in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from taskprism.atomic import write_json
from taskprism.papers.claims import Claims
from taskprism.papers.plan import Plan, Run
from taskprism.training.run_directory import RunDirectory


class Place:
    """A folder of runs and tables, which several processes and machines may share.

    ==========================  ==============================================================
    ``runs/RUN/``               run directories; a run that rows of several tables need is there
                                once
    ``claims/RUN/``             who is or was at a run, see :mod:`taskprism.papers.claims`
    ``failures/RUN.json``       why a run failed
    ``tables/TABLE/``           ``table.md``, ``table.json`` and ``report.html``
    ==========================  ==============================================================

    Args:
        path: The folder; it need not exist yet.
        claims: How claims are held; by default in ``claims/``.
    """

    def __init__(self, path: Path, claims: Claims | None = None) -> None:
        self.path = path
        self.claims = claims or Claims(path / "claims")

    def run(self, run: Run) -> RunDirectory:
        """Directory of a run."""
        return RunDirectory(self.path / "runs" / run.name)

    def is_done(self, run: Run) -> bool:
        """Whether a run has its scores."""
        return self.run(run).metrics_file.is_file()

    def clear_debris(self, run: Run) -> None:
        """Remove what a process left that died before its run began. Needs the run's claim."""
        directory = self.run(run)
        if directory.path.exists() and not directory.recipe_file.is_file():
            shutil.rmtree(directory.path)

    def failure(self, run: Run) -> dict[str, Any] | None:
        """Why a run failed (``error``, ``host``, ``time``, ...), or None if it did not."""
        file = self._failure_file(run)
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except OSError:
            return None
        except ValueError:
            return {"error": f"{file} cannot be read"}

    def note_failure(self, run: Run, content: dict[str, Any]) -> None:
        """Remember that a run failed, for all processes."""
        write_json(self._failure_file(run), content)

    def forget_failure(self, run: Run) -> None:
        """Let a run be tried again."""
        self._failure_file(run).unlink(missing_ok=True)

    def table(self, plan: Plan) -> Path:
        """Folder of a table's results: one for each protocol and budget."""
        request = plan.request
        words = [plan.table.name.replace("/", "-"), request.protocol or "", request.budget]
        return self.path / "tables" / "-".join(Path(word).stem for word in words if word)

    def _failure_file(self, run: Run) -> Path:
        return self.path / "failures" / f"{run.name}.json"
