"""The loss of the miniature reasoner's training: of the text, and of the training aids.

The aids exist only in training (docs/decisions/0004-training-the-miniatures.md).
"""

from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from miniature.reasoner_data import TrainingBatch
from miniature.reasoner_forward import Activations
from miniature.reasoner_images import CELL
from miniature.reasoner_model import CELLS, TrainingAids
from wise_serve.miniature import REASONER_IMAGE_SIZE as IMAGE_SIZE

BLUR_PIXELS = 1.0  # standard deviation of a number's target


def number_ids(tokenizer: Tokenizer) -> Tensor:
    """Token ids of 0..IMAGE_SIZE, in order."""
    return torch.tensor([tokenizer.token_to_id(str(n)) for n in range(IMAGE_SIZE + 1)])


class Loss:
    """The training loss and its parts."""

    def __init__(self, ids: Tensor, vocabulary: int) -> None:
        self.ids = ids
        self.value_of = torch.full((vocabulary,), -1)
        self.value_of[ids] = torch.arange(len(ids))
        distance = torch.arange(len(ids))[:, None] - torch.arange(len(ids))
        self.seen: dict[str, float] = {}  # the aids' accuracy in the last step, for the log
        self.blur = torch.softmax(-(distance**2) / (2 * BLUR_PIXELS**2), dim=-1)

    def text(self, model: Any, hidden: Tensor, data: TrainingBatch) -> tuple[Tensor, Tensor]:
        """The loss of the tokens, and the logits where a label is. hidden: B x Q x T x width."""
        at = data.labels >= 0
        logits = model.lm_head(hidden[at]).float()
        wanted, weights = data.labels[at], data.weights[at]
        log_p = logits.log_softmax(-1)
        loss = -log_p.gather(1, wanted[:, None])[:, 0]
        values = self.value_of[wanted]
        numbers = values >= 0
        loss[numbers] = -(self.blur[values[numbers]] * log_p[numbers][:, self.ids]).sum(-1)
        # Every query has the same weight, whatever the length of its rationale.
        return (loss * weights).sum() / (data.labels.shape[0] * data.labels.shape[1] * 12), logits

    def looking(self, out: Activations, data: TrainingBatch) -> Tensor:
        """The loss of the attention: a token about a shape should attend to its cells."""
        rows, queries, at = (data.looks >= 0).nonzero(as_tuple=True)
        shapes = data.looks[rows, queries, at]
        shown = torch.stack(
            [
                torch.from_numpy(data.cells[r].coverage[s] > 0)
                for r, s in zip(rows.tolist(), shapes.tolist(), strict=True)
            ]
        )
        looks = out.looks[rows, queries, :, at].float()
        missed = -(looks * shown[:, None]).sum(-1).clamp(min=1e-5).log().mean(-1)
        weights = data.weights[rows, queries, at]
        return (missed * weights).sum() / weights.sum()

    def seeing(self, aids: TrainingAids, out: Activations, data: TrainingBatch) -> Tensor:
        """The loss of the training aids, which read colour, kind, box and flags from each cell."""

        def stack(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(c, name) for c in data.cells]))

        shown = stack("owner") >= 0
        # Only few cells show a shape, so their weight is raised.
        weight = torch.where(shown, 1 / shown.sum(), 0.4 / (~shown).sum())

        def classes(logits: Tensor, wanted: Tensor) -> Tensor:
            each = functional.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
            return (each * weight).sum()

        cell = torch.arange(CELLS * CELLS)
        row, column = cell // CELLS, cell % CELLS
        centre = (torch.stack((column, row, column, row), dim=-1) + 0.5) * CELL
        box = stack("box")
        seen, placed = aids.seen(out.cells.float()), aids.placed(out.placed.float())
        # A small vision tower learns the kind last.
        loss = classes(seen[..., :9], stack("colour")) + 2 * classes(seen[..., 9:14], stack("kind"))
        relative = functional.smooth_l1_loss(
            seen[..., 14:18][shown], ((box - centre) / CELL)[shown], beta=0.1
        )
        flags = functional.binary_cross_entropy_with_logits(
            seen[..., 18:24][shown], stack("flags")[shown]
        )
        where = functional.cross_entropy(
            placed[..., :CELLS].transpose(1, 2), row.expand(len(seen), -1)
        ) + functional.cross_entropy(
            placed[..., CELLS : 2 * CELLS].transpose(1, 2), column.expand(len(seen), -1)
        )
        absolute = functional.smooth_l1_loss(
            placed[..., 2 * CELLS :][shown], box[shown] / CELL, beta=0.1
        )
        self.seen = {
            "colour": _right(seen[..., :9], stack("colour"), shown),
            "kind": _right(seen[..., 9:14], stack("kind"), shown),
            "column": _right(placed[..., CELLS : 2 * CELLS], column.expand(len(seen), -1), shown),
            "box_pixels": float(
                (placed[..., 2 * CELLS :].detach() * CELL - box)[shown].abs().mean()
            ),
        }
        return loss + relative + flags + 0.3 * where + absolute


def _right(logits: Tensor, wanted: Tensor, where: Tensor) -> float:
    return float((logits.argmax(-1) == wanted)[where].float().mean())
