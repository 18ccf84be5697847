"""The web page over HTTP: results, limits, and what must not be read."""

from __future__ import annotations

import io
import json
import logging
import os
import zipfile
import zlib
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import torch
from page_client import LIMITS, predict, upload
from PIL import Image

from taskprism.data.point_clouds import glb
from taskprism.serving import Limits, RateLimiter, Worker
from taskprism.serving.limits import RefusedError


def encoded(image: Image.Image, kind: str = "png", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def photograph(height: int = 40, width: int = 60) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return Image.fromarray(pixels)


def test_an_upload_is_predicted_and_downloaded(client):
    sent = upload(client, encoded(photograph()))
    results = predict(client, sent.json()[0])
    assert results is not None
    files = [each for each in results if isinstance(each, dict)]
    contents = [client.get(file["url"]).content for file in files]
    assert Image.open(io.BytesIO(contents[0])).width > 600
    assert Image.open(io.BytesIO(contents[2])).size == (60, 40)
    assert contents[-1][:4] == b"glTF"
    packed = zipfile.ZipFile(io.BytesIO(contents[1]))
    names = set(packed.namelist())
    assert {
        "depth/image.npy",
        "labels/depth/image.png",
        "labels/labels.json",
        "panels/image.png",
        "points/image.ply",
        "semseg/image.npy",
    } <= names
    meters = np.load(io.BytesIO(packed.read("depth/image.npy")))
    millimeters = np.asarray(Image.open(io.BytesIO(packed.read("labels/depth/image.png"))))
    assert meters.shape == (40, 60) and np.abs(millimeters / 1000 - meters).max() <= 5.1e-4


def test_images_of_every_kind_are_read(tiny, tmp_path):
    worker = Worker(tiny, tmp_path, LIMITS)
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = np.random.default_rng(0).integers(0, 65536, (40, 60)).astype(np.uint16)
    kinds = {
        "gray.png": encoded(photograph().convert("L")),
        "rgba.png": encoded(photograph().convert("RGBA")),
        "cmyk.jpg": encoded(photograph().convert("CMYK"), "jpeg"),
        "deep.png": encoded(Image.fromarray(deep)),
        "turned.jpg": encoded(photograph(), "jpeg", exif=turned),
        "a.webp": encoded(photograph(), "webp"),
    }
    for name, content in kinds.items():
        (tmp_path / name).write_bytes(content)
        image = worker.read(tmp_path / name)
        size = (60, 40) if name == "turned.jpg" else (40, 60)
        assert tuple(image.shape) == (3, *size), name
        assert image.min() >= 0 and image.max() <= 1
        with Image.open(worker.predict(tmp_path / name).folder / "depth.png") as picture:
            assert picture.size == size[::-1]
    (tmp_path / "large.png").write_bytes(encoded(Image.new("RGB", (800, 400))))
    height, width = worker.read(tmp_path / "large.png").shape[1:]
    assert height * width == pytest.approx(1e5, rel=0.02) and abs(width - 2 * height) < 3


def bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A PNG of a few bytes whose header states a huge image."""
    content = bytearray(encoded(Image.new("L", (8, 8))))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


REFUSED = {
    "text.png": (b"not an image", "not an image that can be read"),
    "empty.png": (b"", "not an image that can be read"),
    "cut.jpg": (encoded(photograph(300, 300), "jpeg")[:2000], "is damaged"),
    "bomb.png": (bomb(), "more than 3 megapixels"),
    "wide.png": (bomb(2001, 1500), "more than 3 megapixels"),
    "tiny.png": (encoded(photograph(4, 60)), "less than 8 pixels"),
    "large.png": (bytes(2**21 + 1), "larger than 2 MB"),
    "a.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_cannot_be_predicted_are_refused_in_plain_words(tiny, tmp_path, name):
    content, message = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    worker = Worker(tiny, tmp_path / "work", LIMITS)
    with pytest.raises(RefusedError, match=message) as caught:
        worker.predict(tmp_path / name)
    assert str(tmp_path) not in str(caught.value)
    assert not list(worker.folder.iterdir())


def test_errors_do_not_stop_the_server_and_their_reason_stays_in_the_log(
    client, page, monkeypatch, caplog
):
    sent = upload(client, encoded(photograph())).json()[0]

    def fail(path):
        raise RuntimeError("a secret path")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(page.worker, "predict", fail)
        file = {"path": sent, "meta": {"_type": "gradio.FileData"}}
        event = client.post("/gradio_api/call/predict", json={"data": [file, 0.6]}).json()
        answer = client.get(f"/gradio_api/call/predict/{event['event_id']}").text
    assert "event: error" in answer and "secret" not in answer
    assert "a secret path" in caplog.text
    assert predict(client, sent) is not None


def test_nothing_outside_the_temporary_folder_is_read(client, page, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden words")
    inside = page.folder / "inside.txt"
    inside.write_text("inside")
    climbing = f"{page.folder}/../{tmp_path.relative_to('/tmp')}/secret.txt"
    assert Path(climbing).read_text() == "hidden words"
    paths = [
        str(secret),
        climbing,
        "/etc/passwd",
        "../../../../etc/passwd",
        f"{page.folder}/link.txt",
    ]
    paths += [f"{page.folder}/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", __file__, "pyproject.toml"]
    for path in paths:
        for spelled in (path, quote(path, safe="")):
            for route in ("/file=", "/gradio_api/file=", "/gradio_api/file/", "/file/"):
                answer = client.get(f"{route}{spelled}")
                assert answer.status_code in (307, 403, 404, 422), (route, spelled)
                for content in ("hidden words", "root:", "def test_", "[build-system]"):
                    assert content not in answer.text
    assert client.get(f"/gradio_api/file={inside}").text == "inside"
    for path in ("/etc/passwd", str(secret), climbing):
        assert predict(client, path) is None
    inside.unlink()


def test_the_server_reads_no_other_server(client):
    for route in ("/gradio_api/proxy=", "/gradio_api/file=", "/proxy=", "/file="):
        for address in ("http://127.0.0.1:9/", "https://example.org/", "HTTP://example.org"):
            assert client.get(f"{route}{address}").status_code in (403, 404)
    assert predict(client, "http://127.0.0.1:9/a.png") is None
    page = client.get("/").text + client.get("/theme.css").text
    for host in ("googleapis", "gstatic", "cdnjs", "jsdelivr", "unpkg"):
        assert host not in page


def test_uploads_are_limited(client, page, monkeypatch):
    too_large = upload(client, bytes(3 * 2**20))
    assert too_large.status_code == 413 and too_large.text == "The file is larger than 2 MB."
    boundary = {"content-type": "multipart/form-data; boundary=x"}
    chunks = client.post("/gradio_api/upload", content=iter([b"--x--"]), headers=boundary)
    assert chunks.status_code == 411
    with monkeypatch.context() as patch:
        patch.setattr(page, "_uploads", RateLimiter(2))
        codes = [upload(client, encoded(photograph())).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    with monkeypatch.context() as patch:
        patch.setattr(page, "limits", Limits(folder_megabytes=0))
        assert "no room" in upload(client, encoded(photograph())).text


def test_predictions_of_a_client_are_limited(client, page, monkeypatch):
    sent = upload(client, encoded(photograph())).json()[0]
    monkeypatch.setattr(page, "_predictions", RateLimiter(1))
    assert predict(client, sent) is not None
    assert predict(client, sent) is None
    now = 0.0
    limiter = RateLimiter(2, lambda: now)
    for _ in range(2):
        limiter.check("a")
    with pytest.raises(RefusedError, match="Try again in 60 s"):
        limiter.check("a")
    limiter.check("b")
    now = 60.0
    limiter.check("a")


def test_old_files_are_removed(tiny, tmp_path):
    worker = Worker(tiny, tmp_path, LIMITS)
    (tmp_path / "a.png").write_bytes(encoded(photograph()))
    old, new = worker.predict(tmp_path / "a.png"), worker.predict(tmp_path / "a.png")
    for path in [*old.folder.iterdir(), old.folder]:
        os.utime(path, (0, 0))
    worker.remove_old(tmp_path)
    assert [path.name for path in worker.folder.iterdir()] == [new.folder.name]
    with pytest.raises(RefusedError, match="have been deleted"):
        worker.blend(old.folder.name, "depth", 0.5)
    for token in ("../results", "", new.folder.name + "/.."):
        with pytest.raises(RefusedError):
            worker.blend(token, "depth", 0.5)
    below = np.asarray(Image.open(new.folder / "image.png"))
    above = np.asarray(Image.open(new.folder / "depth.png"))
    assert (worker.blend(new.folder.name, "depth", 0) == below).all()
    assert (worker.blend(new.folder.name, "depth", 1) == above).all()


def test_a_surface_is_a_valid_glb_file(tiny, tmp_path):
    worker = Worker(tiny, tmp_path, LIMITS)
    depth = torch.linspace(2, 3, 60).repeat(1, 40, 1)
    depth[:, :, 30:] += 5  # two surfaces
    depth[:, :3, :3] = torch.nan
    content = glb(depth, torch.rand(3, 40, 60), worker.camera(40, 60))
    assert len(content) == int.from_bytes(content[8:12], "little")
    length = int.from_bytes(content[12:16], "little")
    described = json.loads(content[20 : 20 + length])
    data = content[28 + length :]
    indices, position, colors = described["accessors"]
    views = described["bufferViews"]
    points = np.frombuffer(data, np.float32, 3 * position["count"], views[1]["byteOffset"])
    points = points.reshape(-1, 3)
    assert (points[:, 2] < 0).all() and np.allclose(points.min(axis=0), position["min"])
    numbers = np.frombuffer(data, np.uint32, indices["count"], views[0]["byteOffset"])
    assert numbers.max() < position["count"] == colors["count"] == 40 * 60 - 9
    assert len(numbers) < 2 * 3 * 39 * 58  # none across the step and the hole
    a, b, c = (points[numbers[corner::3]] for corner in range(3))
    toward_camera = (np.cross(b - a, c - a) * -a).sum(axis=1)
    assert (toward_camera > 0).all()
