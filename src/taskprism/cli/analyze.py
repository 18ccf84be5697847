"""``taskprism analyze``: the papers' analyses of labels and of trained runs; one file each."""

from __future__ import annotations

from collections.abc import Sequence

from taskprism.cli.actions import Action, run_action

ACTIONS: dict[str, Action] = {
    "affinity": Action(
        "taskprism.cli.analyze_affinity:affinity", "which pixels belong together, task against task"
    ),
    "flow": Action(
        "taskprism.cli.analyze_flow:flow", "scores of initial predictions at each scale"
    ),
    "resources": Action(
        "taskprism.cli.analyze_resources:resources", "performance against parameters, operations"
    ),
    "features": Action(
        "taskprism.cli.analyze_features:features", "pictures of what a network sees at each layer"
    ),
    "modulation": Action(
        "taskprism.cli.analyze_modulation:modulation", "t-SNE of ASTMT's activations per task"
    ),
    "sheet": Action(
        "taskprism.cli.analyze_sheet:sheet", "predictions of several runs, image by image"
    ),
}


def analyze(words: Sequence[str]) -> None:
    """Run an analysis with its own options.

    Args:
        words: The analysis and what follows it.

    Raises:
        UnknownNameError: If there is no such analysis.
    """
    run_action("analyze", ACTIONS, words)
