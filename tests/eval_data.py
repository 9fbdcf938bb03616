"""Small datasets in the published formats, for the evaluation's tests."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 60, 40
BOX = (10, 5, 30, 25)  # the bright rectangle: x1, y1, x2, y2
CORNERS = [[10, 5], [29, 5], [29, 24], [10, 24]]  # its pixels' polygon, as OpenCV fills it


def bright(box: tuple[int, int, int, int] = BOX) -> Image.Image:
    """Black, with a white rectangle; the fakes of `bright` answer with its pixels."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2] = 255
    return Image.fromarray(pixels)


def rectangle(box: tuple[int, int, int, int] = BOX) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    x1, y1, x2, y2 = box
    mask[y1:y2, x1:x2] = True
    return mask


def reasonseg(folder: Path, name: str, shapes: list[dict[str, Any]], text: str = "it") -> Path:
    """Write one pair of ReasonSeg; returns the path of the JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    bright().save(folder / f"{name}.jpg", quality=95)
    document = {"text": [text, "another way to say it"], "is_sentence": True, "shapes": shapes}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document), "utf-8")
    return path


def shape(label: str, points: Sequence[Sequence[float]]) -> dict[str, Any]:
    return {
        "label": label,
        "labels": [label],
        "shape_type": "polygon",
        "image_name": "a.jpg",
        "points": points,
        "group_id": None,
        "group_ids": [None],
        "flags": {},
    }


def plain(folder: Path, truths: list[np.ndarray | None], text: str = "the cup {}") -> Path:
    """A plain folder; a truth of None is the bright rectangle."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, truth in enumerate(truths):
        bright().save(folder / f"{index:03}.png")
        mask = rectangle() if truth is None else truth
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{index:03}.mask.png")
        (folder / f"{index:03}.txt").write_text(text.format(index) + "\n", "utf-8")
    return folder


def instances(**annotation: Any) -> dict[str, Any]:
    """instances.json with one image and one annotation of the bright rectangle."""
    x1, y1, x2, y2 = BOX
    told = {
        "id": 7,
        "image_id": 3,
        "category_id": 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": 400,
        "iscrowd": 0,
        "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
    }
    return {
        "images": [{"id": 3, "file_name": "COCO_3.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [told | annotation],
        "categories": [{"id": 1, "name": "cup"}],
    }


def refs() -> list[dict[str, Any]]:
    """As in refs(unc).p: one ref of each split, the first with two sentences."""
    made = []
    for number, (split, said) in enumerate(
        [("val", ["white box", "the bright one"]), ("testA", ["box"]), ("train", ["thing"])]
    ):
        sentences = [
            {"sent_id": 10 * number + i, "sent": text, "raw": text, "tokens": text.split()}
            for i, text in enumerate(said)
        ]
        made.append(
            {
                "ref_id": number,
                "ann_id": 7,
                "image_id": 3,
                "category_id": 1,
                "split": split,
                "file_name": "COCO_3_7.jpg",
                "sent_ids": [one["sent_id"] for one in sentences],
                "sentences": sentences,
            }
        )
    return made


def refcoco(folder: Path, content: bytes | None = None) -> Path:
    """A folder of RefCOCO in the public layout, with its image."""
    folder.mkdir(parents=True)
    (folder / "instances.json").write_text(json.dumps(instances()))
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs(), 2) if content is None else content)
    images = folder.parent / "images" / "mscoco" / "images" / "train2014"
    images.mkdir(parents=True, exist_ok=True)
    bright().save(images / "COCO_3.jpg", quality=95)
    return folder
