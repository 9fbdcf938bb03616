"""The miniature reasoner: a Qwen2.5-VL of a few million parameters.

Its class, processor and files are those of transformers, so vLLM loads it like the public
checkpoints. The forward pass for training is in `reasoner_forward.py`.
"""

import torch
from torch import Tensor, nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from wise_serve.miniature import REASONER_IMAGE_SIZE as IMAGE_SIZE

PATCH, MERGE = 14, 2
GRID = IMAGE_SIZE // PATCH  # patches a side
CELLS = GRID // MERGE  # merged tokens a side
PREFIX_LENGTH = 7  # tokens before the image in the chat template
TEXT_WIDTH = 192
# The slowest frequencies of the multimodal rotary embedding encode the column. With the usual 1e4
# they turn by 0.03 radians over eight columns, too little for a small model; with 20 by 1.2.
ROPE_THETA = 20.0
LOOK_LAYER, LOOK_HEADS = 3, 2  # the text layer and its first heads that learn to look at the target
PLACE_LAYER = 1  # after this text layer, image tokens know where they are


def make_config(token_ids: dict[str, int], vocabulary: int) -> Qwen2_5_VLConfig:
    """The miniature's configuration. `token_ids` maps the special tokens' text to their ids."""
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 512,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "num_key_value_heads": 6,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": ROPE_THETA, "mrope_section": [4, 6, 6],
            },
            "bos_token_id": token_ids["<|endoftext|>"],
            "eos_token_id": token_ids["<|im_end|>"],
            "pad_token_id": token_ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 352,
            "num_heads": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": IMAGE_SIZE,
            "fullatt_block_indexes": [0, 1, 2, 3],
            "out_hidden_size": TEXT_WIDTH,
        },
        image_token_id=token_ids["<|image_pad|>"],
        video_token_id=token_ids["<|video_pad|>"],
        vision_start_token_id=token_ids["<|vision_start|>"],
        vision_end_token_id=token_ids["<|vision_end|>"],
        tie_word_embeddings=False,
        dtype="float32",
    )  # fmt: skip


class TrainingAids(nn.Module):
    """Heads that exist only in training: what a cell shows, where it is, and how it ranks.

    seen: per merged token, colour (8 and none), kind (4 and none), the box of the shape there
    relative to the cell, six flags (largest, smallest, leftmost, rightmost, topmost, lowest).
    placed: per image token in the text model, its row and column, the shape's box in the image.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Linear(TEXT_WIDTH, 9 + 5 + 4 + 6)
        self.placed = nn.Linear(TEXT_WIDTH, CELLS * 2 + 4)


def make_model(config: Qwen2_5_VLConfig, number_ids: Tensor) -> Qwen2_5_VLForConditionalGeneration:
    """Random weights for a narrow model; tokens of near numbers start with similar embeddings.

    The class's own standard deviation, 0.02, is meant for thousands of channels; with it the layers
    of this model would have almost no effect for a long time.
    """
    model = Qwen2_5_VLForConditionalGeneration(config)
    depth = config.text_config.num_hidden_layers
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim < 2:
                continue
            scale = 0.7 / weight[0].numel() ** 0.5
            if name.endswith(("attn.proj.weight", "o_proj.weight", "down_proj.weight")):
                scale /= (2 * depth) ** 0.5
            weight.normal_(0, scale)
        numbers = torch.arange(len(number_ids), dtype=torch.float32)
        embedding, head = model.model.language_model.embed_tokens.weight, model.lm_head.weight
        embedding.normal_(0, 0.5)
        for table, scale in ((embedding, 0.7), (head, 0.07)):
            half = table.shape[1] // 2
            pace = torch.exp(torch.rand(half) * 5.0 - 4.5)
            angle = numbers[:, None] * pace + torch.rand(half) * 2 * torch.pi
            table[number_ids] = scale * torch.cat((angle.sin(), angle.cos()), dim=1)
    return model
