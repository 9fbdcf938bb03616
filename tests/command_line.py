"""What the tests of the command line share; the fixture `run` is in conftest.py."""

import io
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Put bytes on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
