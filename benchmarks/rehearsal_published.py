"""The files that Qwen2.5-VL-7B publishes in addition to its weights, and the sizes in which the
rehearsal builds it.

The flat `config.json`, the chat template with its system prompt, the processor's limits, a
`generation_config.json` that asks for sampling, and the 22 tokens added to the vocabulary. Sources:
config.json, chat_template.json, preprocessor_config.json and tokenizer_config.json of
huggingface.co/Qwen/Qwen2.5-VL-7B-Instruct.
"""

from dataclasses import dataclass
from typing import Any, Final

IMAGE_SIDE: Final = 840  # of the square that the WISE and Seg-Zero checkpoints were trained with
VOCABULARY_TOKENS: Final = 151_643
# By number, from VOCABULARY_TOKENS on.
ADDED_TOKENS: Final = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>"),
    *("<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>"),
    *("</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>"),
)
FIRST_NOT_SPECIAL: Final = ADDED_TOKENS.index("<tool_call>")
IMAGE_TOKEN_ID: Final = VOCABULARY_TOKENS + ADDED_TOKENS.index("<|image_pad|>")
END_OF_TURN: Final = "<|im_end|>"

CHAT_TEMPLATE: Final = (
    "{% set image_count = namespace(value=0) %}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' or "
    "'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture "
    "{{ image_count.value }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PREPROCESSOR: Final[dict[str, Any]] = {
    "min_pixels": 3136,
    "max_pixels": 12_845_056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}
# More sampling than any published file asks for: an answer that repeats shows that none was used.
GENERATION: Final[dict[str, Any]] = {
    "bos_token_id": 151643,
    "pad_token_id": 151643,
    "eos_token_id": [151645, 151643],
    "do_sample": True,
    "repetition_penalty": 1.05,
    "temperature": 0.9,
    "top_p": 0.8,
    "top_k": 20,
}
CONFIG: Final[dict[str, Any]] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "vision_token_id": 151654,
    "image_token_id": 151655,
    "video_token_id": 151656,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 128000,
    "model_type": "qwen2_5_vl",
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "sliding_window": 32768,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.41.2",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
VISION_CONFIG: Final[dict[str, Any]] = {
    "hidden_act": "silu",
    "in_chans": 3,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "spatial_patch_size": 14,
    "temporal_patch_size": 2,
    "tokens_per_second": 2,
    "window_size": 112,
}


@dataclass(frozen=True)
class Form:
    """How much of the published architecture is built.

    text, vision: the fields of `config.json` and of its `vision_config` that set the size.
    segmenter: the hub name of the SAM 2 whose published config is used.
    """

    text: dict[str, int]
    vision: dict[str, Any]
    segmenter: str


PUBLISHED: Final = Form(
    text={
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "num_hidden_layers": 28,
        "max_window_layers": 28,
    },
    vision={
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
    segmenter="facebook/sam2-hiera-large",
)
# The published widths with 2 of 28 text layers and 8 of 32 vision layers: 3.5 GB.
FULL: Final = Form(
    text=PUBLISHED.text | {"num_hidden_layers": 2, "max_window_layers": 2},
    vision=PUBLISHED.vision | {"depth": 8, "fullatt_block_indexes": [7]},
    segmenter=PUBLISHED.segmenter,
)
# Narrower as well: a request takes seconds on two cores. The vocabulary and the image's tokens
# stay.
SMALL: Final = Form(
    text={
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_hidden_layers": 2,
        "max_window_layers": 2,
    },
    vision={
        "depth": 2,
        "hidden_size": 160,
        "intermediate_size": 320,
        "num_heads": 2,
        "out_hidden_size": 256,
        "fullatt_block_indexes": [1],
    },
    segmenter="facebook/sam2-hiera-tiny",
)
