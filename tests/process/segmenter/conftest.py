"""The miniature segmenter in this process, for tests of the model itself."""

import pytest
import torch

from segmenting import CPU
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.segmenter.sam2.model import Sam2


@pytest.fixture(scope="module")
def sam() -> Sam2:
    torch.set_num_threads(1)
    return Sam2(load_model("miniature", CPU), CPU)
