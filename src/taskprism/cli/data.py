"""``taskprism data``: describe, check and make data sets; one file per action."""

from __future__ import annotations

from collections.abc import Sequence

from taskprism.cli.actions import Action, run_action

ACTIONS: dict[str, Action] = {
    "describe": Action("taskprism.cli.data_describe:describe", "where to get a data set, its tree"),
    "check": Action("taskprism.cli.data_check:check", "open every file and say what is wrong"),
    "build": Action("taskprism.cli.data_build:build", "make a data set from its official files"),
    "pack": Action("taskprism.cli.data_pack:pack_shards", "put a data set into a few tar files"),
}


def data(words: Sequence[str]) -> None:
    """Run an action with its own options.

    Args:
        words: The action and what follows it.

    Raises:
        UnknownNameError: If there is no such action.
    """
    run_action("data", ACTIONS, words)
