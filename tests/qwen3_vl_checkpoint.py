"""A checkpoint of Qwen3-VL's class: the published architecture and processor, tiny, with random
weights and the packaged miniature's vocabulary.

What differs from Qwen2.5-VL is as published: patches of 16 pixels, image tokens of 32, learned
positions of patches, features of several vision layers given to the first text layers, interleaved
rotary positions, and a chat template without a system turn of its own. Source of the data below:
config.json, preprocessor_config.json and chat_template.json of
huggingface.co/Qwen/Qwen3-VL-4B-Instruct.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Final

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from wise_serve.miniature import REASONER_FOLDER

IMAGE_TOKEN_PIXELS: Final = 32  # side of the part of an image that one token stands for
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in part %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PREPROCESSOR: Final[dict[str, Any]] = {
    "size": {"longest_edge": 16_777_216, "shortest_edge": 65_536},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor",
    "image_processor_type": "Qwen2VLImageProcessorFast",
}
VIDEO_PREPROCESSOR: Final[dict[str, Any]] = PREPROCESSOR | {
    "size": {"longest_edge": 25_165_824, "shortest_edge": 4096},
    "video_processor_type": "Qwen3VLVideoProcessor",
}
VISION: Final[dict[str, Any]] = {
    "depth": 3,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_heads": 2,
    "out_hidden_size": 128,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [0, 1],
}
TEXT: Final[dict[str, Any]] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 8192,
    "rope_parameters": {
        "mrope_interleaved": True,
        "mrope_section": [6, 5, 5],
        "rope_theta": 5_000_000.0,
        "rope_type": "default",
    },
}


def write_qwen3_vl(folder: Path) -> None:
    """Write the whole folder of a checkpoint, with random float32 weights from a fixed seed."""
    packaged = json.loads((REASONER_FOLDER / "config.json").read_text())
    ids = {
        name: packaged[name]
        for name in (
            "image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id",
        )
    }  # fmt: skip
    text = packaged["text_config"]
    special = {name: text[name] for name in ("bos_token_id", "eos_token_id", "vocab_size")}
    config = Qwen3VLConfig(text_config=TEXT | special, vision_config=VISION, **ids)
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(4.0)  # as initialized, an image would change almost nothing
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(REASONER_FOLDER / name, folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "video_preprocessor_config.json").write_text(json.dumps(VIDEO_PREPROCESSOR))
