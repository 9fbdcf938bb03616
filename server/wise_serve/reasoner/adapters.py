"""LoRA adapters of the reasoner, in PEFT's format: reads and checks them before vLLM loads them.

A folder holds `adapter_config.json` and `adapter_model.safetensors`. Only the config and the
tensors' names and shapes are read here. Adapters with parts that vLLM would ignore without an error
are refused, because the answers would be those of another model.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from wise_serve.settings import Settings

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The largest ranks that vLLM's engine can be made for."""

_LAYERS: Final = "layers."  # of the language model; those of the vision tower are called blocks
_VISION: Final = "visual."
# Fields of PEFT's config, the values that vLLM supports, and the name of all other values.
_PLAIN: Final = {
    "use_dora": ((None, False), "DoRA"),
    "bias": ((None, "none"), "trained biases"),
    "lora_bias": ((None, False), "trained biases (lora_bias)"),
    "use_qalora": ((None, False), "QALoRA"),
    "use_bdlora": ((None, {}), "block-diagonal LoRA (use_bdlora)"),
    "alora_invocation_tokens": ((None, []), "Activated LoRA (alora_invocation_tokens)"),
    "layer_replication": ((None, []), "replicated layers (layer_replication)"),
    "modules_to_save": ((None, []), "whole modules that were trained (modules_to_save)"),
}
# Initializations that leave the checkpoint's own weights as they are. After others, such as PiSSA,
# the adapter belongs to changed weights.
_INITIALIZATIONS: Final = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
Shapes = Mapping[str, tuple[int, ...]]


class AdapterError(ValueError):
    """An adapter cannot be used: one line that names the file."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """path: the folder, absolute. rank: the largest of its layers."""

    name: str
    path: Path
    rank: int


def read_adapters(settings: Settings, base: Path | None = None) -> dict[str, Adapter]:
    """The adapters of `--reasoner-lora` by name. base: the reasoner's folder, where it is known:
    then layers and shapes are compared with its own. Raises AdapterError."""
    base_shapes = {} if base is None or not settings.adapters else _base_shapes(base)
    return {
        name: _read(name, Path(path).absolute(), base_shapes)
        for name, path in settings.adapters.items()
    }


def engine_rank(adapters: Mapping[str, Adapter]) -> int:
    """The smallest of vLLM's ranks that is large enough for all adapters."""
    most = max(adapter.rank for adapter in adapters.values())
    return next(rank for rank in RANKS if rank >= most)


def _read(name: str, folder: Path, base: Shapes) -> Adapter:
    if not folder.is_dir():
        raise AdapterError(f"--reasoner-lora {name}: there is no folder {folder}.")
    config = _config(folder / CONFIG)
    rank = _rank(folder / CONFIG, config)
    file = folder / WEIGHTS
    shapes = read_shapes(file)
    halves = {one: shape for one, shape in shapes.items() if ".lora_" in one}
    if not halves:
        raise AdapterError(f"{file}: contains no tensors of a LoRA adapter.")
    for tensor, shape in halves.items():
        _check_tensor(file, tensor, shape, rank, base)
    return Adapter(name, folder, rank)


def _config(file: Path) -> dict[str, Any]:
    """The adapter's config, which has only what vLLM serves."""
    try:
        config: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise AdapterError(f"{file}: {error.strerror}.") from None
    except ValueError as error:
        raise AdapterError(f"{file}: not JSON: {error}.") from None
    if not isinstance(config, dict) or config.get("peft_type", "LORA") != "LORA":
        raise AdapterError(f"{file}: not the config of a LoRA adapter.")
    for field, (plain, called) in _PLAIN.items():
        if config.get(field) not in plain:
            raise AdapterError(f"{file}: vLLM does not serve {called}.")
    begun = config.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower() not in _INITIALIZATIONS:
        raise AdapterError(
            f"{file}: init_lora_weights is '{begun}', which changes the checkpoint's own weights. "
            "Convert the adapter with PEFT's path_initial_model_for_weight_conversion."
        )
    if not isinstance(config.get("lora_alpha"), int | float):
        raise AdapterError(f"{file}: lora_alpha must be a number.")
    if "target_modules" not in config:
        raise AdapterError(f"{file}: target_modules is missing, which vLLM requires.")
    return config


def _rank(file: Path, config: Mapping[str, Any]) -> int:
    """The largest rank that the config names."""
    ranks: list[Any] = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    if not all(isinstance(rank, int) and 0 < rank <= RANKS[-1] for rank in ranks):
        raise AdapterError(f"{file}: a rank (r) must be a whole number from 1 to {RANKS[-1]}.")
    most: int = max(ranks)
    return most


def _check_tensor(file: Path, tensor: str, shape: tuple[int, ...], rank: int, base: Shapes) -> None:
    if _LAYERS not in tensor or _VISION in tensor:
        raise AdapterError(
            f"{file}: {tensor} is outside the language model's layers, where adapters are not "
            "supported. Merge it into the checkpoint."
        )
    module, _, half = tensor.partition(".lora_")
    reads = half.startswith("A")  # rank x inputs; the other half is outputs x rank
    if len(shape) != 2 or shape[not reads] > rank:
        raise AdapterError(f"{file}: {tensor} is {_text(shape)}, which does not fit rank {rank}.")
    if not base:
        return
    weight = base.get(f"{_in_model(module)}.weight")
    if weight is None:
        raise AdapterError(f"{file}: {tensor} belongs to a layer that the reasoner does not have.")
    if weight[reads] != shape[reads]:
        raise AdapterError(
            f"{file}: {tensor} is {_text(shape)}, but the reasoner's layer {_text(weight)}: "
            "the adapter was trained for another checkpoint."
        )


def _base_shapes(base: Path) -> dict[str, tuple[int, ...]]:
    """The matrices of the language model's layers; empty for a quantized checkpoint, whose
    matrices are packed."""
    try:
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # vLLM reports what is wrong with the checkpoint
    if "quantization_config" in config:
        return {}
    files = sorted(base.glob("*.safetensors"))
    shapes = {name: shape for file in files for name, shape in read_shapes(file).items()}
    return {
        _in_model(name): shape
        for name, shape in shapes.items()
        if _LAYERS in name and _VISION not in name and len(shape) == 2
    }


def _in_model(name: str) -> str:
    """The name from its first layer on: the part before differs between versions of
    transformers."""
    return name[name.index(_LAYERS) :]


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a safetensors file; only its header is read. Raises AdapterError."""
    try:
        with safe_open(file, framework="np") as opened:
            names = opened.keys()
            return {name: tuple(opened.get_slice(name).get_shape()) for name in names}
    except FileNotFoundError:
        raise AdapterError(f"{file}: No such file or directory.") from None
    except (OSError, SafetensorError):
        raise AdapterError(f"{file}: not a safetensors file, or damaged.") from None


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
