"""Write a trained reasoner as the folder that vLLM and transformers load.

`python -m miniature.export_reasoner --checkpoint runs/reasoner/checkpoint.pt` writes the
package's `weights/reasoner`: weights as float16 safetensors (read back as float32), configuration,
tokenizer and processor.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from miniature.reasoner_images import MEAN, STD
from miniature.reasoner_loss import number_ids
from miniature.reasoner_model import MERGE, PATCH, make_config, make_model
from miniature.tokenizer import (
    CHAT_TEMPLATE,
    SPECIAL_TOKENS,
    build_tokenizer,
    special_token_ids,
)
from wise_serve.miniature import REASONER_FOLDER
from wise_serve.miniature import REASONER_IMAGE_SIZE as IMAGE_SIZE


def export(state: dict[str, Any] | None, out: Path) -> None:
    """Write the folder. `state`: a state dict of the model, or None for random weights."""
    tokenizer = build_tokenizer()
    config = make_config(special_token_ids(tokenizer), tokenizer.get_vocab_size())
    config.architectures = ["Qwen2_5_VLForConditionalGeneration"]
    model = make_model(config, number_ids(tokenizer))
    if state is not None:
        model.load_state_dict(state)
    out.mkdir(parents=True, exist_ok=True)
    # transformers' own writer reverses its renaming of keys, so older readers load the file too.
    model.to(torch.float16).save_pretrained(out)
    saved = json.loads((out / "config.json").read_text())
    saved["dtype"] = saved["text_config"]["dtype"] = saved["vision_config"]["dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(saved, indent=2) + "\n")
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
    wrapped.save_pretrained(out)
    pixels = IMAGE_SIZE * IMAGE_SIZE
    processor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "min_pixels": pixels,
        "max_pixels": pixels,
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "merge_size": MERGE,
        "image_mean": [round(float(v), 8) for v in MEAN],
        "image_std": [round(float(v), 8) for v in STD],
    }
    (out / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", default="runs/reasoner/checkpoint.pt")
    parser.add_argument("--random", action="store_true", help="untrained weights, for tests")
    parser.add_argument("--out", default=str(REASONER_FOLDER))
    args = parser.parse_args()
    state = None if args.random else torch.load(args.checkpoint, weights_only=True)["model"]
    export(state, Path(args.out))


if __name__ == "__main__":
    main()
