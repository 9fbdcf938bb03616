"""The data sets of `wise-segment batch --export`, opened by what trains on them.

Run by `make loaders-test` in an environment of its own, on what make_datasets.py wrote (its folder
is in WISE_DATASETS): pycocotools, ultralytics, LabelMe and `datasets` themselves read the files.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(os.environ["WISE_DATASETS"])
EXPECTED = {path.stem: np.load(path) for path in sorted((ROOT / "expected").glob("*.npy"))}


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / max(1, (first | second).sum()))


def test_pycocotools_gives_the_same_pixels() -> None:
    from pycocotools.coco import COCO

    coco = COCO(ROOT / "answers.coco" / "annotations.json")
    images = coco.loadImgs(coco.getImgIds())
    assert [one["file_name"] for one in images] == [f"{name}.png" for name in EXPECTED]
    for image in images:
        assert (ROOT / "answers.coco" / "images" / image["file_name"]).is_file()
        masks = [coco.annToMask(one) for one in coco.loadAnns(coco.getAnnIds(image["id"]))]
        mask = EXPECTED[image["file_name"].removesuffix(".png")]
        assert len(masks) == int(mask.any())
        assert all((one.astype(bool) == mask).all() for one in masks)


def test_ultralytics_reads_every_image_and_its_objects() -> None:
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset, polygon2mask

    data = check_det_dataset(str(ROOT / "answers.yolo-seg" / "data.yaml"), autodownload=False)
    assert data["names"] == {0: "cup", 1: "spoon"}
    seen = set()
    for split in ("train", "val"):
        loaded = YOLODataset(img_path=data[split], data=data, task="segment", augment=False)
        for label in loaded.labels:
            name = Path(label["im_file"]).stem
            mask = EXPECTED[name]
            seen.add(name)
            assert label["shape"] == mask.shape
            assert len(label["segments"]) == int(mask.any())
            for number, polygon in zip(label["cls"].ravel(), label["segments"], strict=True):
                height, width = mask.shape
                corners = (np.asarray(polygon) * (width, height)).ravel()
                filled = polygon2mask((height, width), [corners], color=1).astype(bool)
                assert number == 0
                # OpenCV fills a polygon with its border: a pixel more at the right and below.
                assert iou(filled, mask) > 0.9
    assert seen == set(EXPECTED)


def test_labelme_reads_every_document() -> None:
    from labelme.utils import shape_to_mask

    paths = sorted((ROOT / "answers.labelme").glob("*.json"))
    assert [path.stem for path in paths] == list(EXPECTED)
    for path in paths:
        document = json.loads(path.read_text())
        mask = EXPECTED[path.stem]
        assert (path.parent / document["imagePath"]).is_file()
        assert (document["imageHeight"], document["imageWidth"]) == mask.shape
        union = np.zeros(mask.shape, bool)
        for shape in document["shapes"]:
            assert shape["label"] == "cup"
            union |= shape_to_mask(mask.shape, shape["points"], "polygon")
        assert iou(union, mask) > 0.9 or not mask.any()


def test_labelmes_own_label_file_opens_them() -> None:
    label_file = pytest.importorskip("labelme._label_file", reason="labelme's Qt is not there")
    opened = label_file.LabelFile(str(ROOT / "answers.labelme" / "00.json"))
    assert {shape["label"] for shape in opened.shapes} == {"cup"}


def test_datasets_gives_pictures_queries_and_masks() -> None:
    from datasets import Image, load_dataset
    from pycocotools import mask as coco

    cache = str(ROOT / "cache")
    loaded = load_dataset(str(ROOT / "answers.parquet"), split="train", cache_dir=cache)
    assert isinstance(loaded.features["image"], Image)
    queries = json.loads((ROOT / "queries.json").read_text())
    assert len(loaded) == len(EXPECTED) * len(queries)
    for row in loaded:
        assert row["query"] == queries[row["label"]]
        name, picture = row["name"], row["image"]
        mask = EXPECTED[Path(name).stem]
        assert picture.size == mask.shape[::-1]
        assert ((np.asarray(picture.convert("L")) > 127) == mask).all()
        assert row["thinking_tokens"] == 6
        masks = [coco.decode(one["mask"]).astype(bool) for one in row["instances"]]
        assert len(masks) == int(mask.any() and row["label"] == "cup")
        assert all((one == mask).all() for one in masks)


def test_the_batchs_own_parquet_is_a_dataset_too() -> None:
    from datasets import load_dataset

    cache = str(ROOT / "cache")
    loaded = load_dataset("parquet", data_dir=str(ROOT / "answers"), split="train", cache_dir=cache)
    assert sorted(loaded["index"]) == list(range(2 * len(EXPECTED)))


def test_png_masks_number_the_classes() -> None:
    from PIL import Image

    for name, mask in EXPECTED.items():
        numbers = np.asarray(Image.open(ROOT / "answers.masks" / "masks" / f"{name}.png"))
        assert (numbers == mask.astype(np.uint8)).all()
