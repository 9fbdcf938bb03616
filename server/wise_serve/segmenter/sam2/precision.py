"""What makes SAM 2 cheaper to run: constants kept, an encoder in half precision, TF32."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wise_serve.contract.names import Precision
from wise_serve.segmenter.sam2.compiled import Compiler

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_CAST_BY_AUTOCAST = (nn.Linear, nn.Conv2d)


@dataclass(frozen=True, slots=True)
class Levers:
    """How a model is run.

    encoder, decoder: what each computes in; serving has the decoder in float32, where most of the
    parity would be lost. tf32: let a GPU round the inputs of SAM 2's own products of float32 to 10
    bits of mantissa. constants: off only where its gain is measured.
    """

    encoder: Precision = "float32"
    decoder: Precision = "float32"
    tf32: bool = False
    constants: bool = True
    compiler: Compiler | None = None


@contextmanager
def float32_products(*, tf32: bool) -> Iterator[None]:
    """Inside, products and convolutions of float32 run in TF32 on a GPU, or in full float32.

    torch has one setting for the whole process, and by itself allows TF32 in convolutions. What it
    was is restored. A CPU knows no TF32.
    """
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = tf32
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


@torch.inference_mode()
def keep_constants(model: Any) -> None:
    """Compute once what SAM 2 computes at each call from its weights and image size alone.

    The outputs stay the same bits. The weights must not change any more: not for training.
    """
    trunk, neck = model.image_encoder.trunk, model.image_encoder.neck
    # Only the memory of videos reads these encodings; their shape is all that the package asks for.
    neck.position_encoding = nn.Identity()
    positions: Tensor = trunk._get_pos_embed((model.image_size // 4,) * 2)
    trunk._get_pos_embed = lambda size: positions
    dense: Tensor = model.sam_prompt_encoder.get_dense_pe()
    model.sam_prompt_encoder.get_dense_pe = lambda: dense


def cast_encoder(model: Any, dtype: torch.dtype) -> None:
    """Hold in `dtype` the weights that autocast would cast at each call of the image encoder; the
    outputs under autocast stay the same bits."""
    decoder = model.sam_mask_decoder  # two of its layers run with the encoder
    for part in (model.image_encoder, decoder.conv_s0, decoder.conv_s1):
        for module in part.modules():
            if isinstance(module, _CAST_BY_AUTOCAST):
                module.to(dtype)
