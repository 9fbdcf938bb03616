"""Writes every data set that `wise-segment batch --export` knows, for tests/loaders, by the client
of this environment against the server of the tests: `python make_datasets.py FOLDER`."""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from scripted import serving
from wise_client.cli.main import main

FORMATS = ("coco", "yolo-seg", "labelme", "masks", "parquet")
QUERIES = {"cup": "the cup she could drink from", "spoon": "nothing"}
COUNT = 12


def picture(number: int) -> Image.Image:
    """A ring and two bars, so that masks have several parts and a hole; the last one is black."""
    drawn = Image.new("RGB", (96 + number, 80))
    if number < COUNT - 1:
        pen = ImageDraw.Draw(drawn)
        pen.ellipse((8 + number, 8, 48 + number, 48), fill="white")
        pen.ellipse((20 + number, 20, 34 + number, 34), fill="black")
        pen.rectangle((60, 10, 90, 24), fill="white")
        pen.rectangle((10, 60, 80, 70), fill="white")
    return drawn


def write(folder: Path) -> int:
    photos = folder / "photos"
    photos.mkdir(parents=True)
    (folder / "expected").mkdir()
    for number in range(COUNT):
        drawn = picture(number)
        drawn.save(photos / f"{number:02}.png")
        np.save(folder / "expected" / f"{number:02}.npy", np.asarray(drawn.convert("L")) > 127)
    asked = [
        word for name, query in QUERIES.items() for word in ("--query", query, "--label", name)
    ]
    exports = [word for form in FORMATS for word in ("--export", form)]
    (folder / "queries.json").write_text(json.dumps(QUERIES))
    with serving() as script:
        words = ["batch", str(photos), *asked, "-o", str(folder / "answers"), *exports]
        return main([*words, "--url", script.server.url, "--no-progress"])


if __name__ == "__main__":
    sys.exit(write(Path(sys.argv[1])))
