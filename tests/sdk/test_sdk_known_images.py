"""The client sends no image twice, on the real gateway with fakes."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from both_clients import Both
from fakes import FakeReasoner, FakeSegmenter
from gateway_thread import GatewayThread
from sent_bytes import BodyBytes
from wise_client import AsyncClient, Client, Done

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def sent_whole(gateway: GatewayThread) -> tuple[int, int]:
    """How often an image came, and how often its digest alone."""
    return gateway.segmenter.opened, gateway.segmenter.reopened


def test_no_image_is_sent_twice(
    both: Both, gateway: GatewayThread, image: Pixels, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(image).save(path)

    async def run() -> None:
        async with AsyncClient(gateway.url) as client:
            await client.segment(path, "the red circle")
            await client.segment_queries(path, ["the red circle"] * 2)
            assert [event async for event in client.stream(path, "the red circle")]
            await client.refine(path, box=(1, 2, 30, 40))

    if both.kind == "async":
        asyncio.run(run())
    else:
        with Client(gateway.url) as client:
            client.segment(path, "the red circle")
            client.segment_queries(path, ["the red circle"] * 2)
            assert list(client.stream(path, "the red circle"))
            client.refine(path, box=(1, 2, 30, 40))
    assert sent_whole(gateway) == (1, 3)


def test_a_click_on_an_image_that_was_sent_carries_no_image_bytes(
    both: Both, image: Pixels, tmp_path: Path
) -> None:
    path, bodies = tmp_path / "a.png", BodyBytes()
    Image.fromarray(image).save(path)

    async def run(url: str) -> None:
        async with AsyncClient(url) as client:
            first = await client.segment(path, "the red circle")
            await client.segment(path, "the blue square")
            await client.refine_instance(first, add=[(100, 80)])

    fakes = FakeReasoner(), FakeSegmenter()
    with GatewayThread(*fakes, ready=True, key=None, around=bodies.around) as gateway:
        if both.kind == "async":
            asyncio.run(run(gateway.url))
        else:
            with Client(gateway.url) as client:
                first = client.segment(path, "the red circle")
                client.segment(path, "the blue square")
                first.refine(add=[(100, 80)])
    (_, whole), (_, second), (_, click) = bodies.requests
    assert [route for route, _ in bodies.requests] == ["/segment", "/segment", "/refine"]
    assert whole > path.stat().st_size > 30_000
    assert second < 300
    assert click < 500


def test_another_image_in_the_same_file_is_another_image(
    gateway: GatewayThread, image: Pixels, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    with Client(gateway.url) as client:
        for pixels in (image, 255 - image):
            Image.fromarray(pixels).save(path)
            client.refine(path, box=(1, 2, 30, 40))
    assert sent_whole(gateway) == (2, 0)


def test_an_image_that_the_server_has_forgotten_is_sent_again(
    both: Both, gateway: GatewayThread, image: Pixels
) -> None:
    with Client(gateway.url) as client:
        first = client.segment(image, "the red circle")
        gateway.segmenter.digests.clear()
        again = client.segment(image, "the red circle")
        assert (again.mask == first.mask).all()
        gateway.segmenter.digests.clear()
        assert first.refine(add=[(100, 80)]).mask[80, 100]
    assert sent_whole(gateway) == (3, 2)


def test_a_stream_about_an_image_that_the_server_has_forgotten_sends_it_again(
    both: Both, image: Pixels, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(image).save(path)

    async def run(url: str) -> None:
        async with AsyncClient(url) as client:
            await client.segment(path, "the red circle")
            assert isinstance([one async for one in client.stream(path, "q")][-1], Done)

    fakes = FakeReasoner(), FakeSegmenter()
    with GatewayThread(*fakes, ready=True, key=None, known_images_bytes=0) as gateway:
        if both.kind == "async":
            asyncio.run(run(gateway.url))
        else:
            with Client(gateway.url) as client:
                client.segment(path, "the red circle")
                assert isinstance(list(client.stream(path, "q"))[-1], Done)
        assert sent_whole(gateway) == (2, 0)
