"""Tables on standard output that keep their lines whole."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def print_wide(table: Table) -> None:
    """Print a table at the width that it needs, even if the terminal is narrower."""
    console = Console()
    needed = console.measure(table, options=console.options.update(width=10_000)).maximum
    console.width = max(console.width, needed)
    console.print(table, crop=False)
