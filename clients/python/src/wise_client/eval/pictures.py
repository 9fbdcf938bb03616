"""Small pictures of an answer, as data URIs."""

import base64
import io

import numpy as np
from PIL import Image

from wise_client import masks
from wise_client.eval.runner import Shown
from wise_client.inputs import load_rgb
from wise_client.masks import BoolMask

_MAX_SIDE_PIXELS = 320
_DIMMED = 0.25  # brightness outside a mask: it shows whatever the colours are


def pictures(shown: Shown) -> tuple[str, str, str]:
    """Three pictures: the image; the image dimmed outside the truth; the image dimmed outside the
    answer.

    Raises InputError when the image cannot be read any more.
    """
    picture = load_rgb(shown.image)
    picture.thumbnail((_MAX_SIDE_PIXELS, _MAX_SIDE_PIXELS))
    height, width = shown.truth["size"]
    truth = masks.decode(shown.truth, (width, height))
    answer = masks.decode(shown.answer, (width, height))
    return (
        _data_uri(picture),
        _data_uri(_dimmed_outside(picture, truth)),
        _data_uri(_dimmed_outside(picture, answer)),
    )


def _dimmed_outside(picture: Image.Image, mask: BoolMask) -> Image.Image:
    outside = ~masks.resize(mask, picture.size)
    pixels = np.asarray(picture, dtype=np.float32).copy()
    pixels[outside] *= _DIMMED
    return Image.fromarray(pixels.round().astype(np.uint8))


def _data_uri(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
