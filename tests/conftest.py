"""One real server for all end-to-end tests: real vLLM, real SAM 2, the miniature pair."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from running import RunningServer, running_server
from wise_client import Client

# How long an example takes is no subject of these tests, and depends on what else runs.
settings.register_profile("wise", deadline=None)
settings.load_profile("wise")


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.fixture(scope="session")
def server_url(server: RunningServer) -> str:
    return server.url


@pytest.fixture(scope="session")
def client(server_url: str) -> Iterator[Client]:
    with Client(server_url) as client:
        yield client
