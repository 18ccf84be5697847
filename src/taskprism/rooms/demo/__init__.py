"""The demonstration: a small comparison that runs in a few minutes on a laptop.

``taskprism demo`` renders rooms and trains single-task networks, a shared encoder and MTI-Net on
them, with the same seed and the recipes ``demo/*``. It prints the table with Δm and writes a report
with training curves, test rooms and photographs. It shows how to use taskprism and how to read its
results; it is too small to show which method is better.

* :mod:`.plan`: the recipes, and the number of epochs that fit into the given time;
* :mod:`.run`: training, comparison and report;
* :mod:`.report`: the HTML page.
"""

from taskprism.rooms.demo.run import run_demo

__all__ = ["run_demo"]
