"""Part of `gpu.py`: a reasoner of Qwen2.5-VL-7B's size on transformers, and on vLLM if installed.

The weights are random and the numbers of tokens are fixed: the thinking tokens that the paper gives
for WISE-S and Seg-Zero (arXiv 2604.02040), plus an answer.
"""

import importlib
import importlib.util
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from gpu_part import Options
from rehearsal_checkpoint import write_configuration
from rehearsal_published import IMAGE_SIDE, PUBLISHED, SMALL

THINKING_TOKENS = {"wise-s": 23, "seg-zero": 112}
ANSWER_TOKENS = 60  # `{"bbox": [...], "points_1": [...], "points_2": [...]}` in Qwen's vocabulary
PUBLIC_BATCH = 50  # of the public evaluation's script


def run(options: Options) -> None:
    """Measure the reasoner with transformers and with vLLM, and report the figures."""
    figures: dict[str, Any] = {"transformers": {}, "vllm": "not installed, or not wanted"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_configuration(folder, SMALL if options.small else PUBLISHED)
        _transformers(folder, options, figures)
        if options.vllm and importlib.util.find_spec("vllm") is not None:
            _vllm(folder, options, figures)


def _strategies(options: Options) -> dict[str, int]:
    """Thinking tokens by strategy; in the small size of the shortest alone."""
    return {"wise-s": THINKING_TOKENS["wise-s"]} if options.small else THINKING_TOKENS


def _inputs(processor: Any, count: int) -> tuple[str, list[Image.Image]]:
    """One prompt's text, and images of the reasoner's square."""
    turn = [{"type": "image"}, {"type": "text", "text": "the cup she could drink from"}]
    text: str = processor.apply_chat_template(
        [{"role": "user", "content": turn}], tokenize=False, add_generation_prompt=True
    )
    rng = np.random.default_rng(0)
    shape = (IMAGE_SIDE, IMAGE_SIDE, 3)
    return text, [Image.fromarray(rng.integers(0, 256, shape, np.uint8)) for _ in range(count)]


def _transformers(folder: Path, options: Options, figures: dict[str, Any]) -> None:
    """Seconds of `generate` for a whole batch, as in the public scripts, by strategy and batch."""
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(options.device):
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig.from_pretrained(folder)).eval()
    torch.set_default_dtype(torch.float32)
    processor = AutoProcessor.from_pretrained(folder)
    for batch in (1, 2 if options.small else PUBLIC_BATCH):
        text, images = _inputs(processor, batch)
        inputs = processor(text=[text] * batch, images=images, return_tensors="pt")
        inputs = inputs.to(options.device)
        _generate(model, inputs, 2)  # warm
        for strategy, thinking in _strategies(options).items():
            took_s = _generate(model, inputs, thinking + ANSWER_TOKENS)
            found = {"s": round(took_s, 3), "requests_per_s": round(batch / took_s, 3)}
            figures["transformers"][f"{strategy}, batch {batch}"] = found
            options.save(figures)
    del model
    if options.device == "cuda":
        torch.cuda.empty_cache()


@torch.inference_mode()
def _generate(model: Any, inputs: Any, tokens: int) -> float:
    begun = time.perf_counter()
    made = model.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
    made.cpu()  # waits for the device
    return time.perf_counter() - begun


def _vllm(folder: Path, options: Options, figures: dict[str, Any]) -> None:
    """Requests per second of vLLM's engine alone, with `options.in_flight` at a time."""
    vllm = importlib.import_module("vllm")  # not there on every node
    memory: dict[str, Any] = (
        {"gpu_memory_utilization": 0.7}
        if options.device == "cuda"
        else {"enforce_eager": True, "kv_cache_memory_bytes": 2**29}
    )
    engine = vllm.LLM(
        str(folder),
        load_format="dummy",
        max_model_len=2048,
        limit_mm_per_prompt={"image": 1, "video": 0},
        **memory,
    )
    text, images = _inputs(AutoProcessor.from_pretrained(folder), options.in_flight)
    prompts = [{"prompt": text, "multi_modal_data": {"image": image}} for image in images]
    figures["vllm"] = {}
    for strategy, thinking in _strategies(options).items():
        tokens = thinking + ANSWER_TOKENS
        sampling = vllm.SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)
        engine.generate(prompts[:1], sampling, use_tqdm=False)
        engine.reset_prefix_cache()
        begun = time.perf_counter()
        engine.generate(prompts, sampling)
        rate = len(prompts) / (time.perf_counter() - begun)
        figures["vllm"][f"{strategy}, {len(prompts)} in flight"] = {
            "requests_per_s": round(rate, 3)
        }
        options.save(figures)
