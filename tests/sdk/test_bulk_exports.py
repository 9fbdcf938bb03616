"""`wise-segment batch --export`: each data set holds every mask, pixel by pixel or nearly so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from command_line import Run
from scripted import ScriptedServer
from steps import Problem
from wise_client.exports.yolo import joined
from wise_client.masks import BoolMask

TWO = ("--query", "the cup", "--label", "cup", "--query", "nothing", "--label", "spoon")
ALL = ("coco", "yolo-seg", "labelme", "masks", "parquet")


def white(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """Black with a white box, which the server finds."""
    picture = Image.new("RGB", size)
    picture.paste((255, 255, 255), box)
    return picture


def turned(path: Path) -> None:
    """A photo with orientation 6: 40 x 60 as displayed, the box in its upper right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    white((60, 40), (0, 0, 20, 10)).save(path, exif=exif)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """a.png 50 x 30, sub/b.png 20 x 20 without an object, turned.png."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    white((50, 30), (10, 5, 30, 20)).save(folder / "a.png")
    Image.new("RGB", (20, 20)).save(folder / "sub" / "b.png")
    turned(folder / "turned.png")
    return folder


def export(run: Run, *forms: str, source: str = "photos", more: tuple[str, ...] = TWO) -> str:
    words = [word for form in forms for word in ("--export", form)]
    code, _, err = run("batch", source, *more, "-o", "out.jsonl", "--no-progress", *words)
    assert code in (0, 7), err
    return err


def boxed(size: tuple[int, int], box: tuple[int, int, int, int]) -> BoolMask:
    return np.asarray(white(size, box).convert("L")) > 0


def test_coco_opens_with_pycocotools(run: Run, photos: Path, tmp_path: Path) -> None:
    assert "3 images, 2 classes: out.coco" in export(run, "coco")
    coco = COCO(tmp_path / "out.coco" / "annotations.json")
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == ["cup", "spoon"]
    images = {one["file_name"]: one for one in coco.loadImgs(coco.getImgIds())}
    assert sorted(images) == ["a.png", "sub/b.png", "turned.png"]
    expected = {
        "a.png": boxed((50, 30), (10, 5, 30, 20)),
        "turned.png": boxed((40, 60), (30, 0, 40, 20)),
    }
    for name, mask in expected.items():
        (one,) = coco.loadAnns(coco.getAnnIds(images[name]["id"]))
        assert (one["category_id"], one["query"]) == (1, "the cup")
        assert (coco.annToMask(one).astype(bool) == mask).all()
        assert one["area"] == mask.sum()
    assert coco.getAnnIds(images["sub/b.png"]["id"]) == []


@pytest.mark.parametrize("form", ALL)
def test_pixels_of_a_turned_photo_are_upright_in_the_set(
    run: Run, photos: Path, tmp_path: Path, form: str
) -> None:
    export(run, form)
    if form == "parquet":
        rows = pq.read_table(tmp_path / "out.parquet")["image"].to_pylist()
        content = next(one["bytes"] for one in rows if one["path"] == "turned.png")
        (tmp_path / "turned.png").write_bytes(content)
        path = tmp_path / "turned.png"
    else:
        (path,) = (
            one
            for one in (tmp_path / f"out.{form}").rglob("turned.png")
            if "masks" not in one.parts
        )
    with Image.open(path) as picture:
        assert picture.size == (40, 60)
        assert picture.getexif().get(0x0112, 1) == 1
        assert picture.getpixel((35, 10)) == (255, 255, 255)


def test_png_masks_number_the_classes(run: Run, photos: Path, tmp_path: Path) -> None:
    export(run, "masks", more=("--query", "nothing", "--query", "the cup"))
    out = tmp_path / "out.masks"
    assert (out / "classes.txt").read_text().splitlines() == ["nothing", "the cup"]
    mask = np.asarray(Image.open(out / "masks" / "a.png"))
    assert (mask == 2 * boxed((50, 30), (10, 5, 30, 20))).all()
    assert not np.asarray(Image.open(out / "masks" / "sub" / "b.png")).any()


def test_labelme_polygons_enclose_the_mask(run: Run, photos: Path, tmp_path: Path) -> None:
    export(run, "labelme", more=("--query", "a", "--query", "b"))
    document = json.loads((tmp_path / "out.labelme" / "a.json").read_text())
    assert (document["imagePath"], document["imageWidth"]) == ("a.png", 50)
    assert [(one["label"], one["group_id"]) for one in document["shapes"]] == [("a", 0), ("b", 1)]
    corners = sorted(map(tuple, document["shapes"][0]["points"]))
    assert corners == [(10, 5), (10, 20), (30, 5), (30, 20)]
    assert json.loads((tmp_path / "out.labelme/sub/b.json").read_text())["shapes"] == []


def test_yolo_has_images_labels_and_a_split(run: Run, photos: Path, tmp_path: Path) -> None:
    export(run, "yolo-seg")
    out = tmp_path / "out.yolo-seg"
    assert (out / "data.yaml").read_text().endswith('names:\n  0: "cup"\n  1: "spoon"\n')
    images = {
        one.relative_to(out / "images").with_suffix("") for one in out.glob("images/**/*.png")
    }
    labels = {
        one.relative_to(out / "labels").with_suffix("") for one in out.glob("labels/**/*.txt")
    }
    assert images == labels
    assert len(images) == 3
    (label,) = out.glob("labels/*/a.txt")
    number, *values = label.read_text().split()
    assert number == "0"
    corners = np.reshape([float(value) for value in values], (-1, 2)) * (50, 30)
    assert sorted(map(tuple, corners.round(3))) == [(10, 5), (10, 20), (30, 5), (30, 20)]
    assert (out / "labels").joinpath(next(one for one in labels if one.name == "b")).with_suffix(
        ".txt"
    ).read_text() == ""


def test_yolo_finds_the_labels_of_images_in_folders_called_images(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    for name in ("images", "images_"):
        (photos / name).mkdir()
        (photos / name / "a.png").write_bytes((photos / "a.png").read_bytes())
    export(run, "yolo-seg")
    found = list((tmp_path / "out.yolo-seg").glob("images/**/*.png"))
    assert len(found) == 5
    for image in found:  # as ultralytics does: the last `images` in the path is where labels are
        before, _, after = str(image).rpartition("/images/")
        assert Path(f"{before}/labels/{after}").with_suffix(".txt").is_file()


def test_a_polygon_around_parts_and_holes_is_one_with_the_same_pixels() -> None:
    noise = np.random.default_rng(0)
    for _ in range(20):
        mask = noise.random((24, 31)) > 0.6
        mask[3:20, 4:15] = True
        mask[8:12, 6:9] = False
        ring = joined(mask)
        picture = Image.new("1", (31 * 8, 24 * 8))
        ImageDraw.Draw(picture).polygon([(8 * x, 8 * y) for x, y in ring.tolist()], fill=1)
        filled = np.asarray(picture)[4::8, 4::8]  # at the pixels' centres
        assert np.mean(filled == mask) > 0.97


def test_parquet_has_rows_with_their_images(run: Run, photos: Path, tmp_path: Path) -> None:
    export(run, "parquet")
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(one["image"]["path"], one["query"]) for one in rows] == [
        (name, query)
        for name in ("a.png", "turned.png", "sub/b.png")
        for query in ("the cup", "nothing")
    ]
    assert rows[0]["image"]["bytes"] == (photos / "a.png").read_bytes()
    assert rows[0]["thinking_tokens"] == 6
    assert rows[0]["instances"][0]["mask"]["size"] == [30, 50]


def test_an_image_without_all_its_answers_is_left_out(
    run: Run, photos: Path, tmp_path: Path, server: ScriptedServer
) -> None:
    server.script.append(Problem(422, "invalid_field"))
    err = export(run, "coco", more=(*TWO, "--concurrency", "1"))
    assert "2 images, 2 classes, 1 left out: out.coco" in err
    document = json.loads((tmp_path / "out.coco" / "annotations.json").read_text())
    assert [one["file_name"] for one in document["images"]] == ["turned.png", "sub/b.png"]
    assert "3 images, 2 classes: out.coco" in export(run, "coco")  # the earlier one is replaced


def test_questions_about_one_image_need_not_follow_one_another(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    pairs = [("a.png", "x"), ("turned.png", "x"), ("a.png", "y"), ("../photos/a.png", "z")]
    lines = [json.dumps({"image": image, "query": query}) for image, query in pairs]
    (photos / "pairs.jsonl").write_text("\n".join(lines))
    export(run, "coco", source="photos/pairs.jsonl", more=())
    document = json.loads((tmp_path / "out.coco" / "annotations.json").read_text())
    assert [one["file_name"] for one in document["images"]] == [
        "a.png",
        "turned.png",
        "photos/a.png",
    ]
    assert [one["image_id"] for one in document["annotations"]] == [1, 1, 2, 3]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--export", "coco", "--export-to", "photos/set"), "is inside an input"),
        (("--export", "coco", "--export-to", "mine"), "is no earlier export"),
        (("--export", "coco", "--export", "masks", "--export-to", "set"), "one --export"),
        (("--export-to", "set"), "one --export"),
        (("--export", "voc"), "invalid choice"),
        (("--export", "yolo-seg", "--val-share", "2"), "from 0 to 1"),
    ],
)
def test_a_mistake_is_reported_before_anything_is_sent(
    run: Run, photos: Path, tmp_path: Path, server: ScriptedServer, words: Any, says: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("mine")
    code, _, err = run("batch", "photos", *TWO, "-o", "out.jsonl", *words)
    assert code == 2
    assert says in err
    assert (tmp_path / "mine" / "precious.txt").read_text() == "mine"
    assert server.received == []
