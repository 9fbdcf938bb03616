"""Draws what the function for CVAT answers about the example image, for `draw_pictures.py`."""

import os
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
from cvat_sdk.masks import decode_mask
from PIL import Image

from wise_client import overlays
from wise_client.integrations.cvat import create

image = Image.open(os.environ["WISE_EXAMPLE"]).convert("RGB")
function: Any = create(circle="the red circle", square="the blue square", star="the yellow star")
context = SimpleNamespace(frame_name="example", conf_threshold=None, conv_mask_to_poly=False)
drawn = []
for shape in function.detect(context, image):
    mask = decode_mask(shape.points, image_width=image.width, image_height=image.height)
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    drawn.append(overlays.Shape(mask, box, (), ()))
overlays.draw(image, drawn, 0.5).save(sys.argv[1])
