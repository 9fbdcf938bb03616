"""Small pictures of an answer, as data URIs."""

import base64
import io

import numpy as np
from PIL import Image

from wise_client import masks
from wise_client.eval.runner import Shown
from wise_client.inputs import load_rgb
from wise_client.masks import BoolMask

TRUTH_RGB, ANSWER_RGB = (0, 158, 115), (213, 94, 0)
_MAX_SIDE_PIXELS = 320
_OPACITY = 0.6


def pictures(shown: Shown) -> tuple[str, str, str]:
    """The image, the image with the truth, the image with the answer.

    Raises InputError when the image cannot be read any more.
    """
    picture = load_rgb(shown.image)
    picture.thumbnail((_MAX_SIDE_PIXELS, _MAX_SIDE_PIXELS))
    height, width = shown.truth["size"]
    truth = masks.decode(shown.truth, (width, height))
    answer = masks.decode(shown.answer, (width, height))
    return (
        _data_uri(picture),
        _data_uri(_tinted(picture, truth, TRUTH_RGB)),
        _data_uri(_tinted(picture, answer, ANSWER_RGB)),
    )


def _tinted(picture: Image.Image, mask: BoolMask, colour: tuple[int, int, int]) -> Image.Image:
    small = masks.resize(mask, picture.size)
    pixels = np.asarray(picture, dtype=np.float32).copy()
    pixels[small] += (np.array(colour, dtype=np.float32) - pixels[small]) * _OPACITY
    return Image.fromarray(pixels.round().astype(np.uint8))


def _data_uri(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
