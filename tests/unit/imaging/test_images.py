"""Bytes -> pixels within limits; test_displayed.py checks the pixels themselves."""

import asyncio
import gc
import io
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pictures import bomb, encode, picture
from wise_serve.contract.errors import TooLarge, UnsupportedImage
from wise_serve.imaging import images
from wise_serve.imaging.images import ImageThreads, LoadedImage

LIMIT = 1 << 20


def load(data: bytes, max_pixels: int = 1 << 22) -> LoadedImage:
    return images.load(data, max_bytes=LIMIT, max_pixels=max_pixels)


@pytest.mark.parametrize("size", [(1, 1), (27, 28), (8000, 30)])
def test_images_of_odd_sizes(size: tuple[int, int]) -> None:
    loaded = load(picture(*size))
    assert loaded.pixels.shape == (size[1], size[0], 3)
    assert images.resized(loaded.picture, (84, 84)).size == (84, 84)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "PPM", "ICO", "TGA", "JPEG2000", "DDS"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(UnsupportedImage, match="not a JPEG, PNG or WebP"):
        load(picture(kind=kind))


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF",
     b"8BPS\0\1" + bytes(40), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 "],
)  # fmt: skip
def test_data_that_is_not_an_image_is_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedImage):
        load(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("eighths", range(1, 8))
def test_files_cut_short_are_refused(kind: str, eighths: int) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), kind)
    with pytest.raises(UnsupportedImage):
        load(data[: len(data) * eighths // 8])


def test_limits_are_checked_before_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    with pytest.raises(TooLarge, match="10000 x 10000"):
        load(bomb())
    with pytest.raises(TooLarge, match="64 x 48"):
        load(picture(), max_pixels=64 * 48 - 1)
    with pytest.raises(TooLarge, match="bytes"):
        load(bytes(LIMIT + 1))


@pytest.mark.parametrize("size", [(65_536, 2), (2, 65_536)])
def test_a_side_that_is_too_long_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(TooLarge, match="at most 65535 pixels a side"):
        load(encode(Image.new("RGB", size)))
    assert load(encode(Image.new("RGB", (65_535, 2)))).width == 65_535


def test_digest_names_the_pixels_as_displayed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    base = Image.open(io.BytesIO(picture()))
    assert load(encode(base)).digest == load(encode(base, compress_level=0)).digest
    assert load(encode(base)).digest != load(encode(base, exif=exif)).digest
    tall, wide = Image.new("RGB", (2, 8)), Image.new("RGB", (8, 2))
    assert load(encode(tall)).digest != load(encode(wide)).digest


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.data())
def test_damage_gives_pixels_or_a_refusal(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(picture(24, 16, kind))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        loaded = load(bytes(damaged))
    except (UnsupportedImage, TooLarge):
        return
    assert loaded.pixels.dtype == np.uint8
    assert loaded.pixels.shape == (loaded.height, loaded.width, 3)


async def test_a_cancelled_call_releases_its_arguments() -> None:
    threads, hold = ImageThreads(1), threading.Event()
    running = asyncio.create_task(threads.run(hold.wait))
    try:
        given = Image.new("RGB", (4, 4))
        watched = weakref.ref(given)
        waiting = asyncio.create_task(threads.run(Image.Image.copy, given))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        del given, waiting
        gc.collect()
        assert watched() is None
    finally:
        hold.set()
        await running
        threads.close()
