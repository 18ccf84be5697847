"""Requests to a web page, as a browser sends them."""

from __future__ import annotations

import json

import httpx

from taskprism.serving import Limits

LIMITS = Limits(megabytes=2, megapixels=3, working_megapixels=0.1, per_minute=1000)


def upload(client: httpx.Client, content: bytes, name: str = "photo.png") -> httpx.Response:
    return client.post("/gradio_api/upload", files={"files": (name, content)})


def predict(client: httpx.Client, path: str) -> list | None:
    """Results of the endpoint ``predict``; None after an error."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    called = client.post("/gradio_api/call/predict", json={"data": [file, 0.6]})
    if called.status_code != 200:
        return None
    answer = client.get(f"/gradio_api/call/predict/{called.json()['event_id']}").text
    if "event: complete" not in answer:
        return None
    return json.loads(answer.split("data: ")[-1])
