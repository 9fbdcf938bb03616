"""Checkpoints in the published form of Qwen2.5-VL-7B and SAM 2, with random weights.

Everything that a server reads from a checkpoint besides its weights is as published
(`rehearsal_published.py`). The byte-level vocabulary of 151,643 tokens is the file `qwen.tiktoken`
of PyPI's package dashscope.
"""

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES
from tokenizers import AddedToken
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.convert_slow_tokenizer import Qwen2Converter, TikTokenConverter

from rehearsal_published import (
    ADDED_TOKENS,
    CHAT_TEMPLATE,
    CONFIG,
    END_OF_TURN,
    FIRST_NOT_SPECIAL,
    GENERATION,
    PREPROCESSOR,
    VISION_CONFIG,
    VOCABULARY_TOKENS,
    Form,
)
from wise_serve.segmenter.sam2.checkpoints import build_public


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
