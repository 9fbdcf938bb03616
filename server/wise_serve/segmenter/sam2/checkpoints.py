"""SAM 2 from a name: the packaged miniature, or a public checkpoint."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import load_file
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES, build_sam2
from torch import Tensor

from wise_serve import miniature
from wise_serve.contract.errors import NotReady
from wise_serve.settings import MINIATURE

_MINIATURE_CONFIG = "sam2_miniature.yaml"


def build_miniature() -> Any:
    """The miniature architecture with random weights, in training mode, on the CPU."""
    return _build("wise_serve.miniature", _MINIATURE_CONFIG).train()


def build_public(name: str = "facebook/sam2-hiera-large") -> Any:
    """A public architecture, from its published config, with random weights, on the CPU."""
    return _build("sam2", HF_MODEL_ID_TO_FILENAMES[name][0])


def load_model(name: str, device: torch.device, weights: Path | None = None) -> Any:
    """Build SAM 2 and load its weights.

    name: 'miniature', or a hub name of a public SAM 2 checkpoint. weights: a .safetensors file, or
    a .pt file of the public form; default: the packaged ones, or a download from the hub.
    Raises NotReady when the name is unknown or the weights cannot be had.
    """
    if name == MINIATURE:
        model = _build("wise_serve.miniature", _MINIATURE_CONFIG)
        weights = weights or miniature.SEGMENTER_WEIGHTS
    elif name in HF_MODEL_ID_TO_FILENAMES:
        config, filename = HF_MODEL_ID_TO_FILENAMES[name]
        model = _build("sam2", config)
        weights = weights or _download(name, filename)
    else:
        known = ", ".join([MINIATURE, *HF_MODEL_ID_TO_FILENAMES])
        raise NotReady(f"'{name}' is not a SAM 2 checkpoint this server knows. Known: {known}.")
    model.load_state_dict(_read_weights(weights))
    return model.to(device).eval()


def _build(config_package: str, config: str) -> Any:
    # hydra's search path is one per process, and sam2 sets it to its own package at import.
    GlobalHydra.instance().clear()
    initialize_config_module(config_package, version_base="1.2")
    return build_sam2(config, device="cpu", apply_postprocessing=False)


def _download(name: str, filename: str) -> Path:
    try:
        return Path(hf_hub_download(repo_id=name, filename=filename))
    except (OSError, HfHubHTTPError) as error:
        raise NotReady(
            f"'{name}' could not be downloaded. Check the connection to the model hub, or fetch it "
            "once with `hf download` and start again."
        ) from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise NotReady("The segmenter's weights are missing; reinstall the package.")
    if path.suffix == ".safetensors":
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["model"]
    return state
