"""A marker for each folder, and one real server for all end-to-end tests: the miniature pair."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from running import RunningServer, running_server
from wise_client import Client

# How long an example takes is no subject of these tests, and depends on what else runs.
settings.register_profile("wise", deadline=None)
settings.load_profile("wise")


TESTS = Path(__file__).parent
# The folders of tests/ whose tests start real processes or need Debian's packages: `-m "not e2e"`.
MARKED = ("browser", "deploy", "e2e", "process")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's folder is its marker, so that no test module has to remember it."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in MARKED:
            item.add_marker(folder)


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
