"""``taskprism analyse``: the papers' analyses of labels and of trained runs; one file each."""

from __future__ import annotations

from collections.abc import Sequence

from taskprism.cli.actions import Action, run_action

ACTIONS: dict[str, Action] = {
    "affinity": Action(
        "taskprism.cli.analyse_affinity:affinity", "which pixels belong together, task against task"
    ),
}


def analyse(words: Sequence[str]) -> None:
    """Run an analysis with its own options.

    Args:
        words: The analysis and what follows it.

    Raises:
        UnknownNameError: If there is no such analysis.
    """
    run_action("analyse", ACTIONS, words)
