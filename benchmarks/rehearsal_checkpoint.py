"""Checkpoints in the published form of Qwen2.5-VL-7B and SAM 2, with random weights.

What a server reads from a checkpoint besides its weights is as published: the flat `config.json`,
the chat template with its system prompt, the processor's limits, a `generation_config.json` that
asks for sampling, and the byte-level vocabulary of 151,643 tokens with its 22 added ones. The
vocabulary is the file `qwen.tiktoken` of PyPI's package dashscope. Sources of the data below:
config.json, chat_template.json, preprocessor_config.json and tokenizer_config.json of
huggingface.co/Qwen/Qwen2.5-VL-7B-Instruct.
"""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import torch
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES
from tokenizers import AddedToken
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.convert_slow_tokenizer import Qwen2Converter, TikTokenConverter

from wise_serve.segmenter.sam2.checkpoints import build_public

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
# Narrower too: seconds a request on two cores. The vocabulary and the image's tokens stay.
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


def write_reasoner(folder: Path, form: Form) -> None:
    """Write the whole folder of a checkpoint, with random bfloat16 weights from a fixed seed."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**_config(form)))
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder, max_shard_size="1GB")
    write_configuration(folder, form)  # in the published form, where save_pretrained has its own


def write_configuration(folder: Path, form: Form) -> None:
    """Write everything of a checkpoint's folder but its weights."""
    _write_json(folder / "config.json", _config(form))
    _write_json(folder / "generation_config.json", GENERATION)
    _write_json(folder / "preprocessor_config.json", PREPROCESSOR)
    _write_json(folder / "chat_template.json", {"chat_template": CHAT_TEMPLATE})
    write_tokenizer(folder)


def _config(form: Form) -> dict[str, Any]:
    return CONFIG | form.text | {"vision_config": VISION_CONFIG | form.vision}


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def vocabulary_file() -> Path:
    """Qwen's vocabulary in tiktoken's form: a line each, the token's bytes in base64 and its
    number."""
    spec = find_spec("dashscope")  # found, not imported: only its file is needed
    assert spec is not None, "pip install dashscope"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "resources" / "qwen.tiktoken"


def write_tokenizer(folder: Path) -> None:
    """Write both files of the tokenizer, with the added tokens at their numbers."""
    ranks = TikTokenConverter().extract_vocab_merges_from_model(str(vocabulary_file()))
    tokenizer = Qwen2Converter(SimpleNamespace()).converted(*ranks)
    added = [
        AddedToken(text, normalized=False, special=number < FIRST_NOT_SPECIAL)
        for number, text in enumerate(ADDED_TOKENS)
    ]
    tokenizer.add_tokens(added)
    assert tokenizer.token_to_id(ADDED_TOKENS[-1]) == VOCABULARY_TOKENS + len(ADDED_TOKENS) - 1
    tokenizer.save(str(folder / "tokenizer.json"))
    decoder = {
        str(VOCABULARY_TOKENS + number): {
            "content": token.content,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token.special,
        }
        for number, token in enumerate(added)
    }
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": decoder,
        "additional_special_tokens": list(ADDED_TOKENS[1:FIRST_NOT_SPECIAL]),
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TURN,
        "errors": "replace",
        "model_max_length": 131072,
        "pad_token": ADDED_TOKENS[0],
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    _write_json(folder / "tokenizer_config.json", config)


def write_segmenter(hub: Path, name: str) -> None:
    """Write SAM 2 of this hub name, with random weights, into `hub`: the layout of the model hub's
    cache, as a download would leave it. A server finds it there with HF_HUB_CACHE=`hub`."""
    torch.manual_seed(0)
    revision = "0" * 40
    repository = hub / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    weights = {"model": build_public(name).state_dict()}
    torch.save(weights, snapshot / HF_MODEL_ID_TO_FILENAMES[name][1])
