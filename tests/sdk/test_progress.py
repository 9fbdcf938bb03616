"""The pace of a long run, and its progress bar."""

import pytest

from scripted import ScriptedServer
from wise_client import (
    Client,
    Usage,
)
from wise_client.progress import Pace


def test_the_pace_of_a_run() -> None:
    now = 0.0
    pace = Pace(10, lambda: now)
    assert str(pace) == "waiting for the first answer"
    pace.resumed()
    pace.resumed()
    now = 2.0
    for _ in range(3):
        pace.answered(Usage(thinking_tokens=6, completion_tokens=58))
    pace.answered(None)
    assert str(pace) == "2.0/s, 58.0 tokens/request (6.0 thinking), 0:02 left, 1 failed"
    now = 40_000.0
    assert str(pace).startswith("10000.0 s each, ")
    assert "11:06:40 left" in str(pace)


def test_the_progress_bar_is_drawn_on_standard_error(
    server: ScriptedServer, jpeg: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with Client(server.url) as client:
        list(client.segment_many([(jpeg, "a")] * 3, progress=True))
    out, err = capfd.readouterr()
    assert out == ""
    assert "3/3" in err
    assert "55.0 tokens/request" in err
