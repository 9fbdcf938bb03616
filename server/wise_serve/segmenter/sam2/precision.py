"""What makes SAM 2 faster: precomputed constants, an encoder in half precision, TF32."""

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

    encoder, decoder: the type in which each computes. Serving keeps the decoder in float32, because
    a decoder in half precision changes the masks most. tf32: let a GPU round the inputs of SAM 2's
    float32 products to 10 bits of mantissa. constants: compute constants once; off only to measure
    the gain.
    """

    encoder: Precision = "float32"
    decoder: Precision = "float32"
    tf32: bool = False
    constants: bool = True
    compiler: Compiler | None = None


@contextmanager
def float32_products(*, tf32: bool) -> Iterator[None]:
    """Inside this context, a GPU computes float32 products and convolutions in TF32, or not.

    torch has one setting for the whole process, and its default allows TF32 in convolutions. The
    setting is restored at the end. A CPU has no TF32.
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
    """Compute once what SAM 2 computes at each call only from its weights and image size.

    The outputs do not change by a bit. The weights must not change afterwards: do not train it.
    """
    trunk, neck = model.image_encoder.trunk, model.image_encoder.neck
    # Only SAM 2's memory for videos uses these encodings; for images the package needs their shape.
    neck.position_encoding = nn.Identity()
    positions: Tensor = trunk._get_pos_embed((model.image_size // 4,) * 2)
    trunk._get_pos_embed = lambda size: positions
    dense: Tensor = model.sam_prompt_encoder.get_dense_pe()
    model.sam_prompt_encoder.get_dense_pe = lambda: dense


def cast_encoder(model: Any, dtype: torch.dtype) -> None:
    """Cast the weights of the image encoder to `dtype` once; autocast would do it at each call.

    The outputs under autocast do not change by a bit.
    """
    decoder = model.sam_mask_decoder  # two of its layers run with the encoder
    for part in (model.image_encoder, decoder.conv_s0, decoder.conv_s1):
        for module in part.modules():
            if isinstance(module, _CAST_BY_AUTOCAST):
                module.to(dtype)
