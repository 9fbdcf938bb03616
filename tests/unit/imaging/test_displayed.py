"""One rule of how an image is displayed, in the server and in the Python client: both read each
file of the table as it says there."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import displayed_colours
import displayed_files
import wise_client.displayed
import wise_serve.imaging.displayed
from displayed_files import File, corners_of
from pictures import chunk, picture
from wise_client.inputs import load_rgb, prepare
from wise_serve.contract.errors import UnsupportedImage
from wise_serve.imaging import images

FILES = displayed_files.files() + displayed_colours.files()
JPEG_TOLERANCE = 6  # of 255; the other formats are without loss

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's, about broken EXIF


def served(data: bytes) -> images.LoadedImage:
    return images.load(data, max_bytes=20 << 20, max_pixels=32_000_000)


def test_the_packages_hold_the_same_text() -> None:
    ours, theirs = (
        Path(str(module.__file__)).read_text("utf-8")
        for module in (wise_serve.imaging.displayed, wise_client.displayed)
    )
    assert ours == theirs, "copy server/wise_serve/imaging/displayed.py to the client"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_the_server_reads_a_file_as_the_table_says(file: File) -> None:
    loaded = served(file.data)
    assert (loaded.width, loaded.height) == file.size
    assert np.allclose(corners_of(loaded.pixels), file.corners, atol=JPEG_TOLERANCE)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_the_client_sends_it_as_it_is_and_knows_its_size(file: File) -> None:
    prepared = prepare(file.data)
    assert prepared.content is file.data
    assert prepared.content_type in ("image/jpeg", "image/png", "image/webp")
    assert prepared.sent_size == prepared.original_size == file.size


@pytest.mark.parametrize("file", FILES, ids=str)
def test_the_client_draws_on_the_pixels_that_the_server_saw(file: File) -> None:
    assert np.array_equal(np.asarray(load_rgb(file.data)), served(file.data).pixels)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_that_the_client_shrinks_keeps_its_frame(file: File) -> None:
    prepared = prepare(file.data, max_side_pixels=max(file.size) // 2)
    assert prepared.original_size == file.size
    assert prepared.sent_size == (file.size[0] // 2, file.size[1] // 2)
    loaded = served(prepared.content)
    assert (loaded.width, loaded.height) == prepared.sent_size
    assert np.allclose(corners_of(loaded.pixels), file.corners, atol=JPEG_TOLERANCE)


@pytest.mark.parametrize("package", [wise_serve.imaging.displayed, wise_client.displayed])
def test_compressed_texts_are_not_decompressed(package: object) -> None:
    swelling = displayed_files.packed_text("Raw profile type exif", bytes(80 << 20))
    data = displayed_files.png_with(*[swelling] * 50)
    tracemalloc.start()
    try:
        package.open_image(data).load()  # type: ignore[attr-defined]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(data) + (4 << 20)


def test_damage_to_the_pixels_is_refused() -> None:
    """Only damage outside the pixels is tolerated."""
    whole = picture(kind="PNG")
    header = whole.index(b"IHDR")
    wrong = whole[: header + 17] + bytes(4) + whole[header + 21 :]
    missing = whole[: whole.index(b"IDAT") - 4] + chunk(b"IEND", b"")
    for data in (wrong, missing, whole[:-40]):
        with pytest.raises(UnsupportedImage, match="damaged or incomplete"):
            served(data)
