"""``taskprism data describe``: what a protocol is and what its folder looks like."""

from __future__ import annotations

from typing import Annotated

import tyro

from taskprism.data.describing import describe_protocol


def describe(
    protocol: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROTOCOL")],
    /,
) -> None:
    """Print where to get the data of a protocol, its license, tasks, conventions and trees.

    Args:
        protocol: A name of `taskprism list protocols`, or a data YAML.
    """
    print(describe_protocol(protocol))
