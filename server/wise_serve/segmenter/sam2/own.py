"""A SAM 2 from the user's own file of weights, with its config, and whether the two fit."""

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from wise_serve.contract.errors import NotReady

ENDINGS: Final = (".safetensors", ".pt", ".pth")
CONFIG_ENDINGS: Final = (".yaml", ".yml")
_SHOWN: Final = 3  # most tensors that an error names
_PACKAGE: Final = "sam2."  # a config may only build objects of this package
_DIM: Final = "image_encoder.trunk.patch_embed.proj.weight"
_BLOCK: Final = "image_encoder.trunk.blocks."
_IS_2_1: Final = "no_obj_embed_spatial"  # a tensor that only SAM 2.1 has
# The published sizes by the width of the trunk and its number of blocks.
_SIZES: Final = {(96, 12): "tiny", (96, 16): "small", (112, 24): "base-plus", (144, 48): "large"}


def find_file(path: Path, endings: tuple[str, ...] = ENDINGS) -> Path | None:
    """`path` if it is a file; or the one file in the folder with one of these endings, or None.

    Raises NotReady if the folder has several.
    """
    if path.is_file():
        return path
    found = sorted(one for one in path.iterdir() if one.suffix in endings)
    if len(found) > 1:
        names = ", ".join(one.name for one in found[:_SHOWN])
        raise NotReady(f"'{path}' contains several possible files ({names}): name one of them.")
    return found[0] if found else None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name, float32, from .safetensors, .pt or .pth; they may be inside a key "model".

    Only tensors are unpickled. Raises NotReady if the file cannot be read.
    """
    try:
        if path.suffix == ".safetensors":
            return {name: tensor.float() for name, tensor in load_file(path).items()}
        held: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise NotReady(
            f"'{path}' contains more than tensors, is damaged, or is not a checkpoint at all "
            "(.safetensors, .pt or .pth)."
        ) from None
    except (OSError, RuntimeError, EOFError, SafetensorError) as error:
        raise NotReady(f"'{path}' cannot be read: {str(error)[:200]}") from None
    state = held.get("model", held) if isinstance(held, dict) else None
    if not isinstance(state, dict) or not all(isinstance(one, Tensor) for one in state.values()):
        raise NotReady(f"'{path}' does not contain tensors by name.")
    return {name: tensor.float() for name, tensor in state.items()}


def guess_published(state: Mapping[str, Tensor]) -> str | None:
    """The hub name of the published architecture with these shapes; None if there is none."""
    width = state[_DIM].shape[0] if _DIM in state else 0
    numbers = {name[len(_BLOCK) :].split(".")[0] for name in state if name.startswith(_BLOCK)}
    size = _SIZES.get((width, len(numbers)))
    return size and f"facebook/sam2{'.1' if _IS_2_1 in state else ''}-hiera-{size}"


def build_from_file(config: Path) -> nn.Module:
    """The model of a hydra file, with random weights.

    A config names the functions that are called. It may only name those of `sam2`; otherwise it
    could run any code. Raises NotReady if it is wrong.
    """
    try:
        read: Any = OmegaConf.to_container(OmegaConf.load(config), resolve=True)
        if not isinstance(read, dict) or "model" not in read:
            raise NotReady(f"'{config}' has no key 'model'; SAM 2's own configs have one.")
        for target in _targets(read["model"]):
            if not str(target).startswith(_PACKAGE):
                raise NotReady(f"'{config}' builds '{target}', which is not part of SAM 2.")
        model: nn.Module = instantiate(read["model"], _recursive_=True)
    except (OSError, ValueError, OmegaConfBaseException, HydraException) as error:
        raise NotReady(f"'{config}' is not a config of SAM 2: {str(error)[:200]}") from None
    if not hasattr(model, "image_encoder"):
        raise NotReady(f"'{config}' does not build a SAM 2 model.")
    return model


def load_into(model: nn.Module, state: Mapping[str, Tensor], about: str) -> None:
    """Load the weights. Raises NotReady that names the first tensors that do not fit."""
    wanted = model.state_dict()
    wrong = [
        f"{name} is {tuple(state[name].shape)} and should be {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    wrong += [f"{name} is missing" for name in wanted if name not in state]
    wrong += [f"{name} is not part of it" for name in state if name not in wanted]
    if wrong:
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise NotReady(f"The weights do not fit {about}: {'; '.join(wrong[:_SHOWN])}{more}.")
    model.load_state_dict(dict(state))


def _targets(part: Any) -> Iterator[object]:
    """The name of everything that hydra would call."""
    values = part if isinstance(part, list) else ()
    if isinstance(part, dict):
        values = list(part.values())
        if "_target_" in part:
            yield part["_target_"]
    for value in values:
        yield from _targets(value)
