"""Clicks before servers of other kinds: without a reasoner, and of a strategy of points alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from drawn import CENTRES, HEIGHT, SQUARE, WIDTH
from fakes import FakeReasoner
from gateway_thread import Serve
from playground_editing import Editing
from playground_page import Playground
from wise_serve.reasoner.none import NoReasoner
from wise_serve.reasoner.strategies import STRATEGIES


def test_a_server_without_a_reasoner_is_for_clicks(page: Playground, serve: Serve) -> None:
    no_reasoner: Any = NoReasoner()
    editing = Editing(page, serve(no_reasoner).url)
    assert not page.shown("ask")
    assert "/refine" in page.text("code")
    editing.click(*CENTRES["circle"])  # refining has begun by itself
    x, y = CENTRES["circle"]
    assert editing.shown()[y, x]


def test_an_object_of_points_alone_is_drawn_and_refined_without_a_box(
    page: Playground, serve: Serve, tmp_path: Path
) -> None:
    record = STRATEGIES["wise-s"].model_dump(exclude_none=True)
    record |= {"name": "pointing", "answer": {"lone_points": True}}
    file = tmp_path / "pointing.json"
    file.write_text(json.dumps(record))
    x, y = CENTRES["circle"]
    place = [round(x * SQUARE / WIDTH), round(y * SQUARE / HEIGHT)]
    text = f'<think>round</think><answer>{{"points_1": {place}}}</answer>'
    reasoner = FakeReasoner(script=lambda _: text)
    gateway = serve(reasoner, strategy="pointing", strategy_file=[str(file)])
    editing = Editing(page, gateway.url)
    page.ask("the red circle")
    rows, columns = np.nonzero(editing.shown())
    box = page.run(
        "const box = document.querySelector('#marks rect');"
        "return ['x', 'y', 'width', 'height'].map((name) => Number(box.getAttribute(name)))"
    )
    width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
    assert box == [columns.min(), rows.min(), width, height]
    editing.start()
    editing.click(*CENTRES["star"], "add")
    assert [one.box for one in gateway.segmenter.prompts] == [None, None]
