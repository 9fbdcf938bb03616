"""The evaluation's page: whole, alone, and deaf to what queries and rationales hold."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import eval_data as data
import pytest
from contract_server import Change, ContractServer
from test_sdk_cli import Run, run

from wise_client.eval import svg
from wise_client.eval.scores import summarise

__all__ = ["run"]  # the fixture

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


def test_the_page_stands_alone(run: Run, tmp_path: Path, server: ContractServer) -> None:
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
    assert not re.search(r"https?://|@import|url\(", source)
    assert page.tags.count("svg") == 2
    assert page.tags.count("circle") == 4  # gIoU and cIoU of two strategies
    assert page.tags.count("img") == 2 * 2 * 3  # strategies, worst cases, pictures of each
    told = " ".join(page.texts)
    assert "<script>alert(1)</script> & 1" in told
    assert "<b>bold</b>" in told
    assert "mean 6.0" in told
    worst = re.findall(r"(\d+): IoU (\d+\.\d) %", told)
    assert worst == [("002", "0.0"), ("001", "50.0"), ("001", "50.0"), ("000", "100.0")]


@pytest.mark.parametrize(
    ("highest", "expected"),
    [
        (0, [0, 1]),
        (4, [0, 1, 2, 3, 4]),
        (23, [0, 5, 10, 15, 20, 25]),
        (112, [0, 50, 100, 150]),
        (999, [0, 200, 400, 600, 800, 1000]),
    ],
)
def test_ticks_are_round_and_reach_the_highest(highest: int, expected: list[int]) -> None:
    assert svg.nice_ticks(highest) == expected


def test_every_answer_is_in_one_bar() -> None:
    lengths = [0, 1, 22, 23, 23, 112]
    drawn = svg.distributions([("seg-zero", lengths), ("wise-s", [])])
    counts = [int(count) for count in re.findall(r"tokens: (\d+) of 6 answers", drawn)]
    assert sum(counts) == len(lengths)


def test_a_run_without_answers_is_drawn_empty() -> None:
    assert "<circle" not in svg.accuracy_against_cost([summarise("wise", [], 2, None)])
