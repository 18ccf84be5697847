"""Send many requests to the web page of a tiny network, some of them hostile, and report leaks.

    python benchmarks/serve_soak.py --requests 1000 --hostile 0.05

The server runs in a separate process, as ``taskprism serve`` starts it. The report counts failed
requests and hostile requests that were answered, and shows memory, open files and temporary files
of the server at the start and at the end.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import numpy as np
from PIL import Image

from taskprism.models import create_model
from taskprism.tasks import create_task

KEEP_MINUTES = 0.5


def photograph(number: int) -> bytes:
    """A JPEG or PNG that no other request sends."""
    generator = np.random.default_rng(number)
    height, width = generator.integers(40, 240, 2)
    pixels = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    stream = io.BytesIO()
    kind = "jpeg" if number % 2 else "png"
    Image.fromarray(pixels).resize((int(width), int(height))).save(stream, format=kind)
    return stream.getvalue()


def huge_png() -> bytes:
    """A PNG of a few bytes whose header states 50000 x 50000 pixels."""
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, format="png")
    content = bytearray(stream.getvalue())
    content[16:24] = (50_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


class Visitor:
    """Sends requests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=120)

    def predict(self, number: int) -> bool:
        """An ordinary visit: upload, predict, download."""
        path = self.upload(photograph(number), "photo.png")
        results = path and self.call(path)
        if not results:
            return False
        files = [each for each in results if isinstance(each, dict)]
        return all(self.client.get(file["url"]).status_code == 200 for file in files[:4])

    def upload(self, content: bytes, name: str) -> str | None:
        """Path of the uploaded file, if it was accepted."""
        answer = self.client.post("/gradio_api/upload", files={"files": (name, content)})
        return answer.json()[0] if answer.status_code == 200 else None

    def call(self, path: str) -> list | None:
        """Results of the prediction, if there are any."""
        data = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, 0.6]}
        called = self.client.post("/gradio_api/call/predict", json=data)
        if called.status_code != 200:
            return None
        event = called.json()["event_id"]
        answer = self.client.get(f"/gradio_api/call/predict/{event}").text
        complete = "event: complete" in answer
        return json.loads(answer.split("data: ")[-1]) if complete else None

    # Each returns whether the server did what it must not.
    def oversized(self, number: int) -> bool:
        """A file above the limit."""
        return self.upload(bytes(3 * 2**20), "large.png") is not None

    def corrupt(self, number: int) -> bool:
        """A JPEG whose second half is missing."""
        content = photograph(2 * number + 1)
        path = self.upload(content[: len(content) // 3], "cut.jpg")
        return path is not None and self.call(path) is not None

    def wrong_type(self, number: int) -> bool:
        """A text file that is named as a picture."""
        path = self.upload(b"#!/bin/sh\necho\n" * 50, "text.png")
        return path is not None and self.call(path) is not None

    def huge(self, number: int) -> bool:
        """An image whose header states huge dimensions."""
        path = self.upload(huge_png(), "huge.png")
        return path is not None and self.call(path) is not None

    def outside(self, number: int) -> bool:
        """Files outside the temporary folder, directly and by climbing."""
        climbing = "/gradio_api/file=../../../../../../etc/passwd"
        spelled = "/gradio_api/file=" + quote("/etc/passwd", safe="")
        texts = [self.client.get(path).text for path in (climbing, spelled, "/file=/etc/passwd")]
        return any("root:" in text for text in texts) or self.call("/etc/passwd") is not None

    def truncated(self, number: int) -> bool:
        """An upload that ends before its stated length."""
        parts = urlsplit(self.url)
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
            connection.sendall(
                b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
                b'Content-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nabc'
            )
        return False

    def nonsense(self, number: int) -> bool:
        """A request body that is not what the page sends."""
        for body in (b"{", b'{"data": 7}', b'{"data": [[[[]]], "x"]}', os.urandom(100)):
            headers = {"content-type": "application/json"}
            self.client.post("/gradio_api/call/predict", content=body, headers=headers)
        return False


HOSTILE: list[Callable[[Visitor, int], bool]] = [
    *(Visitor.oversized, Visitor.corrupt, Visitor.wrong_type, Visitor.huge),
    *(Visitor.outside, Visitor.truncated, Visitor.nonsense),
]


def state(pid: int, folder: Path) -> dict[str, float]:
    """Memory, open files, threads and temporary files of the server."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        "RSS in MB": round(memory, 1),
        "open files": len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208 (links of a process)
        "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]),
        "temporary files": len(files),
    }


def start(folder: Path) -> tuple[subprocess.Popen, str]:
    """A server with a tiny network, and its URL."""
    tasks = [create_task("semseg", class_names=("floor", "wall", "thing")), create_task("depth")]
    model = create_model("multi_task", tasks, backbone="test_resnet", neck="none")
    model.input_size = (48, 64)
    model.save_pretrained(folder / "tiny")
    (folder / "temporary").mkdir()
    log = (folder / "log.txt").open("w")
    words = ["serve", str(folder / "tiny"), "--port", "0", "--rate", "1000000", "--queue", "64"]
    words += ["--max-megabytes", "2", "--keep-minutes", str(KEEP_MINUTES)]
    environment = {**os.environ, "TMPDIR": str(folder / "temporary"), "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, "-m", "taskprism", *words], stderr=log, stdout=log, env=environment
    )
    while server.poll() is None:
        found = re.search(r"at (http\S+)", (folder / "log.txt").read_text())
        if found:
            return server, found[1]
        time.sleep(0.5)
    raise SystemExit((folder / "log.txt").read_text())


def main() -> None:
    """Run the soak and print its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--hostile", type=float, default=0.05)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--warm-up", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        server, url = start(folder)
        counts: Counter[str] = Counter()

        def visit(number: int) -> None:
            chosen = random.Random(number)
            visitor = Visitor(url)
            try:
                if chosen.random() < options.hostile:
                    attack = HOSTILE[chosen.randrange(len(HOSTILE))]
                    counts[f"hostile: {attack.__name__}"] += 1
                    counts["hostile requests that succeeded"] += attack(visitor, number)
                else:
                    counts["ordinary"] += 1
                    counts["ordinary requests that failed"] += not visitor.predict(number)
            except httpx.HTTPError as error:
                counts[f"connection errors: {type(error).__name__}"] += 1
            finally:
                visitor.client.close()

        with ThreadPoolExecutor(options.clients) as pool:
            list(pool.map(visit, range(options.requests, options.requests + options.warm_up)))
            counts.clear()
            before, began = state(server.pid, folder / "temporary"), time.monotonic()
            list(pool.map(visit, range(options.requests)))
        seconds = time.monotonic() - began
        after = state(server.pid, folder / "temporary")
        time.sleep(60 * KEEP_MINUTES + 65)  # old files are removed once a minute
        rested = state(server.pid, folder / "temporary")
        alive = server.poll() is None
        server.send_signal(signal.SIGTERM)
        status = server.wait(60)
        print(f"{options.requests} requests in {seconds:.0f} s; the server was alive: {alive}")
        for what, count in sorted(counts.items()):
            print(f"  {what}: {count}")
        for key in before:
            print(
                f"  {key}: {before[key]} at the start, {after[key]} at the end, "
                f"{rested[key]} after the files were removed"
            )
        left = list((folder / "temporary").rglob("*"))
        print(f"  exit status after SIGTERM: {status}; temporary files left: {len(left)}")
        tracebacks = (folder / "log.txt").read_text().count("Traceback")
        print(f"  tracebacks in the log of the server: {tracebacks}")


if __name__ == "__main__":
    main()
