"""The demonstration: a small comparison that runs in a few minutes on a laptop.

``taskprism demo`` renders some rooms, trains single-task networks, a shared encoder and MTI-Net on
them from the same seed with the shipped recipes ``demo/*``, prints the table with Δm and writes a
report with curves, held-out rooms and photographs. It shows how to use the pipeline and how to read
its results; it is too small to say which method is better.

* :mod:`.plan`: the recipes, and how many epochs fit into the given time;
* :mod:`.run`: trains what is not trained yet;
* :mod:`.report`: the HTML page.
"""

from taskprism.rooms.demo.run import run_demo

__all__ = ["run_demo"]
