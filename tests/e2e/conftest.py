"""A second real server, besides the one of all tests."""

from collections.abc import Iterator

import pytest

from running import RunningServer, running_server

CHOSEN = ("--structured-answers", "--ngram-tokens", "3", "--no-cpu-kernels")


@pytest.fixture(scope="session")
def optioned_server() -> Iterator[RunningServer]:
    """Every option of the engine is set, and each image is prepared anew.

    Two modules share it, since a start takes most of their time. The last test of test_balanced.py
    ends it, so a module that needs it comes before that one in the order of names.
    """
    with running_server(*CHOSEN, "--engine-image-cache-bytes", "0") as running:
        yield running
