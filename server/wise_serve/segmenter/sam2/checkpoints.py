"""SAM 2 by name: the packaged miniature, a public checkpoint, or a checkpoint in a file."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES, build_sam2

from wise_serve import miniature
from wise_serve.contract.errors import NotReady
from wise_serve.segmenter.sam2.own import (
    CONFIG_ENDINGS,
    ENDINGS,
    build_from_file,
    find_file,
    guess_published,
    load_into,
    read_weights,
)
from wise_serve.settings import MINIATURE

_MINIATURE_CONFIG = "sam2_miniature.yaml"


def build_miniature() -> Any:
    """The miniature architecture with random weights, in training mode, on the CPU."""
    return _build("wise_serve.miniature", _MINIATURE_CONFIG).train()


def build_public(name: str = "facebook/sam2-hiera-large") -> Any:
    """A public architecture, from its published config, with random weights, on the CPU."""
    return _build("sam2", HF_MODEL_ID_TO_FILENAMES[name][0])


def load_model(name: str, device: torch.device, config: str | None = None) -> Any:
    """Build SAM 2 and load its weights.

    name: 'miniature', the hub name of a public checkpoint, or a folder or a file (.safetensors,
    .pt). config: only for a folder or a file: a hydra file, or the hub name of a published
    architecture. Default: the config in the folder; without one, the published architecture that
    has the shapes of these weights. Raises NotReady if the name is unknown, or if the weights
    cannot be loaded or do not fit.
    """
    if config is not None and (name == MINIATURE or name in HF_MODEL_ID_TO_FILENAMES):
        raise NotReady(f"--segmenter-config is for your own weights; '{name}' has its own config.")
    if name == MINIATURE:
        model = _build("wise_serve.miniature", _MINIATURE_CONFIG)
        if not miniature.SEGMENTER_WEIGHTS.exists():
            raise NotReady("The segmenter's weights are missing; reinstall the package.")
        load_into(model, read_weights(miniature.SEGMENTER_WEIGHTS), f"'{name}'")
    elif name in HF_MODEL_ID_TO_FILENAMES:
        config_file, file_name = HF_MODEL_ID_TO_FILENAMES[name]
        model = _build("sam2", config_file)
        load_into(model, read_weights(_download(name, file_name)), f"'{name}'")
    elif Path(name).exists():
        model = _own(Path(name), config)
    else:
        known = ", ".join([MINIATURE, *HF_MODEL_ID_TO_FILENAMES])
        raise NotReady(f"'{name}' is neither a file, a folder, nor a known SAM 2: {known}.")
    return model.to(device).eval()


def _own(path: Path, config: str | None) -> Any:
    weights = find_file(path)
    if weights is None:
        raise NotReady(f"'{path}' contains no weights ({', '.join(ENDINGS)}).")
    state = read_weights(weights)
    if config is None and path.is_dir():
        beside = find_file(path, CONFIG_ENDINGS)
        config = str(beside) if beside else None
    config = config or guess_published(state)
    if config is None:
        raise NotReady(f"'{path}' is not a published size of SAM 2: set --segmenter-config.")
    if config in HF_MODEL_ID_TO_FILENAMES:
        model = build_public(config)
    elif Path(config).is_file():
        model = build_from_file(Path(config))
    else:
        known = ", ".join(HF_MODEL_ID_TO_FILENAMES)
        raise NotReady(f"--segmenter-config '{config}' is neither a file nor one of {known}.")
    load_into(model, state, f"'{config}'")
    return model


def _build(config_package: str, config: str) -> Any:
    # hydra has one search path per process, and importing sam2 sets it to the package sam2.
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
