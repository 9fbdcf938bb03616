"""One vLLM for the tests of this folder, in their process."""

import os
from collections.abc import Iterator

import pytest
import torch

from wise.sampler import Sampler


@pytest.fixture(scope="session")
def sampler() -> Iterator[Sampler]:
    """With room for 16 responses at the same time. vLLM's changes to the process are undone."""
    environment, set_threads = dict(os.environ), torch.set_num_threads
    yield Sampler(16)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads = set_threads
