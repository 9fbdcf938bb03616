"""The steps of the public WISE evaluation on the same weights: the baseline of parity and speed.

It runs transformers' greedy `generate` on a batch of images, then `SAM2ImagePredictor.set_image`
and `predict`, image by image. Prompts, resizing and rounding are the same as in the public scripts,
and answers are read with `json`. It shares only the prompt file with the server.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sam2.sam2_image_predictor import SAM2ImagePredictor
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration, StoppingCriteria

import wise_serve
from wise_serve.miniature import REASONER_FOLDER, REASONER_IMAGE_SIZE
from wise_serve.segmenter.sam2.checkpoints import load_model
from wise_serve.settings import MINIATURE

STRATEGIES = Path(wise_serve.__file__).parent / "reasoner" / "strategies" / "shipped"
MAX_NEW_TOKENS = 256
END = "</answer>"


@dataclass(frozen=True)
class Asked:
    """One question: an RGB image, the user's sentence, the strategy's name."""

    image: Image.Image
    query: str
    strategy: str


@dataclass
class Answered:
    """The text up to `</answer>`; boxes (x1, y1, x2, y2), points and masks in image pixels."""

    text: str
    readable: bool = True
    boxes: list[list[int]] = field(default_factory=list)
    points: list[list[list[int]]] = field(default_factory=list)
    masks: list[NDArray[np.bool_]] = field(default_factory=list)


class _EveryAnswerEnded(StoppingCriteria):  # type: ignore[misc]
    """Stops a batch when each of its texts holds `</answer>`."""

    def __init__(self, tokenizer: Any, prompt_length: int) -> None:
        self._tokenizer, self._prompt_length = tokenizer, prompt_length

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        texts = self._tokenizer.batch_decode(input_ids[:, self._prompt_length :])
        return torch.tensor([END in text for text in texts])


def predictor_of(model: Any) -> SAM2ImagePredictor:
    """The package's predictor on a SAM 2 of any image side; its own sizes are of 1024 pixels."""
    predictor, side = SAM2ImagePredictor(model), model.image_size
    predictor._bb_feat_sizes = [(side // 4,) * 2, (side // 8,) * 2, (side // 16,) * 2]
    return predictor


def best_mask(
    predictor: SAM2ImagePredictor, box: Sequence[float] | None, points: Sequence[Sequence[float]]
) -> NDArray[np.bool_]:
    """Of the image set last, H x W: the mask of the highest predicted IoU for a box (x1, y1, x2,
    y2) and foreground points (x, y), pixels."""
    masks, scores, _ = predictor.predict(
        point_coords=np.array(points, np.float32),
        point_labels=np.ones(len(points), np.int32),
        box=None if box is None else np.array(box, np.float32),
        multimask_output=True,
    )
    best: NDArray[np.bool_] = masks[int(scores.argmax())].astype(bool)
    return best


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Of two masks of one size; 1 where both are empty."""
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0


class Reference:
    """Both models, loaded."""

    def __init__(self) -> None:
        self._prompts: dict[str, dict[str, Any]] = {
            file.stem: json.loads(file.read_text())["turn"] for file in STRATEGIES.glob("*.json")
        }
        self._processor = AutoProcessor.from_pretrained(REASONER_FOLDER)
        self._processor.tokenizer.padding_side = "left"
        self._model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            REASONER_FOLDER, dtype=torch.float32
        ).eval()
        self._predictor = predictor_of(load_model(MINIATURE, torch.device("cpu")))

    def answer(self, batch: Sequence[Asked]) -> list[Answered]:
        """Generate for the whole batch, then segment one image after the other."""
        texts = self.generate(batch)
        return [self._segment(asked, text) for asked, text in zip(batch, texts, strict=True)]

    def _inputs(self, batch: Sequence[Asked]) -> Any:
        side = REASONER_IMAGE_SIZE
        prompts, images = [], []
        for asked in batch:
            entry = self._prompts[asked.strategy]
            question = asked.query.lower().strip(entry["strip"])
            text = entry["template"].format(question=question, example=entry["example"])
            content = [{"type": "image"}, {"type": "text", "text": text}]
            prompts.append(
                self._processor.apply_chat_template(
                    [{"role": "user", "content": content}],
                    tokenize=False,
                    add_generation_prompt=True,
                )
            )
            images.append(asked.image.resize((side, side), Image.Resampling.BILINEAR))
        return self._processor(text=prompts, images=images, padding=True, return_tensors="pt")

    @torch.inference_mode()
    def generate(self, batch: Sequence[Asked]) -> list[str]:
        """Greedy texts, cut after `</answer>`."""
        inputs = self._inputs(batch)
        length = inputs["input_ids"].shape[1]
        generated = self._model.generate(
            **inputs,
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            stopping_criteria=[_EveryAnswerEnded(self._processor.tokenizer, length)],
        )
        texts = self._processor.tokenizer.batch_decode(
            generated[:, length:], skip_special_tokens=True
        )
        return [text.partition(END)[0] + (END if END in text else "") for text in texts]

    @torch.inference_mode()
    def logit_gaps(self, asked: Asked, text: str) -> list[float]:
        """For each token of a generated text, how far its two best logits are apart."""
        inputs = dict(self._inputs([asked]))
        start = inputs["input_ids"].shape[1]
        more = self._processor.tokenizer(text, add_special_tokens=False, return_tensors="pt")
        inputs["input_ids"] = torch.cat((inputs["input_ids"], more["input_ids"]), dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        image = inputs["input_ids"] == self._model.config.image_token_id
        inputs["mm_token_type_ids"] = image.to(torch.int32)
        logits = self._model(**inputs).logits[0, start - 1 : -1]
        best = logits.topk(2).values
        gaps: list[float] = (best[:, 0] - best[:, 1]).tolist()
        return gaps

    def _segment(self, asked: Asked, text: str) -> Answered:
        answered = Answered(text)
        found = re.search(r"<answer>(.*?)</answer>", text, re.DOTALL)
        if found is None:
            return answered
        try:
            value = json.loads(found[1].replace("'", '"'))
        except json.JSONDecodeError:  # the public scripts count it as no answer, too
            answered.readable = False
            return answered
        listed = [one for one in (value if isinstance(value, list) else [value]) if one]
        fx, fy = (side / REASONER_IMAGE_SIZE for side in asked.image.size)
        multiple = asked.strategy == "vision-reasoner"

        def scaled(numbers: Sequence[float]) -> list[int]:
            factors = (fx, fy) * (len(numbers) // 2)
            pairs = zip(numbers, factors, strict=True)
            return [int(n * f + 0.5) if multiple else round(n * f) for n, f in pairs]

        if listed:
            self._predictor.set_image(np.array(asked.image))
        for one in listed:
            box = scaled(one["bbox_2d" if multiple else "bbox"])
            names = ("point_2d",) if multiple else ("points_1", "points_2")
            points = [scaled(one[name]) for name in names]
            answered.boxes.append(box)
            answered.points.append(points)
            answered.masks.append(best_mask(self._predictor, box, points))
        return answered
