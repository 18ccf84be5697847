"""One web page with a tiny network for all tests."""

from __future__ import annotations

import httpx
import pytest
import torch
from page_client import LIMITS

from taskprism.models import create_model
from taskprism.serving import Page
from taskprism.tasks import create_task


@pytest.fixture(scope="session")
def tiny():
    torch.manual_seed(0)
    tasks = [create_task("semseg", class_names=("floor", "wall", "thing")), create_task("depth")]
    model = create_model("multi_task", tasks, backbone="test_resnet", neck="none")
    model.input_size = (48, 64)
    return model.eval()


@pytest.fixture(scope="session")
def page(tiny):
    with Page(tiny, "Kitchen", limits=LIMITS) as page:
        yield page


@pytest.fixture(scope="session")
def client(page):
    with httpx.Client(base_url=page.url, timeout=60) as client:
        yield client
