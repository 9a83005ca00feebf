"""The page of `textseg3d ui` in a real browser, with the server as a real process."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.io import dicom_files
from textseg3d.client.nrrd import encode
from textseg3d.resources import data_folder
from textseg3d.zoo import default_model

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
ROOT = Path(__file__).resolve().parents[2]
SCAN = ROOT / "examples" / "chest_ct.nii.gz"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# A drawing processor in software, and a browser that asks nobody for anything.
FLAGS = [
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run",
]  # fmt: skip
WAIT_MS = 240_000
DROP = """async ([name, content]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  transfer.items.add(new File([bytes], name));
  document.getElementById("drop").dispatchEvent(
    new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
}"""
# Draws once more, and notes where the letters go and where each plane lies on the canvas.
LETTERS = """() => {
  const nv = textseg3dPage.viewer.nv;
  const found = [];
  for (const name of ["drawTextLeft", "drawTextRight"]) {
    const plain = nv[name];
    nv[name] = function (place, text, ...rest) {
      found.push([text, place[0], place[1]]);
      return plain.call(this, place, text, ...rest);
    };
  }
  nv.drawScene();
  for (const name of ["drawTextLeft", "drawTextRight"]) delete nv[name];
  const planes = nv.screenSlices.map((tile) => [tile.axCorSag, ...tile.leftTopWidthHeight]);
  const canvas = nv.canvas;
  return { found, planes, scale: canvas.width / canvas.clientWidth };
}"""


@pytest.fixture(scope="module")
def address():
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian's package chromium)")
    if not (data_folder("model_zoo") / default_model() / "card.json").is_file():
        pytest.skip("needs the bundled model")
    path = os.pathsep.join((str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")))
    process = subprocess.Popen(
        [sys.executable, "-m", "textseg3d", "ui", "--no-browser", "--quiet"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    yield process.stdout.readline().strip()
    process.terminate()
    process.wait(60)
    process.stdout.close()


@pytest.fixture(scope="module")
def browser(address):
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, chromium_sandbox=False, timeout=WAIT_MS
        )
        yield made
        made.close()


@pytest.fixture(scope="module")
def page(browser, address):
    made = browser.new_page(viewport={"width": 1200, "height": 800}, accept_downloads=True)
    made.set_default_timeout(WAIT_MS)
    made.asked, made.complaints = [], []
    made.on("request", lambda request: made.asked.append(request.url))
    made.on("pageerror", lambda error: made.complaints.append(str(error)))
    made.on(
        "console", lambda m: made.complaints.append(m.text) if m.type in ("error", "warning") else 0
    )
    made.goto(address)
    made.wait_for_selector("#open-file:enabled")
    yield made
    made.close()


def drop(page, name, content):
    page.evaluate(DROP, [name, base64.b64encode(content).decode()])


def opened(page, name):
    """Wait until a scan is shown."""
    page.wait_for_function(
        "name => textseg3dPage.state.name === name && !textseg3dPage.state.busy", arg=name
    )
    assert page.evaluate("textseg3dPage.state.image") is not None, page.inner_text("#status")


def ask(page, text):
    page.fill("#prompt", text)
    page.keyboard.press("Enter")
    page.wait_for_function(
        "text => !textseg3dPage.state.busy && textseg3dPage.results.items.has(text)",
        arg=text.split(";")[-1].strip(),
    )


def mask_and_letters(page, plane):
    """Centre of the mask's pixels in a plane, and of its letters L and R, along the picture."""
    from PIL import Image

    seen = page.evaluate(LETTERS)
    picture = Image.open(io.BytesIO(page.locator("#canvas").screenshot())).convert("RGB")
    pixels = np.asarray(picture).astype(int)
    _, left, top, width, height = next(p for p in seen["planes"] if p[0] == plane)
    scale = seen["scale"]
    tile = pixels[
        int(top / scale) : int((top + height) / scale),
        int(left / scale) : int((left + width) / scale),
    ]
    coloured = (tile[..., 0] > 60) & (tile[..., 0] > 2 * tile[..., 1])  # the first colour is red
    assert coloured.sum() > 500
    middle = np.nonzero(coloured)[1].mean() + left / scale
    letters = {
        text: x / scale
        for text, x, y in seen["found"]
        if text in "LR" and left <= x <= left + width and top <= y <= top + height
    }
    return middle, letters["L"], letters["R"]


def test_the_example_with_left_lung(page):
    drop(page, SCAN.name, SCAN.read_bytes())
    opened(page, SCAN.name)
    page.keyboard.type("left lu")  # the box has the focus
    assert page.inner_text("#suggestions li >> nth=0") == "left lung"
    page.keyboard.press("Tab")
    assert page.input_value("#prompt") == "left lung"
    page.keyboard.press("Enter")
    page.wait_for_selector("#results li")
    for radiological in (True, False):
        page.set_checked("#radiological", radiological)
        for plane in (0, 1):  # axial, coronal
            mask, left, right = mask_and_letters(page, plane)
            assert abs(mask - left) < abs(mask - right)
            assert (left > right) == radiological
    page.set_checked("#radiological", True)

    with page.expect_download() as waiting:
        page.click("#download-form button")
    with zipfile.ZipFile(waiting.value.path()) as files:
        names = files.namelist()
        record = json.loads(files.read(next(n for n in names if n.endswith(".json"))))
        (entry,) = record["prompts"]
        mask = nib.Nifti1Image.from_bytes(gzip.decompress(files.read(entry["mask"])))
    voxels = np.asarray(mask.dataobj) > 0
    millilitres = voxels.sum() * abs(np.linalg.det(mask.affine[:3, :3])) / 1000
    assert entry["text"] == "left lung"
    assert entry["volume_ml"] == pytest.approx(millilitres, rel=1e-3)
    facts = page.inner_text("#results .facts")
    shown = float(re.search(r"([\d.]+) ml", facts).group(1))
    assert shown == pytest.approx(entry["volume_ml"], rel=0.01)
    assert float(re.search(r"present ([\d.]+)", facts).group(1)) > 0.5
    drawn = page.evaluate(
        """[...textseg3dPage.viewer.masks.values()].map(
             (mask) => mask.img.reduce((n, v) => n + (v > 0), 0))"""
    )
    assert drawn == [int(voxels.sum())]
    centre = mask.affine @ [*np.argwhere(voxels).mean(axis=0), 1]
    assert centre[0] < nib.load(SCAN).affine[0, 3] + mask.affine[0, 0] * mask.shape[0] / 2


def test_keys(page):
    page.locator("#canvas").focus()
    state = """() => {
      const nv = textseg3dPage.viewer.nv;
      return [nv.opts.sliceType, [...nv.scene.crosshairPos]];
    }"""
    page.keyboard.press("PageUp")  # to the middle of a voxel
    _, before = page.evaluate(state)
    page.keyboard.press("PageUp")
    page.keyboard.press("2")
    kind, after = page.evaluate(state)
    assert kind == 0
    assert after[2] - before[2] == pytest.approx(1 / 115, rel=0.01)
    page.keyboard.press("1")
    assert page.evaluate(state)[0] == 3
    volumes = "() => textseg3dPage.viewer.nv.volumes.map((v) => v.opacity)"
    page.keyboard.press("m")
    assert page.evaluate(volumes)[1:] == [0]
    page.keyboard.press("m")
    assert page.evaluate(volumes)[1:] == [0.5]
    page.keyboard.press("l")
    assert page.evaluate("() => textseg3dPage.viewer.scan.cal_max") == 400
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    assert not page.is_visible("#help")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "prompt"


def test_words_of_any_kind(page):
    page.fill("#prompt", "left right kidney left")
    page.keyboard.press("Enter")
    page.wait_for_selector("#status.error")
    assert "contradict" in page.inner_text("#status")
    assert page.input_value("#prompt") == "left right kidney left"  # kept, to be mended
    hostile = "no <img src=x onerror=alert(1)> spleen"
    ask(page, f"liver; {hostile}")
    assert page.locator("#results li").count() == 3
    assert hostile in page.inner_text("#results")
    assert page.locator("#results img").count() == 0
    page.click("[aria-label='Remove liver']")
    assert page.locator("#results li").count() == 2


def test_other_scans(page, tmp_path):
    array = np.random.default_rng(0).integers(-900, 300, (20, 24, 22), dtype=np.int16)
    drop(page, "noise.nrrd", encode(array, (4.0, 3.0, 3.0)))
    opened(page, "noise.nrrd")
    assert page.locator("#results li").count() == 0
    assert page.evaluate("textseg3dPage.viewer.scan.dims")[1:4] == [22, 24, 20]
    series = dicom_files.save(dicom_files.ct_series(), tmp_path / "series")
    page.set_input_files("#folder", str(series))
    opened(page, "series")
    assert page.evaluate("textseg3dPage.viewer.nv.volumes.length") == 1
    drop(page, "page.nii", b"<!doctype html><p>Not found")
    page.wait_for_selector("#status.error")
    assert "rule N5" in page.inner_text("#status")
    assert page.is_disabled("#prompt")


def test_nothing_from_elsewhere(page, address):
    host = address.partition("/#")[0]
    assert page.asked
    assert all(url.startswith((host + "/", "data:", f"blob:{host}")) for url in page.asked)
    unexpected = [t for t in page.complaints if "400" not in t and "422" not in t]
    assert [t for t in unexpected if "WebGL" not in t and "GPU" not in t] == []
    assert "token" not in page.url
    refused = page.evaluate(
        "fetch('http://127.0.0.1:9/').then(() => 'went out', (error) => error.name)"
    )
    assert refused == "TypeError"
    assert any("Content Security Policy" in text for text in page.complaints)


def test_without_the_token(browser, address):
    host, _, token = address.partition("/#token=")
    fresh = browser.new_context().new_page()
    fresh.goto(host + "/")
    fresh.wait_for_selector("#token-form", state="visible")
    fresh.fill("#token", token)
    fresh.keyboard.press("Enter")
    fresh.wait_for_selector("#open-file:enabled")
    fresh.context.close()
