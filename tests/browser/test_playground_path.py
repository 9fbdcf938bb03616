"""From a picture to the masks on the canvas, pixel for pixel what the API answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco
from selenium.webdriver.common.action_chains import ActionChains

from drawn import SHAPES, ColourSegmenter, write
from fakes import FakeReasoner
from gateway_thread import Serve
from pictures import picture
from playground_page import Playground
from wise_serve.http.page import read_example


@pytest.fixture
def example(tmp_path: Path) -> Path:
    data = read_example()
    assert data is not None
    assert len(data) <= 60_000
    file = tmp_path / "scene.jpg"
    file.write_bytes(data)
    return file


def api(url: str, image: Path, queries: Sequence[str], **fields: str) -> list[dict[str, Any]]:
    """The API's own answers."""
    sent = {"queries": list(queries), **fields}
    response = httpx.post(f"{url}/segment", files={"image": image.read_bytes()}, data=sent)
    return list(response.raise_for_status().json()["results"])


def decoded(mask: dict[str, Any]) -> NDArray[np.bool_]:
    return np.asarray(coco.decode({**mask, "counts": mask["counts"].encode()}) > 0)


def covered(page: Playground) -> NDArray[np.bool_]:
    """What the canvas shows; a pixel is either whole or not there."""
    alpha = page.mask()[:, :, 3]
    assert set(np.unique(alpha)) <= {0, 255}
    return np.asarray(alpha == 255)


def test_from_a_file_to_its_mask(page: Playground, serve: Serve, example: Path) -> None:
    url = serve().url
    page.open(url)
    page.pick(example)
    assert page.text("picture-facts") == "scene.jpg, 640 × 480 pixels"
    page.ask("the red circle")
    (result,) = api(url, example, ["the red circle"])
    expected = decoded(result["instances"][0]["mask"])
    assert 10_000 < expected.sum() < 14_000
    np.testing.assert_array_equal(covered(page), expected)
    assert page.all(".verdict")[0].text == "1 object found."
    assert page.text("heard") == "1 object found."


def test_marks_lie_where_the_answer_says(page: Playground, serve: Serve, example: Path) -> None:
    page.open(serve().url)
    page.pick(example)
    page.ask("the red circle")
    box, *points = SHAPES["circle"]
    attributes = page.run(
        "const box = document.querySelector('#marks rect');"
        "return ['x', 'y', 'width', 'height'].map((name) => Number(box.getAttribute(name)))"
    )
    x1, y1, x2, y2 = box
    assert attributes == [x1, y1, x2 - x1, y2 - y1]
    dots = [element.get_attribute("d") for element in page.all("#marks path:not(.ring)")]
    assert dots == [f"M{x + 0.5} {y + 0.5}h0" for x, y in points]
    # The box on the screen is where the circle is on the screen.
    stage, mark = page.element("stage").rect, page.all("#marks rect")[0].rect
    scale = min(stage["width"] / 640, stage["height"] / 480)
    left = stage["x"] + (stage["width"] - 640 * scale) / 2
    assert mark["x"] == pytest.approx(left + x1 * scale, abs=4)


def test_several_queries(page: Playground, serve: Serve, example: Path) -> None:
    queries = ["the red circle", "the largest shape", "the purple dog"]
    url = serve().url
    page.open(url)
    page.pick(example)
    page.ask(*queries)
    results = api(url, example, queries)
    masks = [decoded(one["mask"]) for result in results for one in result["instances"]]
    np.testing.assert_array_equal(covered(page), masks[0] | masks[1])
    assert [entry.text for entry in page.all(".answer .query")] == queries
    verdicts = [entry.text for entry in page.all(".verdict")]
    assert verdicts == ["1 object found."] * 2 + ["Nothing in the picture fits this question."]
    names = [entry.text for entry in page.all("#tokens .name")]
    assert names == queries
    tokens = [entry.text for entry in page.all("#tokens .value")]
    assert tokens == [str(result["usage"]["thinking_tokens"]) for result in results]


def test_several_objects_of_one_query(page: Playground, serve: Serve, example: Path) -> None:
    url = serve().url
    page.open(url)
    page.pick(example)
    page.run(
        "const choice = document.getElementById('strategy');"
        "choice.value = 'vision-reasoner'; choice.dispatchEvent(new Event('change'))"
    )
    page.ask("every warm colour")
    (result,) = api(url, example, ["every warm colour"], strategy="vision-reasoner")
    masks = [decoded(one["mask"]) for one in result["instances"]]
    assert len(masks) == 2
    np.testing.assert_array_equal(covered(page), masks[0] | masks[1])
    colours = {tuple(page.mask()[mask][0]) for mask in masks}
    assert len(colours) == 2


def test_hovering_shows_one_object_and_a_press_keeps_it(
    page: Playground, serve: Serve, example: Path
) -> None:
    url = serve().url
    page.open(url)
    page.pick(example)
    page.ask("the red circle", "the largest shape")
    results = api(url, example, ["the red circle", "the largest shape"])
    circle, square = (decoded(result["instances"][0]["mask"]) for result in results)
    first, second = page.all("#answers .chip")
    ActionChains(page.driver).move_to_element(first).perform()
    page.until(lambda: np.array_equal(covered(page), circle))
    assert len(page.all("#marks .dim")) == 1
    # On the picture itself: the centre of the square's mark.
    ActionChains(page.driver).move_to_element(page.all("#marks rect")[1]).perform()
    page.until(lambda: np.array_equal(covered(page), square))
    ActionChains(page.driver).move_to_element(page.element("queries")).perform()
    page.until(lambda: np.array_equal(covered(page), circle | square))
    second.click()
    ActionChains(page.driver).move_to_element(page.element("queries")).perform()
    page.until(lambda: np.array_equal(covered(page), square))
    assert second.get_attribute("aria-pressed") == "true"
    second.click()
    ActionChains(page.driver).move_to_element(page.element("queries")).perform()
    page.until(lambda: np.array_equal(covered(page), circle | square))


def test_the_thinking_is_seen_before_the_answer(
    page: Playground, serve: Serve, example: Path
) -> None:
    server = serve(
        reasoner=FakeReasoner(script=write, delay_s=0.03), segmenter=ColourSegmenter(decode_s=0.4)
    )
    page.open(server.url)
    page.pick(example)
    page.run(
        "window.seen = [];"
        "new MutationObserver(() => {"
        "  const thinking = document.querySelector('.thinking')?.textContent ?? '';"
        "  const waiting = document.querySelectorAll('.mark.waiting').length;"
        "  const mask = !document.getElementById('masks').hidden;"
        "  const state = JSON.stringify([thinking, waiting, mask]);"
        "  if (window.seen.at(-1) !== state) window.seen.push(state);"
        "}).observe(document.body, { subtree: true, childList: true, attributes: true,"
        "  characterData: true })"
    )
    page.ask("the one that could roll")
    seen = page.run("return window.seen.map((text) => JSON.parse(text))")
    thinking = [text.strip() for text, waiting, mask in seen if not waiting and not mask]
    assert len(set(thinking)) >= 4, seen
    assert thinking[0] in ("", "Thinking")
    assert "round, so it rolls" in thinking
    assert any(waiting and not mask for _, waiting, mask in seen)  # the box before its mask
    assert [waiting for _, waiting, mask in seen if mask][-1] == 0


def test_the_stop_button_ends_the_request(page: Playground, serve: Serve, example: Path) -> None:
    server = serve(reasoner=FakeReasoner(script=write, delay_s=0.2))
    page.open(server.url)
    page.pick(example)
    page.write("the red circle")
    page.click("go")
    page.until(lambda: server.reasoner.running == 1)
    page.click("stop")
    page.until(lambda: server.reasoner.running == 0)
    assert server.reasoner.aborted == 1
    assert not page.shown("stop")
    assert not page.shown("problem")


def test_the_token_and_time_figures_are_shown(page: Playground, serve: Serve) -> None:
    server = serve(
        reasoner=FakeReasoner(script=write, delay_s=0.005), segmenter=ColourSegmenter(encode_s=0.1)
    )
    page.open(server.url)
    page.click("example")
    page.until(lambda: page.text("picture-facts"))
    assert page.element("queries").get_property("value") == "the red circle"
    page.click("go")
    page.until(page.answered)
    rows = [entry.text.split("\n") for entry in page.all("#tokens li, #paper-tokens li")]
    assert rows == [["This answer", "7"], ["Seg-Zero, paper", "112"], ["WISE-S, paper", "23"]]
    names = [entry.text for entry in page.all("#timings .name")]
    assert names == ["total", "decode", "encode", "reason", "segment"]
    bars = {
        name: entry.rect
        for name, entry in zip(names, page.all("#timings .track span"), strict=True)
    }
    assert bars["encode"]["x"] == pytest.approx(bars["reason"]["x"], abs=1)  # beside each other
    values = [float(entry.text.split()[0]) for entry in page.all("#timings .value")]
    widths = [bars[name]["width"] for name in names]
    assert widths[2] / widths[0] == pytest.approx(values[2] / values[0], rel=0.05)
    assert values[2] == pytest.approx(101, abs=1)  # the encode and its queue, as faked
    assert "1,043" in page.text("usage")


def test_the_slider_sets_the_masks_opacity(page: Playground, serve: Serve, example: Path) -> None:
    page.open(serve().url)
    page.pick(example)
    page.ask("the red circle")
    before = page.mask()
    page.run(
        "const slider = document.getElementById('opacity');"
        "slider.value = 20; slider.dispatchEvent(new Event('input'))"
    )
    assert page.element("masks").value_of_css_property("opacity") == "0.2"
    np.testing.assert_array_equal(page.mask(), before)


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_may_be_pasted_or_dropped(page: Playground, serve: Serve, kind: str) -> None:
    page.open(serve().url)
    page.hand(kind, picture(120, 90), "from-elsewhere.png")
    page.until(lambda: page.text("picture-facts") == "from-elsewhere.png, 120 × 90 pixels")


def test_a_turned_photo_is_segmented_as_it_is_shown(
    page: Playground, serve: Serve, tmp_path: Path
) -> None:
    """EXIF orientation 6: stored 64 x 48, shown 48 x 64."""
    file = tmp_path / "turned.jpg"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    file.write_bytes(picture(64, 48, "JPEG", exif=exif))
    url = serve().url
    page.open(url)
    page.pick(file)
    assert page.text("picture-facts") == "turned.jpg, 48 × 64 pixels"
    page.ask("the red circle")
    (result,) = api(url, file, ["the red circle"])
    np.testing.assert_array_equal(covered(page), decoded(result["instances"][0]["mask"]))
