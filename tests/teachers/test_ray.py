"""Labels and predictions from the processes of a Ray cluster, one of which is killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taskprism.cli import main
from taskprism.cluster import Resources, connect
from taskprism.errors import InputError
from taskprism.progress import Reporter
from taskprism.teachers import TeacherSource, distill
from taskprism.teachers.engines import OnRay, ray_settings, run_on_ray


def make_mortal(flag: Path) -> Callable[[], object]:
    """Makes a worker that squares numbers; its process dies at the number 5, the first time."""

    class Mortal:  # inside a function, so that it is sent as code: other processes lack this file
        def read(self, item):
            return item

        def __call__(self, items, images):
            if 5 in items and not flag.exists():
                flag.touch()
                os._exit(1)
            return [image**2 for image in images]

    return Mortal


def test_options_of_ray_need_the_engine():
    assert ray_settings("local", None, None, None) is None
    assert ray_settings("ray", "auto", 2, "gpus=0.5") == OnRay("auto", 2, Resources(1.0, 0.5))
    with pytest.raises(InputError, match="--models belongs to --engine ray"):
        ray_settings("local", None, 2, None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")
def test_labels_of_ray_are_those_of_one_process_and_a_killed_process_is_replaced(
    saved, tmp_path, monkeypatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    for index in range(4):
        pixels = random.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{index}.png")
    (photos / "broken.png").write_bytes(b"")
    ray = connect()
    try:
        here = OnRay(models=1)
        flag = tmp_path / "died"
        made = sorted(run_on_ray(make_mortal(flag), range(10), 3, here))
        assert flag.exists() and made == [number**2 for number in range(10)]
        teacher = TeacherSource(str(saved))
        quiet = Reporter(quiet=True)
        folders = []
        for name, settings in (("one", None), ("many", here)):
            out = tmp_path / name / "out"
            with pytest.raises(Exception, match="1 of 5 images could not be read"):
                distill(teacher, photos, out, ["depth", "semseg"], ray=settings, reporter=quiet)
            files = [f for f in out.rglob("*") if f.is_file() and f.name != "distill.json"]
            folders.append({str(f.relative_to(out)): f.read_bytes() for f in files})
        assert folders[0].keys() == folders[1].keys()
        same = [name for name in folders[0] if folders[0][name] == folders[1][name]]
        assert len(same) > 0.7 * len(folders[0])  # batches differ, so a rounded step may too
        (photos / "broken.png").unlink()
        words = ["predict", str(saved), str(photos), "--out", str(tmp_path / "pictures")]
        assert main([*words, "--engine", "ray", "--models", "1", "--resume"]) == 0
        assert len(list((tmp_path / "pictures" / "panels").glob("*.png"))) == 4
    finally:
        ray.shutdown()
