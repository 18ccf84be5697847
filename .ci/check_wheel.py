"""Check a wheel: it holds every file of the package, no other, and imports quickly on its own.

python .ci/check_wheel.py dist/taskprism-0.1.0-py3-none-any.whl
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Seconds of processor time that ``import taskprism`` may take.
LIMIT = 0.2
_IMPORT = """
import sys, time
sys.path.insert(0, sys.argv[1])
start = time.process_time()
import taskprism
seconds = time.process_time() - start
assert sys.argv[1] in taskprism.__file__, taskprism.__file__
heavy = {"torch", "numpy", "timm", "pydantic"} & set(sys.modules)
assert not heavy, f"import taskprism imports {heavy}"
print(seconds)
"""


def files_of_package() -> set[str]:
    """Files below ``src`` that belong to the wheel."""
    files = (file for file in (ROOT / "src").rglob("*") if file.is_file())
    return {file.relative_to(ROOT / "src").as_posix() for file in files if file.suffix != ".pyc"}


def main(wheel: str) -> None:
    """Exit with a message if something is wrong."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packed = {name for name in names if ".dist-info/" not in name}
    expected = files_of_package()
    if missing := sorted(expected - packed):
        sys.exit(f"The wheel lacks {', '.join(missing)}.")
    if others := sorted(packed - expected):
        sys.exit(f"The wheel holds {', '.join(others)}, which are no files of the package.")
    if not any(name.endswith("/licenses/LICENSE") for name in names):
        sys.exit("The wheel lacks the license.")
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        words = [sys.executable, "-c", _IMPORT, folder]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"import taskprism fails from the wheel:\n{done.stderr}")
    seconds = float(done.stdout)
    if seconds > LIMIT:
        sys.exit(f"import taskprism takes {seconds:.2f} s; the limit is {LIMIT} s.")
    print(f"{len(packed)} files; import taskprism takes {seconds:.3f} s of processor time")


if __name__ == "__main__":
    main(*sys.argv[1:])
