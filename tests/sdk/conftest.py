"""Fixtures of the client's tests: the real application on fakes, the command line, images."""

import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from both_clients import Both
from command_line import Run
from fakes import FakeReasoner, FakeSegmenter
from gateway_thread import GatewayThread
from scripted import Script, ScriptedServer, serving
from wise_client import Client, RetryPolicy
from wise_client.cli.main import main


@pytest.fixture(scope="session")
def script() -> Iterator[Script]:
    with serving() as running:
        yield running


@pytest.fixture
def server(script: Script) -> ScriptedServer:
    """The application, which runs for all tests, as this one finds it."""
    script.server = ScriptedServer(script.server.url)
    return script.server


@pytest.fixture
def nowhere() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        return f"http://127.0.0.1:{gone.getsockname()[1]}"


@pytest.fixture
def run(
    server: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run the command in the folder of photo.jpg; returns exit code, output, error output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WISE_URL", server.url)

    def call(*words: str) -> tuple[int, str, str]:
        try:
            code = main(words)
        except SystemExit as stop:  # argparse
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Client]:
    """Retries at once, so that the tests do not wait."""
    with Client(server.url, retry=RetryPolicy(base_s=0.0)) as made:
        yield made


@pytest.fixture
def pixels() -> np.ndarray:
    """uint8 [40, 60, 3]: black, with a white rectangle from (10, 5) to (30, 25)."""
    array = np.zeros((40, 60, 3), np.uint8)
    array[5:25, 10:30] = 255
    return array


@pytest.fixture
def jpeg(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95)
    return out.getvalue()


@pytest.fixture
def photo(tmp_path: Path, jpeg: bytes) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg)
    return path


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


@pytest.fixture
def gateway() -> Iterator[GatewayThread]:
    """A gateway of its own on fakes."""
    with GatewayThread(FakeReasoner(), FakeSegmenter(), ready=True, key=None) as running:
        yield running


@pytest.fixture
def image() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """uint8 [90, 120, 3]: noise."""
    return np.random.default_rng(3).integers(0, 255, (90, 120, 3), np.uint8)
