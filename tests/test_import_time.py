"""`import taskprism` is fast: names are imported on first use."""

from __future__ import annotations

import json

from tests import commands

_CODE = """
import json, sys, time
start = time.process_time()
import taskprism
seconds = time.process_time() - start
from taskprism import cli
cli.main(["--help"])
print()
print(json.dumps([seconds, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_the_package_and_the_help_import_no_large_library() -> None:
    done = commands.run_python(_CODE, fresh=True)
    seconds, modules = json.loads(done.output.splitlines()[-1])
    heavy = {"torch", "torchvision", "timm", "numpy", "pydantic", "huggingface_hub", "rich", "tyro"}
    assert "taskprism" in modules and not heavy & set(modules)
    # 0.06 s on the machine that this limit was set on; processor time, which other programs that
    # run at the same time hardly change.
    assert seconds < 0.2
