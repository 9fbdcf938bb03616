"""SAM 2 in batches: images of different requests encoded together, prompts decoded together.

The same mathematics as `SAM2ImagePredictor` of the sam2 package (arXiv 2408.00714, section 4),
which loops image by image; `tests/process/test_segmenter_model.py` holds the two to IoU >= 0.999.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from numpy.typing import NDArray
from safetensors.torch import load_file
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES, build_sam2
from torch import Tensor
from torch.nn import functional

import wise_mini
from wise_serve.errors import NotReady
from wise_serve.segmenter import Prompt
from wise_serve.segmenter.runs import mask_runs
from wise_serve.settings import MINIATURE

_MINIATURE_CONFIG = "sam2_miniature.yaml"
_MINIATURE_WEIGHTS = Path(wise_mini.__file__).parent / "weights" / "segmenter.safetensors"
# Of ImageNet, as in sam2.utils.transforms.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
_BOX_LABELS = (2, 3)  # how the prompt encoder marks a box's corners
_POINT_LABEL = 1  # foreground


@dataclass(frozen=True, slots=True)
class Features:
    """A batch of N embedded images, as the mask decoder reads them (r: the model's image side).

    image: N x C x r/16 x r/16. high_res: N x C/8 x r/4 x r/4 and N x C/4 x r/8 x r/8.
    """

    image: Tensor
    high_res: tuple[Tensor, Tensor]

    def take(self, index: Tensor) -> "Features":
        """The images at `index` (int64, any length, repeats allowed)."""
        first, second = self.high_res
        return Features(self.image[index], (first[index], second[index]))

    @property
    def nbytes(self) -> int:
        """Memory of the tensors, bytes."""
        return sum(tensor.nbytes for tensor in (self.image, *self.high_res))


@dataclass(frozen=True, slots=True)
class DecodedMask:
    """size: height and width, pixels. runs: of the mask at that size, see `runs.mask_runs`. score:
    predicted IoU, 0..1."""

    size: tuple[int, int]
    runs: NDArray[np.int64]
    score: float

    @property
    def mask(self) -> NDArray[np.bool_]:
        """H x W bool. Serving has no use for it."""
        height, width = self.size
        columns = np.repeat(np.arange(len(self.runs)) % 2 == 1, self.runs)
        return columns.reshape(width, height).T


@dataclass(frozen=True, slots=True)
class DecodeItem:
    """One prompt (pixels of the image) and the embedding it belongs to.

    features: a batch of one. size: height and width of the image, pixels.
    """

    features: Features
    prompt: Prompt
    size: tuple[int, int]


def build_miniature() -> Any:
    """The miniature architecture with random weights, in training mode, on the CPU."""
    return _build("wise_mini", _MINIATURE_CONFIG).train()


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
        model = _build("wise_mini", _MINIATURE_CONFIG)
        weights = weights or _MINIATURE_WEIGHTS
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


def normalise(pixels: Tensor) -> Tensor:
    """... x 3 x H x W float32 in 0..1 -> the model's input scale."""
    mean = torch.tensor(_MEAN, device=pixels.device).view(3, 1, 1)
    deviation = torch.tensor(_DEVIATION, device=pixels.device).view(3, 1, 1)
    return (pixels - mean) / deviation


def preprocess(pixels: NDArray[np.uint8], side: int, device: torch.device) -> Tensor:
    """H x W x 3 uint8 -> 3 x side x side float32: what `SAM2Transforms` does, in its order.

    The image is stretched to a square by an antialiased bilinear resize, in float.
    """
    image = torch.from_numpy(pixels).to(device).float().div_(255).permute(2, 0, 1)
    if image.shape[1:] != (side, side):
        image = functional.interpolate(
            image[None], (side, side), mode="bilinear", align_corners=False, antialias=True
        )[0]
    return normalise(image)


def image_features(model: Any, batch: Tensor) -> Features:
    """Encode N x 3 x r x r preprocessed images."""
    first, second, image = model.forward_image(batch)["backbone_fpn"]
    if model.directly_add_no_mem_embed:  # trained on videos: this says "no frames before this one"
        image = image + model.no_mem_embed.view(1, -1, 1, 1)
    return Features(image, (first, second))


def mask_logits(
    model: Any, features: Features, coordinates: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Decode N prompts on N images, one each: N x 3 x r/4 x r/4 logits and N x 3 predicted IoUs.

    coordinates: N x P x 2 float32 (x, y) in the model's r x r frame: the box's two corners, then
    points. labels: N x P int32.
    """
    sparse, dense = model.sam_prompt_encoder(points=(coordinates, labels), boxes=None, masks=None)
    logits, scores, _, _ = model.sam_mask_decoder(
        image_embeddings=features.image,
        image_pe=model.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        repeat_image=False,
        high_res_features=list(features.high_res),
    )
    return logits, scores


class Sam2:
    """The model on its device. Not thread-safe: one thread drives it."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self._model = model
        self._device = device
        self.side: int = model.image_size

    @torch.inference_mode()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[Features]:
        """Embed H x W x 3 uint8 RGB images of any sizes in one batch; one Features (N=1) each."""
        batch = torch.stack([preprocess(image, self.side, self._device) for image in images])
        features = image_features(self._model, batch)
        # Clones: a view would keep the whole batch in memory as long as one of it is cached.
        return [
            Features(
                features.image[i : i + 1].clone(),
                (features.high_res[0][i : i + 1].clone(), features.high_res[1][i : i + 1].clone()),
            )
            for i in range(len(images))
        ]

    @torch.inference_mode()
    def decode(self, items: Sequence[DecodeItem]) -> list[DecodedMask]:
        """One mask for each item, in order.

        Items with equally many points share one call of the mask decoder, whatever their images. A
        padding point would be one more token to attend to, and so change the mask: none is used.
        """
        groups: dict[int, list[int]] = defaultdict(list)
        for position, item in enumerate(items):
            groups[len(item.prompt.points)].append(position)
        masks: dict[int, DecodedMask] = {}
        for positions in groups.values():
            masks.update(zip(positions, self._decode([items[p] for p in positions]), strict=True))
        return [masks[position] for position in range(len(items))]

    def _decode(self, items: list[DecodeItem]) -> list[DecodedMask]:
        coordinates, labels = self._prompt_tensors(items)
        features = Features(
            torch.cat([item.features.image for item in items]),
            (
                torch.cat([item.features.high_res[0] for item in items]),
                torch.cat([item.features.high_res[1] for item in items]),
            ),
        )
        logits, scores = mask_logits(self._model, features, coordinates, labels)
        best_scores, best = scores.float().max(dim=1)
        chosen = logits.float()[torch.arange(len(items), device=self._device), best]
        return [
            DecodedMask(item.size, mask_runs(mask, item.size), float(score))
            for mask, item, score in zip(chosen, items, best_scores.tolist(), strict=True)
        ]

    def _prompt_tensors(self, items: list[DecodeItem]) -> tuple[Tensor, Tensor]:
        corners_and_points = [
            (item.prompt.box[:2], item.prompt.box[2:], *item.prompt.points) for item in items
        ]
        coordinates = torch.tensor(corners_and_points, dtype=torch.float32, device=self._device)
        sizes = torch.tensor([(w, h) for h, w in (item.size for item in items)])
        coordinates = coordinates / sizes.to(self._device)[:, None, :] * self.side
        points = coordinates.shape[1] - len(_BOX_LABELS)
        labels = torch.tensor([*_BOX_LABELS, *[_POINT_LABEL] * points], dtype=torch.int32)
        return coordinates, labels.to(self._device).expand(len(items), -1)
