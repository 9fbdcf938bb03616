"""The page's messages for errors."""

import asyncio
import re
from pathlib import Path

import pytest

from drawn import write
from fakes import FakeReasoner
from gateway_thread import GatewayThread, Serve
from pictures import picture
from playground_page import Playground
from wise_serve.reasoner import FinishReason


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(picture())
    return path


def opened(page: Playground, server: GatewayThread, file: Path) -> None:
    page.open(server.url)
    page.pick(file)


def retry(page: Playground) -> None:
    page.until(lambda: page.all("#problem button")[0].is_enabled())
    page.all("#problem button")[0].click()


@pytest.mark.parametrize("allowed", [["429"]])
def test_a_busy_server_is_tried_again(page: Playground, serve: Serve, file: Path) -> None:
    slow = FakeReasoner(script=write, delay_s=0.2)
    server = serve(reasoner=slow, max_inflight_requests=1, max_queued_requests=0)
    opened(page, server, file)
    page.run(  # somebody else takes the only slot
        "const form = new FormData(); form.append('image', state.picture.file);"
        "form.append('query', 'the red circle'); window.other = new AbortController();"
        "fetch('/segment', { method: 'POST', body: form, signal: other.signal }).catch(() => 0)"
    )
    page.until(lambda: slow.running == 1)
    page.ask("the red circle")
    assert "The server is full" in page.text("problem")
    button = page.all("#problem button")[0]
    assert re.fullmatch(r"Try again in \d+ s", button.text)
    assert not button.is_enabled()
    page.run("window.other.abort()")
    page.until(lambda: slow.running == 0)
    slow.delay_s = 0.0
    retry(page)
    page.until(page.answered)
    assert not page.shown("problem")
    assert page.all(".verdict")[0].text == "1 object found."


@pytest.mark.parametrize("allowed", [["503"]])
def test_a_server_that_still_loads_says_when_to_try_again(
    page: Playground, serve: Serve, file: Path
) -> None:
    gate = asyncio.Event()
    server = serve(reasoner=FakeReasoner(script=write, gate=gate), ready=False)
    opened(page, server, file)
    page.ask("the red circle")
    assert "The server is not ready" in page.text("problem")
    assert page.all("#problem button")[0].text in ("Try again in 5 s", "Try again in 4 s")
    server.call(gate.set)
    page.ask("the red circle")  # asking anew needs no waiting
    assert page.all(".verdict")[0].text == "1 object found."


def test_a_model_lost_midway_keeps_what_was_seen(
    page: Playground, serve: Serve, file: Path
) -> None:
    server = serve(reasoner=FakeReasoner(script=write, fail_after=6, delay_s=0.01))
    opened(page, server, file)
    page.ask("the red circle")
    assert "The reasoning engine was lost" in page.text("problem")
    assert "seg-" in page.text("problem")
    assert page.all(".thinking")[0].text.startswith("red and")
    assert not page.shown("stop")
    server.reasoner.fail_after = None
    retry(page)
    page.until(page.answered)
    assert page.all(".verdict")[0].text == "1 object found."


@pytest.mark.parametrize("allowed", [["ERR_"]])
def test_an_unreachable_server_is_explained(page: Playground, serve: Serve, file: Path) -> None:
    server = serve()
    opened(page, server, file)
    network = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.driver.execute_cdp_cmd("Network.enable", {})
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", network)
    try:
        page.ask("the red circle")
        assert "The server cannot be reached" in page.text("problem")
    finally:
        page.driver.execute_cdp_cmd(
            "Network.emulateNetworkConditions", {**network, "offline": False}
        )
        page.driver.execute_cdp_cmd("Network.disable", {})
    retry(page)
    page.until(page.answered)


@pytest.mark.parametrize("allowed", [["ERR_"]])
def test_a_connection_that_breaks_midway(page: Playground, serve: Serve, file: Path) -> None:
    server = serve(reasoner=FakeReasoner(script=write, delay_s=0.2))
    opened(page, server, file)
    page.write("the red circle")
    page.click("go")
    page.until(lambda: server.reasoner.running == 1)
    page.until(lambda: "red" in page.all(".thinking")[0].text)
    server.cut()
    page.until(lambda: page.shown("problem"))
    assert "The connection was lost" in page.text("problem")


def test_a_file_that_is_no_picture(page: Playground, serve: Serve, tmp_path: Path) -> None:
    bad = tmp_path / "notes.jpg"
    bad.write_text("these are notes")
    page.open(serve().url)
    page.pick(bad)
    assert "This file is not a picture" in page.text("problem")
    assert "notes.jpg" in page.text("problem")
    assert not page.all("#problem button")
    page.hand("paste", picture())
    page.until(lambda: not page.shown("problem"))


@pytest.mark.parametrize("allowed", [["415"]])
def test_a_picture_that_only_the_browser_reads(
    page: Playground, serve: Serve, tmp_path: Path
) -> None:
    gif = tmp_path / "moving.gif"
    gif.write_bytes(picture(kind="GIF"))
    page.open(serve().url)
    page.pick(gif)
    page.ask("the red circle")
    assert "The image cannot be read" in page.text("problem")
    assert "This is not a JPEG, PNG or WebP image." in page.text("problem")


def test_files_beyond_the_limits(page: Playground, serve: Serve, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(picture(400, 300) + bytes(2**20))
    wide = tmp_path / "wide.png"
    wide.write_bytes(picture(200, 100))
    page.open(serve(max_body_bytes=2**20, max_image_pixels=10_000).url)
    page.pick(large)
    assert "The file is too large" in page.text("problem")
    page.pick(wide)
    assert "It has 20,000 pixels; this server accepts 10,000." in page.text("problem")
    assert page.text("picture-facts") == ""


@pytest.mark.parametrize(
    ("text", "finish", "verdict"),
    [
        ("<think>no dog</think><answer>[]</answer>", "stop", "Nothing in the picture fits"),
        ("<think>hm</think><answer>the left one</answer>", "stop", "no answer that can be read"),
        ("<think>it is round and red and", "length", "reached its token limit"),
    ],
)
def test_answers_without_an_object(
    page: Playground, serve: Serve, file: Path, text: str, finish: FinishReason, verdict: str
) -> None:
    server = serve(reasoner=FakeReasoner(script=lambda _: text, finish=finish))
    opened(page, server, file)
    page.ask("the red circle")
    assert verdict in page.all(".verdict")[0].text
    assert [entry.text for entry in page.all(".answer pre") if entry.is_displayed()] == (
        [] if "[]" in text else [text]
    )
    assert not page.all("#answers .chip")
    assert not page.element("save-png").is_enabled()
    assert not page.shown("masks")


def test_nothing_is_sent_without_picture_or_question(
    page: Playground, serve: Serve, file: Path
) -> None:
    server = serve()
    page.open(server.url)
    page.click("go")
    assert "There is no picture yet" in page.text("problem")
    page.pick(file)
    page.click("go")
    assert "There is no question yet" in page.text("problem")
    assert server.reasoner.requests == []


@pytest.mark.parametrize("allowed", [["401"]])
def test_a_key_is_asked_for_when_it_is_needed(page: Playground, serve: Serve, file: Path) -> None:
    page.open(serve(key="s3cret").url)
    assert "A valid API key is needed" in page.text("problem")
    page.element("key").send_keys("wrong")
    page.element("key").submit()
    page.until(lambda: page.shown("key-form"))
    page.element("key").clear()
    page.element("key").send_keys("s3cret")
    page.element("key").submit()
    page.until(lambda: page.text("models"))
    assert not page.shown("key-form")
    page.pick(file)
    page.ask("the red circle")
    assert page.all(".verdict")[0].text == "1 object found."
    assert "s3cret" not in page.text("code")
    assert "$WISE_API_KEY" in page.text("code")
    assert page.run("return [localStorage.length, sessionStorage.length, document.cookie]") == [
        0, 0, "",
    ]  # fmt: skip


def test_markup_stays_text(page: Playground, serve: Serve, file: Path) -> None:
    markup = "<img src=x onerror=alert(1)>"
    text = f"<think>{markup}</think><answer>{markup}</answer>"
    opened(page, serve(reasoner=FakeReasoner(script=lambda _: text)), file)
    page.ask(markup)
    assert page.all(".answer .query")[0].text == markup
    assert page.all(".thinking")[0].text == markup
    assert page.all(".answer pre")[0].text == text
    assert not page.all(".answer img")
