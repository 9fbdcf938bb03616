"""Where TF32 is allowed: in SAM 2's own modules, never where masks are upsampled."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from levers import decode, prompts, sam
from reference import iou
from wise_serve import device
from wise_serve.device import precision_of
from wise_serve.segmenter.sam2 import model as sam2_model
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.segmenter.sam2.model import Sam2
from wise_serve.segmenter.sam2.precision import Levers, float32_products
from wise_serve.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:`?torch.jit:FutureWarning")
STAGES = ("image_features", "mask_logits", "mask_runs")


def allowed() -> tuple[bool, bool]:
    """Whether TF32 is allowed now: in products, in convolutions."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("tf32", [True, False])
def test_each_stage_has_its_own_tf32_setting(tf32: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, tuple[bool, bool]] = {}

    def noting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            seen[name] = allowed()
            return call(*arguments)

        return noted

    for name in STAGES:
        monkeypatch.setattr(sam2_model, name, noting(name, getattr(sam2_model, name)))
    before = allowed()
    decode(sam(Levers(tf32=tf32)), prompts()[:2])
    assert seen["image_features"] == seen["mask_logits"] == (tf32, tf32)
    assert seen["mask_runs"] == (False, False)
    assert allowed() == before


def test_an_error_inside_leaves_no_setting_behind() -> None:
    before = allowed()
    with pytest.raises(ValueError, match="inside"), float32_products(tf32=True):
        raise ValueError("inside")
    assert allowed() == before


def test_auto_is_float32_on_a_cpu_and_half_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision_of(Settings(device="cpu")) == "float32"
    monkeypatch.setattr(device, "_found", lambda: "cuda")
    assert precision_of(Settings()) == "bfloat16"
    assert precision_of(Settings(segmenter_precision="float32")) == "float32"
    assert precision_of(Settings(), "cpu") == "float32"  # a worker beside the GPU
    assert precision_of(Settings(device="cpu"), "cuda:1") == "bfloat16"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_masks_stay_near_those_of_full_float32() -> None:
    cuda = torch.device("cuda")
    exact = Sam2(load_model("miniature", cuda), cuda, Levers())
    quick = Sam2(load_model("miniature", cuda), cuda, Levers("bfloat16", tf32=True))
    asked = prompts(points=2)
    pairs = zip(decode(exact, asked), decode(quick, asked), strict=True)
    assert np.mean([iou(one.mask, other.mask) for one, other in pairs]) >= 0.998
