"""Coverage-guided fuzz of the image reader: `make fuzz`, or test_fuzz.py for seconds."""

import sys
import warnings

import atheris

with atheris.instrument_imports(include=["PIL", "wise_serve.imaging"]):
    from wise_serve.contract.errors import TooLarge, UnsupportedImage
    from wise_serve.imaging import images

MOST_PIXELS = 1 << 18


def one(data: bytes) -> None:
    """Whatever the bytes: pixels as displayed, or a refusal."""
    try:
        loaded = images.load(data, max_bytes=1 << 20, max_pixels=MOST_PIXELS)
    except (UnsupportedImage, TooLarge):
        return
    assert loaded.pixels.dtype == "uint8"
    assert loaded.pixels.shape == (loaded.height, loaded.width, 3)
    assert 0 < loaded.width * loaded.height <= MOST_PIXELS
    images.resized(loaded.picture, (28, 28))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Pillow's, about damaged EXIF data
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
