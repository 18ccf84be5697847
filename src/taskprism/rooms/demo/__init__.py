"""The demonstration: a comparison that anyone can make in a few minutes on a laptop.

``taskprism demo`` draws some rooms, trains single-task networks, a shared encoder and MTI-Net on
them from the same seed with the shipped recipes ``demo/*``, prints the table with Δm and writes a
report with curves, held-out rooms and photographs. It shows that everything works and how results
are read; it is far too small to say which method is better.

* :mod:`.plan`: which recipes, and for how many epochs in the time there is;
* :mod:`.run`: train what is not yet trained;
* :mod:`.photographs`: the pictures that scikit-image ships;
* :mod:`.report`: the HTML page.
"""

from taskprism.rooms.demo.run import run_demo

__all__ = ["run_demo"]
