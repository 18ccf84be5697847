"""The web page in a browser, and the command."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from skimage import data

import commands

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("There is no chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(data.coffee()).save(folder / "coffee.jpg")
    (folder / "text.png").write_text("not an image")
    return folder


def choose(tab, file):
    """Choose a file, and wait until it has been uploaded."""
    with tab.expect_response(lambda response: "/upload" in response.url):
        tab.locator("input[type=file]").first.set_input_files(file)
    tab.wait_for_timeout(500)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_photograph_is_uploaded_and_shown(browser, page, files, tmp_path, width):
    outside = []
    tab = browser.new_page(viewport={"width": width, "height": 844})
    tab.on("request", lambda request: outside.append(request.url))
    tab.goto(page.url)
    choose(tab, files / "coffee.jpg")
    tab.get_by_role("button", name="Predict").click()
    panel = tab.locator("#panel img")
    expect(panel).to_be_visible(timeout=60_000)
    shown = Image.open(io.BytesIO(httpx.get(panel.get_attribute("src")).content))
    assert shown.width > 700 and np.asarray(shown).std() > 20
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        tab.screenshot(path=f"{folder}/panel_{width}.png", full_page=True)
    tab.get_by_role("tab", name="depth").click()
    picture = tab.locator("#picture-depth img")
    expect(picture).to_be_visible()
    before = picture.get_attribute("src")
    colors = np.asarray(Image.open(io.BytesIO(httpx.get(before).content)).convert("RGB"))
    assert colors.shape[0] * colors.shape[1] == pytest.approx(1e5, rel=0.02) and colors.std() > 10
    slider = tab.locator("input[type=range]")
    slider.focus()
    slider.press("Home")
    slider.dispatch_event("pointerup")
    expect(picture).not_to_have_attribute("src", before, timeout=30_000)
    plain = np.asarray(Image.open(io.BytesIO(httpx.get(picture.get_attribute("src")).content)))
    small = Image.fromarray(data.coffee()).resize(plain.shape[1::-1])
    assert np.abs(plain[..., :3].astype(int) - np.asarray(small)).mean() < 6
    if folder:
        tab.screenshot(path=f"{folder}/depth_{width}.png", full_page=True)
        tab.get_by_role("tab", name="semseg").click()
        tab.screenshot(path=f"{folder}/semseg_{width}.png", full_page=True)
        tab.get_by_role("tab", name="3-D").click()
        tab.wait_for_timeout(3000)
        tab.screenshot(path=f"{folder}/surface_{width}.png", full_page=True)
    overflow = tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0
    assert all(url.startswith((page.url, "blob:", "data:")) for url in outside), outside
    tab.close()


def test_a_file_that_is_no_image_gives_a_plain_error(browser, page, files):
    tab = browser.new_page()
    tab.goto(page.url)
    tab.get_by_role("button", name="Predict").click()
    expect(tab.get_by_text("Upload an image first")).to_be_visible(timeout=30_000)
    choose(tab, files / "text.png")
    tab.get_by_role("button", name="Predict").click()
    expect(tab.get_by_text("not an image that can be read")).to_be_visible(timeout=30_000)
    expect(tab.locator("#panel img")).to_have_count(0)
    tab.close()


def test_sigterm_ends_the_command_and_removes_its_files(tiny, tmp_path):
    tiny.save_pretrained(tmp_path / "kitchen")
    words = ["serve", tmp_path / "kitchen", "--port", "0", "--host", "0.0.0.0"]
    folder = tmp_path / "temporary"
    folder.mkdir()
    with commands.start(*words, environment={"TMPDIR": str(folder)}) as process:
        process.wait_until(lambda: "Serving" in process.errors, 120)
        message = " ".join(process.errors.split())
        url = re.search(r"at (http\S+)", message)[1].replace("0.0.0.0", "127.0.0.1")
        assert "open to everybody who reaches 0.0.0.0" in message
        assert "kitchen" in httpx.get(url).text
        assert len(list(folder.glob("taskprism-serve-*"))) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert "Stopped." in process.errors
    assert not list(folder.glob("taskprism-serve-*"))
