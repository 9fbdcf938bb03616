"""The images that callers have, and the bytes that are sent."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import displayed_files
import pictures
from wise_client import InputError
from wise_client.inputs import ImageInput, identity, keep, load_rgb, prepare
from wise_serve.imaging import images


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def sent(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(
    ("kind", "mime"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")]
)
def test_the_three_formats_are_sent_as_they_are(
    kind: str, mime: str, pixels: np.ndarray, tmp_path: Path
) -> None:
    content = encoded(Image.fromarray(pixels), kind)
    path = tmp_path / "without_suffix"
    path.write_bytes(content)
    forms: list[ImageInput] = [
        content,
        bytearray(content),
        memoryview(content),
        path,
        str(path),
        io.BytesIO(content),
    ]
    with path.open("rb") as opened:
        image: ImageInput
        for image in [*forms, opened]:
            prepared = prepare(image)
            assert prepared.content == content
            assert prepared.content_type == mime
            assert prepared.sent_size == prepared.original_size == (60, 40)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF"])
def test_other_formats_become_png_without_loss(kind: str, pixels: np.ndarray) -> None:
    prepared = prepare(encoded(Image.fromarray(pixels), kind))
    assert prepared.content_type == "image/png"
    picture = Image.open(io.BytesIO(prepared.content))
    assert np.array_equal(np.asarray(picture.convert("RGB")), pixels)


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiff_of_either_byte_order_is_sent_with_all_its_bits(order: str) -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    picture = Image.fromarray(values.astype(f"{order}u2"))
    assert picture.mode == ("I;16" if order == "<" else "I;16B")
    for image in (encoded(picture, "TIFF"), picture):
        assert np.array_equal(sent(prepare(image).content), values)
        shrunk = sent(prepare(image, max_side_pixels=8).content)
        assert shrunk.shape == (8, 8)
        assert shrunk.min() < 20
        assert shrunk.max() > 235


def test_16_bit_ppm_is_sent_with_all_its_bits() -> None:
    values = np.linspace(0, 65535, 256).astype(">u2")
    content = b"P5 16 16 65535\n" + values.tobytes()
    assert np.array_equal(sent(prepare(content).content).ravel(), values)


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_formats_that_become_png_are_turned_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if kind == "AVIF" else {}
    content = encoded(displayed_files.quadrants(), kind, exif=exif, **options)
    size = (64, 32) if orientation < 5 else (32, 64)
    for most, expected in ((None, size), (32, (size[0] // 2, size[1] // 2))):
        prepared = prepare(content, max_side_pixels=most)
        assert prepared.original_size == size
        assert prepared.sent_size == expected
        pixels = sent(prepared.content)
        assert pixels.shape[:2] == expected[::-1]
        corners = displayed_files.CORNERS[orientation]
        assert np.allclose(displayed_files.corners_of(pixels), corners, atol=8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "RGBa", "La", "PA", "CMYK"])
def test_the_overlay_shows_what_the_server_sees_of_pixels_that_are_held(mode: str) -> None:
    values = np.random.default_rng(2).integers(0, 256, (6, 8, 4), np.uint8)
    picture = Image.fromarray(values)
    by_way = {"RGBa": "RGBA", "La": "LA", "PA": "P", "CMYK": "RGB"}.get(mode)
    picture = picture.convert(by_way).convert(mode) if by_way else picture.convert(mode)
    served = images.load(prepare(picture).content, 1 << 20, 1 << 20)
    assert np.array_equal(np.asarray(load_rgb(picture)), served.pixels)


@pytest.mark.slow
def test_an_image_beyond_pillow_s_limit_is_sent_or_shrunk() -> None:
    content = pictures.bomb(14_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 90_000_000)  # its limit is twice this
        assert prepare(content).content is content
        assert prepare(content, max_side_pixels=700).sent_size == (700, 700)


def test_too_many_pixels_are_reported_with_the_limit() -> None:
    content = pictures.bomb(23_000)
    assert prepare(content).sent_size == (23_000, 23_000)  # its limits are the server's to tell
    with pytest.raises(InputError, match="23000 x 23000 pixels; at most 500,000,000"):
        prepare(content, max_side_pixels=700)


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3), (40, 60, 4)])
def test_arrays_and_pil_images_arrive_to_the_bit(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for image in (array, array[::-1][::-1], Image.fromarray(array)):
        prepared = prepare(image)
        assert prepared.content_type == "image/png"
        assert np.array_equal(sent(prepared.content), array)
        assert prepared.sent_size == (60, 40)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_of_pil_with_a_known_range_is_accepted(mode: str) -> None:
    picture = Image.new("L", (8, 6)).convert("I;16" if mode == "I;16" else "RGB")
    picture = picture if mode == "I;16" else picture.convert(mode)
    assert prepare(picture).sent_size == (8, 6)
    assert prepare(picture, max_side_pixels=4).sent_size == (4, 3)
    assert picture.mode == mode  # the caller's image is as it was


def test_exif_orientation_gives_the_displayed_size(pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.fromarray(pixels), "JPEG", exif=exif, quality=95)
    prepared = prepare(content)
    assert prepared.content == content  # the server applies the orientation itself
    assert prepared.original_size == (40, 60)
    assert load_rgb(content).size == (40, 60)
    shrunk = prepare(content, max_side_pixels=30)
    assert shrunk.sent_size == (20, 30)
    upright = Image.open(io.BytesIO(shrunk.content))
    assert upright.size == (20, 30)
    assert 0x0112 not in upright.getexif()


def test_a_pil_image_is_not_turned_by_its_orientation(pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    held = Image.open(io.BytesIO(encoded(Image.fromarray(pixels), "JPEG", exif=exif)))
    prepared = prepare(held)
    assert prepared.sent_size == held.size == (60, 40)
    assert 0x0112 not in Image.open(io.BytesIO(prepared.content)).getexif()


def test_downscaling_bounds_the_longer_side_and_never_enlarges(jpeg: bytes) -> None:
    assert prepare(jpeg, max_side_pixels=60).content == jpeg
    assert prepare(jpeg, max_side_pixels=6000).content == jpeg
    prepared = prepare(jpeg, max_side_pixels=31)
    assert prepared.sent_size == (31, 21)
    assert prepared.original_size == (60, 40)
    assert prepare(np.zeros((1, 900), np.uint8), max_side_pixels=30).sent_size == (30, 1)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((4, 4, 3), np.float32), "must be uint8, not float32"),
        (np.zeros((3, 4, 4, 1), np.uint8), "HxWx3"),
        (np.zeros((4, 4, 2), np.uint8), "HxWx3"),
        (np.zeros((0, 4), np.uint8), "HxWx3"),
        (b"", "not an image"),
        (b"<html>", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "image"),
        ("missing.jpg", "no file missing.jpg"),
        (Path("/"), "cannot be read"),
        (io.StringIO("text"), "'rb'"),
        (3, "not int"),
        (None, "not NoneType"),
        (Image.new("F", (4, 4)), "mode F"),
        (Image.new("I", (4, 4)), "mode I"),
    ],
)
def test_input_that_is_not_an_image_is_refused_with_the_reason(image: object, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        prepare(image)  # type: ignore[arg-type]
    assert caught.value.code == "invalid_input"
    assert caught.value.request_id is None


def test_a_damaged_file_is_reported_when_its_pixels_are_needed(jpeg: bytes) -> None:
    half = jpeg[:-40]
    with pytest.raises(InputError, match="damaged or incomplete"):
        prepare(half, max_side_pixels=8)
    with pytest.raises(InputError, match="damaged"):
        load_rgb(half)


def test_max_side_must_be_positive(jpeg: bytes) -> None:
    with pytest.raises(InputError, match="max_side_pixels"):
        prepare(jpeg, max_side_pixels=0)


def test_different_images_have_different_identities(jpeg: bytes, pixels: np.ndarray) -> None:
    assert identity(keep("a/b.jpg")) == "a/b.jpg"
    assert identity(keep(jpeg)) == identity(keep(io.BytesIO(jpeg)))
    flat = pixels.reshape(60, 40, 3)
    names = {identity(keep(one)) for one in (jpeg, jpeg + b"x", pixels, flat, pixels + 1)}
    assert len(names) == 5
