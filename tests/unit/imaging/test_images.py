"""Bytes -> pixels as displayed. Every file is built here."""

import asyncio
import gc
import io
import struct
import threading
import weakref
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pictures import bomb, chunk, encode, picture, png
from wise_serve.contract.errors import TooLarge, UnsupportedImage
from wise_serve.imaging import images
from wise_serve.imaging.images import ImageThreads, LoadedImage

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
LIMIT = 1 << 20


def load(data: bytes, max_pixels: int = 1 << 22) -> LoadedImage:
    return images.load(data, max_bytes=LIMIT, max_pixels=max_pixels)


def corners(loaded: LoadedImage) -> list[tuple[int, ...]]:
    pixels = loaded.pixels
    return [tuple(int(v) for v in pixels[y, x]) for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize(
    ("orientation", "expected"),
    # corners as displayed, row by row, of a stored image with red, green / blue, white corners
    [(1, [RED, GREEN, BLUE, WHITE]), (2, [GREEN, RED, WHITE, BLUE]), (3, [WHITE, BLUE, GREEN, RED]),
     (4, [BLUE, WHITE, RED, GREEN]), (5, [RED, BLUE, GREEN, WHITE]), (6, [BLUE, RED, WHITE, GREEN]),
     (7, [WHITE, GREEN, BLUE, RED]), (8, [GREEN, WHITE, RED, BLUE])],
)  # fmt: skip
def test_all_eight_orientations(kind: str, orientation: int, expected: list[object]) -> None:
    stored = Image.new("RGB", (64, 32))
    for place, colour in zip(
        [(0, 0), (32, 0), (0, 16), (32, 16)], [RED, GREEN, BLUE, WHITE], strict=True
    ):
        stored.paste(colour, (*place, place[0] + 32, place[1] + 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0}
    loaded = load(encode(stored, kind, exif=exif, **({} if kind == "PNG" else options)))
    assert (loaded.width, loaded.height) == ((64, 32) if orientation < 5 else (32, 64))
    assert np.allclose(corners(loaded), expected, atol=3)
    with Image.open(io.BytesIO(encode(stored, "PNG", exif=exif))) as again:
        assert ImageOps.exif_transpose(again).size == (loaded.width, loaded.height)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow tells; we go on
def test_damaged_exif_does_not_refuse_the_pixels() -> None:
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0"):
        assert load(picture(kind="JPEG", exif=exif)).width == 64


def test_alpha_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert corners(load(encode(clear, kind, **options)))[0] == WHITE
        assert corners(load(encode(half, kind, **options)))[0] == (255, 127, 127)
    assert corners(load(encode(Image.new("LA", (4, 4), (0, 0)))))[0] == WHITE


def test_palette_with_and_without_transparency() -> None:
    flat = Image.new("P", (4, 4), 1)
    flat.putpalette([255, 0, 0, 0, 0, 255])
    assert corners(load(encode(flat)))[0] == BLUE
    assert corners(load(encode(flat, transparency=1)))[0] == WHITE
    assert corners(load(encode(flat, transparency=bytes([255, 0]))))[0] == WHITE


def test_transparent_colour_of_rgb_and_grey() -> None:
    assert corners(load(encode(Image.new("RGB", (4, 4), RED), transparency=RED)))[0] == WHITE
    assert corners(load(encode(Image.new("L", (4, 4), 7), transparency=7)))[0] == WHITE


def test_sixteen_bits_keep_the_high_byte() -> None:
    grey = np.full((4, 4), 0x80FF, np.uint16)
    assert corners(load(encode(Image.fromarray(grey))))[0] == (0x80, 0x80, 0x80)
    row = b"\0" + struct.pack(">HHH", 0xFFFF, 0x8000, 0x00FF) * 2
    colour = png(struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0), row * 2)
    assert corners(load(colour))[0] == (255, 128, 0)
    row = b"\0" + struct.pack(">HH", 0x8000, 0) * 2
    with_alpha = png(struct.pack(">IIBBBBB", 2, 2, 16, 4, 0, 0, 0), row * 2)
    assert corners(load(with_alpha))[0] == WHITE


def test_one_bit_and_greyscale() -> None:
    assert corners(load(encode(Image.new("1", (4, 4), 1))))[0] == WHITE
    assert corners(load(encode(Image.new("L", (4, 4), 77))))[0] == (77, 77, 77)
    assert np.allclose(corners(load(encode(Image.new("L", (8, 8), 77), "JPEG")))[0], 77, atol=2)


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_jpeg_is_taken_as_inverted(adobe: bool) -> None:
    data = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    at = data.index(b"\xff\xee")  # APP14, Adobe's marker; Pillow writes the inverted form
    if not adobe:
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    assert np.allclose(corners(load(data))[0], RED, atol=6)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)]
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert corners(load(data))[0] == RED


@pytest.mark.parametrize("size", [(1, 1), (27, 28), (8000, 30)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    loaded = load(picture(*size))
    assert loaded.pixels.shape == (size[1], size[0], 3)
    assert images.to_square(loaded.picture, 84).size == (84, 84)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "PPM", "ICO", "TGA", "JPEG2000", "DDS"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(UnsupportedImage, match="not a JPEG, PNG or WebP"):
        load(picture(kind=kind))


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF",
     b"8BPS\0\1" + bytes(40), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 "],
)  # fmt: skip
def test_what_is_no_image_is_refused(data: bytes) -> None:
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


def test_text_chunk_bomb_is_refused() -> None:
    zipped = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(80 << 20), 9))
    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    with pytest.raises(UnsupportedImage):
        load(png(header, b"\0\0\0" * 2, zipped))


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


async def test_a_cancelled_call_lets_go_of_what_it_was_given() -> None:
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
