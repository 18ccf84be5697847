"""Labels and predictions from the processes of a Ray cluster, one of which is killed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from taskprism.cli import main
from taskprism.cluster import Resources, connect
from taskprism.errors import DataError, InputError
from taskprism.progress import Reporter
from taskprism.teachers import TeacherSource, distill
from taskprism.teachers.engines import OnRay, ray_settings


def mortal(make: Callable[[], Any], flag: Path) -> Callable[[], Any]:
    """Makes the worker of ``make``, whose process dies at its first batch, once."""

    class Mortal:  # inside a function, so that it is sent as code: other processes lack this file
        def __init__(self):
            self.worker = make()

        def read(self, item):
            return self.worker.read(item)

        def __call__(self, items, images):
            if not flag.exists():
                flag.touch()
                os._exit(1)
            return self.worker(items, images)

    return Mortal


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four photographs and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(4):
        pixels = random.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"")
    return folder


def test_options_of_ray_need_the_engine():
    assert ray_settings("local", None, None, None) is None
    assert ray_settings("ray", "auto", 2, "gpus=0.5") == OnRay("auto", 2, Resources(1.0, 0.5))
    with pytest.raises(InputError, match="--models belongs to --engine ray"):
        ray_settings("local", None, 2, None)


def test_a_process_on_ray_predicts_as_the_command_does(saved, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("taskprism.cluster.Resources.uses_gpu", lambda resources, ray: False)
    monkeypatch.setattr("taskprism.cli.predict.connect", lambda address: None)

    def run_in_turn(make, items, batch_size, settings):
        worker = make()
        assert settings == OnRay(models=1)
        yield from worker(items, [worker.read(item) for item in items])

    monkeypatch.setattr("taskprism.cli.predict.run_on_ray", run_in_turn)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # paths are relative, and absolute in other processes
    folders = []
    for name, words in (("one", []), ("many", ["--engine", "ray", "--models", "1"])):
        command = ["predict", str(saved), "../photos", "--out", f"../{name}", "--device", "cpu"]
        assert main([*command, *words]) == 2  # one image is broken
        files = [file for file in (tmp_path / name).rglob("*") if file.is_file()]
        folders.append({file.relative_to(tmp_path / name): file.read_bytes() for file in files})
    assert folders[0] == folders[1] and len(folders[0]) == 4 * 5 + 1


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")
def test_labels_of_ray_are_those_of_one_process_although_one_is_killed(
    saved, photos, tmp_path, monkeypatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    module = importlib.import_module("taskprism.teachers.distill")
    make, flag = module._make_labeler, tmp_path / "died"
    monkeypatch.setattr(module, "_make_labeler", lambda *given: mortal(make(*given), flag))
    ray = connect()
    folders = []
    try:
        for name, settings in (("one", None), ("many", OnRay(models=1))):
            out = tmp_path / name / "out"
            with pytest.raises(DataError, match="1 of 5 images could not be read"):
                distill(
                    TeacherSource(str(saved)),
                    photos,
                    out,
                    ["depth", "semseg"],
                    ray=settings,
                    reporter=Reporter(quiet=True),
                )
            files = [f for f in out.rglob("*") if f.is_file() and f.name != "distill.json"]
            folders.append({str(f.relative_to(out)): f.read_bytes() for f in files})
    finally:
        ray.shutdown()
    assert flag.exists()
    assert folders[0].keys() == folders[1].keys()
    same = [name for name in folders[0] if folders[0][name] == folders[1][name]]
    assert len(same) > 0.7 * len(folders[0])  # in another batch a value may be rounded otherwise
