"""The losses of the miniature SAM 2.

They follow SAM (arXiv 2304.02643, appendix A): the best of three masks is trained, and the IoU head
learns how good each of the three is.
"""

import torch
from torch import Tensor
from torch.nn import functional

from miniature.segmenter_data import SIDE


def losses(logits: Tensor, scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mask loss, IoU loss, and the mean IoU of the masks that the IoU head would choose.

    logits: N x 3 x h x w. scores: N x 3. targets: N x SIDE x SIDE, 0..1.
    """
    with torch.no_grad():
        real = _ious(logits, targets)
        chosen_iou = real.gather(1, scores.argmax(dim=1, keepdim=True)).mean()
    # The best of three masks gets most of the gradient; one other gets a little, to keep learning.
    rows = torch.arange(len(logits))
    best = (real + 1e-3 * scores.detach()).argmax(dim=1)
    other = (best + torch.randint(1, 3, best.shape)) % 3
    loss = _mask_loss(_enlarge(logits[rows, best][:, None])[:, 0], targets)
    small = functional.avg_pool2d(targets, SIDE // logits.shape[-1])
    loss = loss + 0.1 * _mask_loss(logits[rows, other], small)
    return loss, functional.mse_loss(scores.float(), real), chosen_iou


def _ious(logits: Tensor, targets: Tensor) -> Tensor:
    """N x 3: the IoU of every mask, measured at half of SIDE to save time."""
    side = SIDE // 2
    hard = (_enlarge(logits, side) > 0).float().flatten(2)
    truth = (functional.avg_pool2d(targets, 2) >= 0.5).float().flatten(1)[:, :, None]
    both = (hard @ truth)[..., 0]
    return both / (hard.sum(dim=2) + truth.sum(dim=1) - both).clamp(min=1)


def _enlarge(logits: Tensor, side: int = SIDE) -> Tensor:
    return functional.interpolate(logits, (side, side), mode="bilinear", align_corners=False)


def _mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, balanced so that small shapes count as well, plus dice (means over N)."""
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    area = targets.sum(dim=(1, 2)) + 1e-3
    inside = (entropy * targets).sum(dim=(1, 2))
    outside = entropy.sum(dim=(1, 2)) - inside
    # The background counts as three times the shape's area, because most of it is easy.
    balanced = inside / area + outside / (3 * area + 0.01 * targets[0].numel())
    share = logits.sigmoid()
    overlap = (share * targets).sum(dim=(1, 2))
    dice = 1 - (2 * overlap + 1) / (share.sum(dim=(1, 2)) + area + 1)
    return (balanced + dice).mean()
