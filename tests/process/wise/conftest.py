"""One vLLM for the tests of this folder, in their process."""

import os
from collections.abc import Iterator

import pytest
import torch

from wise.sampler import Sampler


@pytest.fixture(scope="session")
def sampler() -> Iterator[Sampler]:
    """With one thread, and room for 16 responses at the same time. A process has one engine; what
    vLLM changed in this one is undone at the end."""
    environment, set_threads, threads = (
        dict(os.environ),
        torch.set_num_threads,
        torch.get_num_threads(),
    )
    torch.set_num_threads(1)
    yield Sampler(16)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads = set_threads
    torch.set_num_threads(threads)
