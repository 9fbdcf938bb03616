"""The evaluation's page: it is complete, loads nothing, and escapes queries and rationales."""

import base64
import io
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

import eval_data as data
from command_line import Run
from scripted import ScriptedServer
from steps import Change
from wise_client.eval import figures
from wise_client.eval.pictures import pictures
from wise_client.eval.runner import Shown
from wise_client.eval.scores import Scored, summarise
from wise_client.masks import encode

HALF = data.rectangle((10, 5, 30, 15))  # IoU with the answer: 200 / 400


class _Page(HTMLParser):
    """Checks that tags are balanced, and keeps what the page refers to."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.texts.append(text)


def test_the_page_loads_nothing_from_elsewhere(
    run: Run, tmp_path: Path, server: ScriptedServer
) -> None:
    data.plain(tmp_path / "set", [None, HALF, None], text="<script>alert(1)</script> & {}")
    change = Change(lambda d: d | {"reasoning": "<b>bold</b>", "status": "truncated"})
    server.script += [None, None, change, None, None, None]
    words = ("--strategy", "seg-zero,wise-s", "--html", "r.html", "--worst", "2")
    assert run("eval", "set", *words, "--concurrency", "1")[0] == 0
    source = (tmp_path / "r.html").read_text("utf-8")
    page = _Page()
    page.feed(source)
    assert page.open == []
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    namespaces = re.compile(r' xmlns(:xlink)?="http://www.w3.org/[^"]*"')
    assert not re.search(r"https?://|@import|url\((?!#)", namespaces.sub("", source))
    assert page.tags.count("svg") == 3
    marks = {f'id="{name} {one}"' for name in ("gIoU", "cIoU") for one in ("seg-zero", "wise-s")}
    assert all(source.count(mark) == 1 for mark in marks)
    assert page.tags.count("img") == 2 * 2 * 3  # strategies, worst cases, pictures of each
    told = " ".join(page.texts)
    assert "<script>alert(1)</script> & 1" in told
    assert "<b>bold</b>" in told
    assert "mean 6.0" in told
    worst = re.findall(r"(\d+): IoU (\d+\.\d) %", told)
    assert worst == [("002", "0.0"), ("001", "50.0"), ("001", "50.0"), ("000", "100.0")]


@pytest.mark.parametrize("highest", [0, 1, 23, 39, 40, 112, 999])
def test_every_answer_is_in_one_bar(highest: int) -> None:
    edges = figures.bin_edges(highest)
    assert edges[0] == 0
    assert edges[-2] <= highest < edges[-1]
    assert len(edges) <= 41
    assert len(set(np.diff(edges))) == 1


def test_a_run_without_answers_is_drawn_empty() -> None:
    assert 'id="gIoU' not in figures.accuracy_against_cost([summarise("wise", [], 2, None)])
    assert "mean " not in figures.distributions([("wise-s", [])])


def test_the_page_names_what_was_not_scored(run: Run, tmp_path: Path) -> None:
    data.plain(tmp_path / "set", [None, None])
    (tmp_path / "set" / "001.mask.png").write_bytes(b"<b>no picture</b>")
    assert run("eval", "set", "--html", "r.html")[0] == 7
    source = (tmp_path / "r.html").read_text("utf-8")
    assert "Not scored under wise-s" in source
    assert "001.mask.png cannot be read" in source


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib.figure", "cv2"])
def test_a_missing_extra_is_named_before_anything_is_sent(
    run: Run, tmp_path: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    data.reasonseg(tmp_path / "set", "a", [data.shape("target", data.CORNERS)])
    monkeypatch.setitem(sys.modules, missing, None)
    code, _, err = run("eval", "set", "--html", "r.html")
    assert code == 2
    assert "needs: pip install 'wise-client[eval]'" in err
    assert server.received == []


def test_pictures_show_what_the_server_saw(tmp_path: Path) -> None:
    """16 bits scaled, transparency over white."""
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    clear = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    for picture, least, most in ((Image.fromarray(ramp), 0, 255), (clear, 255, 255)):
        out = io.BytesIO()
        picture.save(out, "PNG")
        mask = encode(np.ones((48, 64), bool))
        shown = Shown(cast("Scored", None), out.getvalue(), mask, mask)
        for uri in pictures(shown):
            content = base64.b64decode(uri.partition(",")[2])
            with Image.open(io.BytesIO(content)) as drawn:
                low, high = cast("tuple[int, int]", drawn.convert("L").getextrema())
            assert abs(low - least) < 8
            assert abs(high - most) < 8
