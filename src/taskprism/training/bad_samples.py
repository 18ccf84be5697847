"""The training images of a run that cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate.utils import gather_object

from taskprism.progress import Reporter

_LISTED = 20


class BadSamples:
    """Collects the images that cannot be read, over epochs, processes and resumed parts of a run.

    Attributes:
        errors: Index in the training split -> why it cannot be read, in finished epochs.
        in_epoch: Likewise in the current epoch.
    """

    def __init__(self) -> None:
        self.errors: dict[int, str] = {}
        self.in_epoch: dict[int, str] = {}

    def share(self) -> None:
        """Add what the other processes could not read; all of them call this together."""
        self.in_epoch |= dict(gather_object(list(self.in_epoch.items())))

    def finish_epoch(self, reporter: Reporter) -> dict[str, str]:
        """Report the images of the epoch that ends now.

        Args:
            reporter: Gets their number, and a line for each one that is new.

        Returns:
            Index -> error, for the log.
        """
        found = dict(sorted(self.in_epoch.items()))
        new = {index: error for index, error in found.items() if index not in self.errors}
        self.errors |= found
        self.in_epoch = {}
        if found:
            reporter.line(
                f"  Replaced {len(found)} training image(s) that cannot be read; "
                f"{len(self.errors)} in the run."
            )
        for index, error in list(new.items())[:_LISTED]:
            reporter.line(f"  Image {index} of the training split: {error}")
        if len(new) > _LISTED:
            reporter.line(f"  And {len(new) - _LISTED} more, which log.jsonl lists.")
        return {str(index): error for index, error in found.items()}

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"errors": dict(self.errors), "in_epoch": dict(self.in_epoch)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.errors = {int(index): str(error) for index, error in state["errors"].items()}
        self.in_epoch = {int(index): str(error) for index, error in state["in_epoch"].items()}
