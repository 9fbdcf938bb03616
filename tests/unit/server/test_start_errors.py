"""An error at start that a person can mend ends with one line that says how, and status 1."""

import logging
import socket
import threading
from collections.abc import Iterator

import pytest

from fakes import FakeReasoner, FakeSegmenter
from wise_serve.contract.errors import NotReady
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.runtime import build_runtime
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.server.serving import serve
from wise_serve.settings import Settings

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """`serve` sends every log line to standard error, and logging is one per process."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(autouse=True)
def _this_process_goes_on() -> Iterator[None]:
    """`serve` leaves a timer that ends the process if it hangs on the way out, 25 s later."""
    yield
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def served(capsys: Capture, error: Exception | None = None, **chosen: object) -> list[str]:
    """The plain lines of a server on fakes that must end with status 1; its log is JSON."""
    settings = Settings.model_validate({"port": 0, "device": "cpu", **chosen})
    reasoner = FakeReasoner(start_error=error)
    runtime = build_runtime(settings, STRATEGIES, reasoner, FakeSegmenter(), Metrics())
    assert serve(runtime) == 1
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if not line.startswith("{")]


@pytest.mark.parametrize("flag", ["port", "ops_port"])
def test_a_port_in_use_is_one_line_with_the_port_and_its_flag(flag: str, capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        [line] = served(capsys, **{flag: port})
    assert f"127.0.0.1:{port}" in line
    assert f"--{flag.replace('_', '-')}." in line


def test_an_address_of_another_machine_names_the_flag(capsys: Capture) -> None:
    [line] = served(capsys, host="192.0.2.1", allow_anyone=True)
    assert "--host" in line


def test_the_reason_why_a_model_cannot_start_is_the_last_line(capsys: Capture) -> None:
    assert served(capsys, NotReady("Weights are missing: reinstall."))[-1] == (
        "wise-serve: Weights are missing: reinstall."
    )


def test_the_message_of_a_librarys_error_is_not_printed(capsys: Capture) -> None:
    [line] = served(capsys, RuntimeError("secret"))
    assert "RuntimeError" in line
    assert "secret" not in line
