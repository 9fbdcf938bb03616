"""The page's files to download and code to copy."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from drawn import SHAPES
from gateway_thread import Serve
from playground_page import Playground
from wise_client import Client
from wise_serve.http.page import read_example

ODD = 'it\'s $HOME; "the red circle" @file'


def ready(page: Playground, url: str) -> None:
    page.open(url)
    page.click("example")
    page.until(lambda: page.text("picture-facts"))


def test_the_coco_document_is_the_clients(page: Playground, serve: Serve, tmp_path: Path) -> None:
    url = serve().url
    ready(page, url)
    queries = ["the red circle", "the largest shape", "the purple dog"]
    page.ask(*queries)
    page.click("save-coco")
    document = json.loads(page.downloaded("example-coco.json"))
    example = tmp_path / "example.jpg"
    example.write_bytes(read_example() or b"")
    assert document["images"] == [
        {"id": 1, "file_name": "example.jpg", "width": 640, "height": 480}
    ]
    assert document["categories"] == [
        {"id": number, "name": query} for number, query in enumerate(queries, 1)
    ]
    assert [entry["category_id"] for entry in document["annotations"]] == [1, 2]
    with Client(url) as client:
        for number, query in enumerate(queries[:2]):
            expected = client.segment(example, query).to_coco()["annotations"][0]
            got = document["annotations"][number]
            assert {**got, "id": 1, "category_id": 1} == expected
            segmentation = {**got["segmentation"]}
            segmentation["counts"] = segmentation["counts"].encode()
            assert coco.area(segmentation) == got["area"]
            assert coco.toBbox(segmentation).tolist() == got["bbox"]


def test_the_png_is_the_picture_with_its_masks(page: Playground, serve: Serve) -> None:
    ready(page, serve().url)
    assert not page.element("save-png").is_enabled()
    page.ask("the red circle")
    mask = page.mask()
    page.click("save-png")
    saved = Image.open(io.BytesIO(page.downloaded("example-masks.png"))).convert("RGB")
    original = Image.open(io.BytesIO(read_example() or b"")).convert("RGB")
    assert saved.size == original.size
    pixels, before = np.asarray(saved).astype(int), np.asarray(original).astype(int)
    x1, y1, x2, y2 = SHAPES["circle"][0]
    outside = np.ones(pixels.shape[:2], bool)
    outside[y1 - 3 : y2 + 3, x1 - 3 : x2 + 3] = False
    assert np.abs(pixels - before)[outside].max() <= 3  # two JPEG decoders may differ a little
    y, x = y1 + 30, (x1 + x2) // 2  # inside the mask, off its points
    assert mask[y, x, 3] == 255
    mixed = before[y, x] * 0.4 + mask[y, x, :3] * 0.6  # the slider's 60 %
    np.testing.assert_allclose(pixels[y, x], mixed, atol=4)


def in_folder(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).write_bytes(read_example() or b"")
    return tmp_path


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("name", ["example.jpg", "a, b;'c\".jpg"])
@pytest.mark.parametrize("queries", [["the red circle"], ["the red circle", ODD]])
def test_the_curl_line_asks_the_same(
    page: Playground, serve: Serve, tmp_path: Path, name: str, queries: list[str]
) -> None:
    server = serve()
    page.open(server.url)
    page.hand("drop", read_example() or b"", name, "image/jpeg")
    page.until(lambda: page.text("picture-facts"))
    page.ask(*queries)
    shown = [request.prompt for request in server.reasoner.requests]
    server.reasoner.requests.clear()
    code = page.run("return document.getElementById('code').textContent")
    done = subprocess.run(
        ["sh", "-c", code], cwd=in_folder(tmp_path, name), capture_output=True, check=True
    )
    answer = json.loads(done.stdout)
    statuses = [result["status"] for result in answer.get("results", [answer])]
    assert statuses == ["found"] * len(queries)
    assert [request.prompt for request in server.reasoner.requests] == shown


@pytest.mark.parametrize("queries", [["the red circle"], ["the red circle", ODD]])
def test_the_python_code_asks_the_same(
    page: Playground, serve: Serve, tmp_path: Path, queries: list[str]
) -> None:
    server = serve()
    ready(page, server.url)
    page.run(
        "const choice = document.getElementById('strategy');"
        "choice.value = 'seg-zero'; choice.dispatchEvent(new Event('change'))"
    )
    page.ask(*queries)
    shown = [request.prompt for request in server.reasoner.requests]
    server.reasoner.requests.clear()
    page.all("[data-code=python]")[0].click()
    code = page.run("return document.getElementById('code').textContent")
    assert code.startswith("from wise_client import Client\n")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=in_folder(tmp_path, "example.jpg"), capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().count("Segmentation(") == len(queries)
    assert [request.prompt for request in server.reasoner.requests] == shown


def test_copy_puts_the_code_on_the_clipboard(page: Playground, serve: Serve) -> None:
    url = serve().url
    page.driver.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"origin": url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    ready(page, url)
    page.click("copy")
    page.until(lambda: page.text("copy") == "Copied")
    copied = page.driver.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], (error) => arguments[0](String(error)))"
    )
    assert copied == (
        f"curl -s {url}/segment \\\n  -F image=@example.jpg \\\n"
        "  --form-string 'query=the red circle'"
    )


def test_the_example_is_the_packages_file(serve: Serve) -> None:
    response = httpx.get(f"{serve().url}/example.jpg")
    assert response.headers["content-type"] == "image/jpeg"
    assert response.content == read_example()
    assert Image.open(io.BytesIO(response.content)).size == (640, 480)
