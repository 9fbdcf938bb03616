"""SAM 2 and a reasoner of the public checkpoints' size on one device, beside the public code.

No weights are needed: both get random ones, so the time is the real models' and the masks mean
little (`--checkpoint` loads SAM 2's). Each lever of the segmenter is measured by itself, by batch
size. The reasoner generates a fixed number of tokens: 23 or 112 of thinking, as published for
WISE-S and Seg-Zero (arXiv 2604.02040), and the answer. `--small` runs the miniature's sizes, on a
CPU too. Exit status 1 if a mask in float32 differs from the package's predictor. One JSON line
comes last.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from vllm import LLM, SamplingParams

from gpu_segmenter import Clock, segmenter, table
from wise_serve.miniature import REASONER_FOLDER, REASONER_IMAGE_SIZE
from wise_serve.reasoner.engine import PUBLIC_IMAGE_SIZE
from wise_serve.segmenter.sam2.checkpoints import build_public, load_model
from wise_serve.settings import MINIATURE

THINKING_TOKENS = (23, 112)
ANSWER_TOKENS = (
    60  # of `{"bbox": [...], "points_1": [...], "points_2": [...]}` in Qwen's vocabulary
)
LEAST_IOU = 0.999
# Qwen2.5-VL-7B, from its published config.json.
TEXT_7B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "layer_types": ["full_attention"] * 28,
    "max_position_embeddings": 8192,
    "max_window_layers": 28,
    "rope_parameters": {
        "mrope_section": [16, 24, 24],
        "rope_theta": 1_000_000.0,
        "rope_type": "default",
    },
    "dtype": "bfloat16",
}
VISION_7B = {
    "depth": 32,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 3584,
    "window_size": 112,
    "dtype": "bfloat16",
}


def pictures(count: int, side: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)) for _ in range(count)]


def reasoner_folder(folder: Path, *, small: bool) -> tuple[Path, int]:
    """A checkpoint's folder without weights, and the side of its square in pixels."""
    side = REASONER_IMAGE_SIZE if small else PUBLIC_IMAGE_SIZE
    for source in REASONER_FOLDER.iterdir():
        if source.suffix in (".json", ".jinja"):
            (folder / source.name).write_text(source.read_text())
    if not small:
        config = json.loads((folder / "config.json").read_text())
        config["text_config"] |= TEXT_7B
        config["vision_config"] |= VISION_7B
        (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
        processor = json.loads((folder / "preprocessor_config.json").read_text())
        limits = {"min_pixels": side**2, "max_pixels": side**2}
        sizes = {"size": {"shortest_edge": side**2, "longest_edge": side**2}}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor | limits | sizes))
    return folder, side


def inputs(folder: Path, side: int, count: int) -> tuple[str, list[Image.Image]]:
    """One prompt's text, and a picture for each request."""
    tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
    turn = [{"type": "image"}, {"type": "text", "text": "the red circle"}]
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": turn}], tokenize=False, add_generation_prompt=True
    )
    return text, pictures(count, side)


def transformers_rate(folder: Path, side: int, device: torch.device, tokens: int) -> float:
    """Tokens a second of `generate`, one image after the other, as the public scripts can."""
    config = Qwen2_5_VLConfig.from_pretrained(folder)
    with device:
        torch.set_default_dtype(getattr(torch, str(config.dtype).removeprefix("torch.")))
        model = Qwen2_5_VLForConditionalGeneration(config).eval()
        torch.set_default_dtype(torch.float32)
    text, images = inputs(folder, side, 2)
    processor = AutoProcessor.from_pretrained(folder)
    took_s = 0.0
    for image in images:  # the first one warms up
        batch = processor(text=[text], images=[image], return_tensors="pt").to(device)
        begun = time.perf_counter()
        with torch.inference_mode():
            model.generate(**batch, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
        took_s = time.perf_counter() - begun
    return tokens / took_s


def reasoner(device: torch.device, requests: int, *, small: bool) -> dict[str, Any]:
    """Tokens a second, and requests a second, of vLLM and of transformers."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, side = reasoner_folder(Path(name), small=small)
        for thinking in THINKING_TOKENS:
            rate = transformers_rate(folder, side, device, thinking + ANSWER_TOKENS)
            found[f"transformers_{thinking}_tokens_per_s"] = round(rate, 1)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        text, images = inputs(folder, side, requests)
        cpu: dict[str, Any] = {"enforce_eager": True, "kv_cache_memory_bytes": 2**30}
        llm = LLM(
            str(folder),
            load_format="dummy",
            max_model_len=2048,
            limit_mm_per_prompt={"image": 1, "video": 0},
            **(cpu if device.type == "cpu" else {"gpu_memory_utilization": 0.7}),
        )
        prompts: Any = [{"prompt": text, "multi_modal_data": {"image": one}} for one in images]
        for thinking in THINKING_TOKENS:
            tokens = thinking + ANSWER_TOKENS
            sampling = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)
            llm.generate(prompts[:1], sampling, use_tqdm=False)
            llm.reset_prefix_cache()
            begun = time.perf_counter()
            llm.generate(prompts, sampling)
            took_s = time.perf_counter() - begun
            found[f"vllm_{thinking}_tokens_per_s"] = round(requests * tokens / took_s, 1)
            found[f"vllm_{thinking}_requests_per_s"] = round(requests / took_s, 2)
    return found


def sam2(device: torch.device, checkpoint: str | None) -> Any:
    """A checkpoint's model, or SAM 2 large with random weights."""
    if checkpoint is not None:
        return load_model(checkpoint, device)
    torch.manual_seed(0)
    return build_public().to(device).eval()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="the miniature's sizes and weights")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument(
        "--checkpoint", help="SAM 2's, such as facebook/sam2-hiera-large (default: random weights)"
    )
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="compile SAM 2, too: minutes (default: on CUDA)",
    )
    parser.add_argument("--requests", type=int, default=64, help="at once at vLLM (default: 64)")
    parser.add_argument("--repeats", type=int, default=10, help="of each timing (default: 10)")
    parser.add_argument("--segmenter-only", action="store_true", help="leave the reasoner out")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --small --device cpu runs anywhere")
    device = torch.device(args.device)
    figures: dict[str, Any] = {"device": args.device, "small": args.small}
    if args.device == "cuda":
        figures["device"] = torch.cuda.get_device_name()
    compiled = args.device == "cuda" if args.compile is None else args.compile
    model = sam2(device, MINIATURE if args.small else args.checkpoint)
    figures["segmenter"] = segmenter(Clock(device, args.repeats), model, compiled=compiled)
    del model
    print("\n".join(table(figures["segmenter"])), flush=True)
    if not args.segmenter_only:
        figures["reasoner"] = reasoner(device, args.requests, small=args.small)
        for name, value in figures["reasoner"].items():
            print(f"reasoner: {name}: {value}")
    print(json.dumps(figures))
    return int(figures["segmenter"]["worst_iou"] < LEAST_IOU)


if __name__ == "__main__":
    sys.exit(main())
