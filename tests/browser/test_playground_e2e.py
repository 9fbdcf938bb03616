"""The playground on the real models: the main path on the example image."""

import os
from pathlib import Path

import httpx
import numpy as np
import pytest
from pycocotools import mask as coco

from playground_page import Playground

SCREENSHOT = Path(__file__).parents[2] / "docs" / "playground.png"
QUERY = "the red circle"


@pytest.mark.e2e
def test_the_example_from_click_to_mask(page: Playground, server_url: str) -> None:
    """What is on the canvas is what the API answers; WISE_WRITE_SCREENSHOTS=1 keeps a picture."""
    page.width(1366, 800)
    page.open(server_url)
    page.click("example")
    page.until(lambda: page.text("picture-facts") == "example.jpg, 640 × 480 pixels")
    page.ask(QUERY)
    image = httpx.get(f"{server_url}/example.jpg").raise_for_status().content
    answer = httpx.post(
        f"{server_url}/segment", files={"image": image}, data={"query": QUERY}, timeout=120
    )
    result = answer.raise_for_status().json()
    assert result["status"] == "found"
    expected = np.zeros((480, 640), bool)
    for instance in result["instances"]:
        mask = instance["mask"]
        expected |= coco.decode({**mask, "counts": mask["counts"].encode()}) > 0
    np.testing.assert_array_equal(page.mask()[:, :, 3] == 255, expected)
    assert expected[110:170, 120:180].mean() > 0.9  # the circle's middle
    assert page.all(".thinking")[0].text == result["reasoning"]
    if os.environ.get("WISE_WRITE_SCREENSHOTS") == "1":
        page.screenshot(SCREENSHOT)
