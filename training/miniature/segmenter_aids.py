"""Aids for the training of the miniature segmenter, which let it learn positions sooner."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wise_serve.segmenter.sam2.stages import Features


def start_local(model: Any) -> None:
    """Initialise the mask decoder so that prompts and the image near them attend to each other.

    The inner product of two position codes falls with their distance, so equal projections of query
    and key make attention local from the first step. From random projections, heads this narrow (6
    channels) learn that only after thousands of steps. Learned embeddings start small compared with
    the code, and so do the logits.
    """
    decoder, encoder = model.sam_mask_decoder, model.sam_prompt_encoder
    attentions = [decoder.transformer.final_attn_token_to_image]
    for layer in decoder.transformer.layers:
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    with torch.no_grad():
        for attention in attentions:
            nn.init.orthogonal_(attention.q_proj.weight, gain=2.0)
            attention.k_proj.weight.copy_(attention.q_proj.weight)
        for embedding in (*encoder.point_embeddings, encoder.no_mask_embed, decoder.mask_tokens):
            embedding.weight.mul_(0.2)
        for network in decoder.output_hypernetworks_mlps:
            network.layers[-1].weight.mul_(0.2)


class Aids(nn.Module):
    """Two linear heads: which cells of the decoded image hold the prompt's object, and which pixels
    of the finest features are any object at all."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.cells = nn.Linear(model.hidden_dim, 1)
        self.figures = nn.Conv2d(model.hidden_dim // 8, 1, 1)
        for bias in (self.cells.bias, self.figures.bias):
            assert bias is not None
            nn.init.constant_(bias, -2.0)  # most of an image is background
        self._decoded: Tensor | None = None
        model.sam_mask_decoder.transformer.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: object, outputs: tuple[Tensor, Tensor]) -> None:
        self._decoded = outputs[1]  # N x cells x C: the image after it has attended to the prompt

    def forward(self, features: Features, targets: Tensor, figures: Tensor) -> Tensor:
        """The aids' loss. targets: N x r x r of the prompts, figures: B x r x r of all shapes."""
        assert self._decoded is not None
        cells = self.cells(self._decoded)[..., 0]
        side = round(cells.shape[1] ** 0.5)
        wanted = functional.adaptive_avg_pool2d(targets[:, None], side).flatten(1)
        entropy = functional.binary_cross_entropy_with_logits(cells, wanted, reduction="none")
        area = wanted.sum(dim=1)
        cell_loss = (entropy.sum(dim=1) / (area + 8.0)).mean()
        pixels = self.figures(features.high_res[0])
        shown = functional.adaptive_avg_pool2d(figures[:, None], pixels.shape[-1])
        figure_loss: Tensor = functional.binary_cross_entropy_with_logits(pixels, shown)
        self._decoded = None
        return cell_loss + figure_loss
