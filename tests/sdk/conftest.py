"""Fixtures of the client's tests: a server that speaks the contract, and images."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from both_clients import Both
from contract_server import ContractServer
from PIL import Image

from wise_client import Client, RetryPolicy


@pytest.fixture
def server() -> Iterator[ContractServer]:
    with ContractServer() as running:
        yield running


@pytest.fixture
def client(server: ContractServer) -> Iterator[Client]:
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
