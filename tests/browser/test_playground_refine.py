"""Refining by clicks in a browser: clicks become prompts, and undo restores the exact state."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from selenium.webdriver.common.keys import Keys

from drawn import CENTRES
from gateway_thread import Serve
from playground_editing import Editing, actions
from playground_page import Playground
from wise_serve.http.page import read_example

Clicks = list[tuple[int, int, int]]  # x, y, label


@pytest.fixture
def editing(page: Playground, serve: Serve) -> Editing:
    return Editing(page, serve().url)


def decoded(mask: dict[str, Any]) -> NDArray[np.bool_]:
    return np.asarray(coco.decode({**mask, "counts": mask["counts"].encode()}) > 0)


def points_of(clicks: Clicks) -> list[dict[str, int]]:
    return [{"x": x, "y": y, "label": label} for x, y, label in clicks]


def test_ten_clicks_and_all_of_them_undone(editing: Editing) -> None:
    editing.start()
    clicks: Clicks = []
    mask: dict[str, Any] | None = None
    seen = [editing.shown()]
    plan = [
        ("circle", "add"), ("square", "add"), ("star", "add"), ("square", "alt"),
        ("triangle", "add"), ("star", "right"), ("square", "add"), ("circle", "alt"),
        ("star", "add"), ("triangle", "right"),
    ]  # fmt: skip
    for shape, how in plan:
        x, y = editing.click(*CENTRES[shape], how)
        assert abs(x - CENTRES[shape][0]) <= 1
        assert abs(y - CENTRES[shape][1]) <= 1
        clicks.append((x, y, int(how == "add")))
        expected = editing.asked({"points": points_of(clicks), **({"mask": mask} if mask else {})})
        mask = expected["mask"]
        seen.append(editing.shown())
        np.testing.assert_array_equal(seen[-1], decoded(expected["mask"]))
        assert bool(seen[-1][y, x]) is (how == "add")
    for number in range(9, -1, -1):
        editing.page.click("undo")
        np.testing.assert_array_equal(editing.shown(), seen[number])
    assert not editing.page.element("undo").is_enabled()
    for number in range(1, 11):
        editing.page.control("y") if number % 2 else editing.page.click("redo")
        np.testing.assert_array_equal(editing.shown(), seen[number])
    assert not editing.page.element("redo").is_enabled()


def test_a_click_refines_the_object_that_a_question_found(editing: Editing) -> None:
    page = editing.page
    page.ask("the red circle")
    before = editing.shown()
    editing.start()
    assert "object 1" in page.text("edit-hint")
    editing.click(*CENTRES["square"])
    assert editing.shown()[CENTRES["square"][1], CENTRES["square"][0]]
    assert len(page.all(".object")) == 1
    page.control("z")
    np.testing.assert_array_equal(editing.shown(), before)


def test_a_dragged_box(editing: Editing) -> None:
    editing.start()
    (x1, y1), (x2, y2) = (80, 70), (220, 210)
    start, end = editing.place(x1, y1), editing.place(x2, y2)
    builder = actions(editing.page)
    builder.pointer_action.move_to_location(*start)
    builder.pointer_action.pointer_down()
    builder.pointer_action.move_to_location((start[0] + end[0]) // 2, end[1])
    builder.pointer_action.move_to_location(*end)
    builder.pointer_action.pointer_up()
    builder.perform()
    editing.settled(1)
    box = editing.page.run("return state.edit.past[0].after.promptBox")
    assert np.abs(np.array(box) - [x1, y1, x2 + 1, y2 + 1]).max() <= 2
    editing.click(*CENTRES["circle"])
    assert editing.shown()[CENTRES["circle"][1], CENTRES["circle"][0]]


def test_a_box_dragged_by_touch(editing: Editing) -> None:
    editing.start()
    builder = actions(editing.page, touch=True)
    builder.pointer_action.move_to_location(*editing.place(80, 70))
    builder.pointer_action.pointer_down()
    builder.pointer_action.move_to_location(*editing.place(150, 210))
    builder.pointer_action.move_to_location(*editing.place(220, 210))
    builder.pointer_action.pointer_up()
    builder.perform()
    editing.settled(1)
    box = editing.page.run("return state.edit.past[0].after.promptBox")
    assert np.abs(np.array(box) - [80, 70, 221, 211]).max() <= 2


def test_only_the_chosen_object_changes(editing: Editing) -> None:
    page = editing.page
    editing.start()
    editing.click(*CENTRES["circle"])
    page.click("new-object")
    editing.click(*CENTRES["square"])
    masks = "return instances().map((one) => one.mask.counts)"
    first, second = page.run(masks)
    page.all(".object .chip")[0].click()
    editing.click(*CENTRES["star"])
    changed, same = page.run(masks)
    assert (changed != first, same) == (True, second)
    page.control("z")
    assert page.run(masks) == [first, second]
    page.control("z")
    assert page.run(masks) == [first]


def test_clicks_by_touch_are_refined(editing: Editing) -> None:
    editing.start()
    for shape in ("circle", "square"):
        builder = actions(editing.page, touch=True)
        builder.pointer_action.move_to_location(*editing.place(*CENTRES[shape]))
        builder.pointer_action.pointer_down()
        builder.pointer_action.pointer_up()
        builder.perform()
        if shape == "circle":
            editing.settled(1)
            editing.page.click("away")
    editing.settled(2)
    labels = editing.page.run("return state.edit.past[1].after.labels")
    assert labels == [1, 0]


def test_refining_works_by_keyboard_alone(editing: Editing) -> None:
    page = editing.page
    page.tab_to("edit")
    page.keys(Keys.ENTER)
    page.tab_to("stage")
    page.keys(*[Keys.ARROW_LEFT] * 3, Keys.ARROW_UP)
    page.keys(Keys.ENTER)
    editing.settled(1)
    assert page.run("return state.edit.past[0].after.points") == [[317, 239]]
    page.keys(Keys.DELETE)
    editing.settled(2)
    assert page.run("return state.edit.past[1].after.labels") == [1, 0]


def test_hiding_and_colouring_one_object(editing: Editing) -> None:
    page = editing.page
    editing.start()
    editing.click(*CENTRES["circle"])
    page.click("new-object")
    editing.click(*CENTRES["square"])
    both = editing.shown()
    (x, y), other = CENTRES["circle"], CENTRES["square"]
    page.all(".object .eye")[0].click()
    assert not editing.shown()[y, x]
    assert editing.shown()[other[1], other[0]]
    page.all(".object .eye")[0].click()
    np.testing.assert_array_equal(editing.shown(), both)
    page.run(
        "const input = document.querySelector('.object input');"
        "input.value = '#102030'; input.dispatchEvent(new Event('input'))"
    )
    assert page.mask()[y, x].tolist() == [0x10, 0x20, 0x30, 255]


def test_no_picture_is_sent_twice(page: Playground, serve: Serve) -> None:
    server = serve()
    editing = Editing(page, server.url)
    editing.start()
    for shape in ("circle", "square", "star"):
        editing.click(*CENTRES[shape])
    assert (server.segmenter.opened, server.segmenter.reopened) == (1, 2)


def test_a_picture_that_the_server_has_forgotten_is_sent_again(
    page: Playground, serve: Serve, allowed: list[str]
) -> None:
    allowed.append("404")
    server = serve()
    editing = Editing(page, server.url)
    editing.start()
    editing.click(*CENTRES["circle"])
    server.segmenter.digests.clear()
    editing.click(*CENTRES["square"])
    assert (server.segmenter.opened, server.segmenter.reopened) == (2, 1)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_shown_code_gives_the_same_mask(editing: Editing, tmp_path: Path) -> None:
    page = editing.page
    editing.start()
    editing.click(*CENTRES["circle"])
    editing.click(*CENTRES["square"], "alt")
    expected = editing.shown()
    (tmp_path / "example.jpg").write_bytes(read_example() or b"")
    code = page.run("return document.getElementById('code').textContent")
    answer = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, check=True)
    [instance] = json.loads(answer.stdout)["instances"]
    np.testing.assert_array_equal(decoded(instance["mask"]), expected)
    page.all("[data-code=python]")[0].click()
    code = page.run("return document.getElementById('code').textContent")
    code += "\nresult.save_mask('mask.png')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    found = np.asarray(Image.open(tmp_path / "mask.png")) > 0
    np.testing.assert_array_equal(found, expected)
