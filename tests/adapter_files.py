"""LoRA adapters in PEFT's form, with random weights, for the packaged miniature reasoner."""

import json
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from wise_serve.miniature import REASONER_FOLDER
from wise_serve.reasoner.adapters import CONFIG, WEIGHTS

RANK: Final = 4
ALPHA: Final = 8
LAYERS: Final = 6
MODULES: Final = ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")


def write_adapter(
    folder: Path, seed: int = 0, strength: float = 0.1, **config: Any
) -> dict[str, Tensor]:
    """Write the folder; `config` replaces fields of the config. Gives what the adapter adds to each
    matrix of the miniature, by the matrix's name. strength: of that, against the matrix itself."""
    generator = torch.Generator().manual_seed(seed)
    base = load_file(REASONER_FOLDER / "model.safetensors")
    tensors, added = dict[str, Tensor](), dict[str, Tensor]()
    for name in (f"layers.{layer}.{module}" for layer in range(LAYERS) for module in MODULES):
        weight = base[f"model.{name}.weight"]
        down = torch.randn(RANK, weight.shape[1], generator=generator)
        up = torch.randn(weight.shape[0], RANK, generator=generator)
        up *= strength * weight.norm() / (up @ down).norm() * RANK / ALPHA
        prefix = f"base_model.model.model.language_model.{name}"
        tensors |= {f"{prefix}.lora_A.weight": down, f"{prefix}.lora_B.weight": up.contiguous()}
        added[f"model.{name}.weight"] = (up @ down) * ALPHA / RANK
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS)
    targets = [module.rpartition(".")[2] for module in MODULES]
    fields = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": targets}
    (folder / CONFIG).write_text(json.dumps(fields | config))
    return added
