"""The prompts of the policy in training, and the rewards of its responses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from miniature.queries import make_query
from miniature.rationales import extents
from miniature.reasoner_forward import Batch
from miniature.reasoner_images import Floats32, patches_of
from miniature.scenes import draw_scene
from miniature.tokenizer import SYSTEM, load_strategies, special_token_ids
from wise.rewards import FORM, Rewards, Similarity, Truth, score
from wise.start import FAMILIES
from wise_serve.miniature import REASONER_IMAGE_SIZE as IMAGE_SIZE

MOST_PROMPT_TOKENS = 48
MOST_RESPONSE_TOKENS = 200  # the starting point's longest has 187
MAX_SIDE = 384  # of the scenes, pixels; larger ones look alike once resized


@dataclass
class Prompts:
    """B prompts, one image each, `samples` rows a prompt. lengths: B x samples, tokens."""

    batch: Batch
    lengths: Tensor
    truths: list[Truth]


class Prompter:
    """Draws prompts and reads responses, with the miniature's tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        entry = load_strategies()["wise"]
        self.template = entry["template"].replace("{answer}", entry["answer"])
        self.strip = entry["strip"]
        self.prefix = torch.tensor(
            tokenizer.encode(
                f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n<|vision_start|>"
            ).ids
        )
        self.end_id = special_token_ids(tokenizer)["<|im_end|>"]

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> Prompts:
        """Fresh scenes, the families of queries in turn, each prompt `samples` times."""
        tokens = torch.full(
            (prompts, samples, MOST_PROMPT_TOKENS + MOST_RESPONSE_TOKENS), self.end_id
        )
        lengths = torch.zeros(prompts, samples, dtype=torch.long)
        patches: list[Floats32] = []
        truths: list[Truth] = []
        while len(truths) < prompts:
            scene = draw_scene(rng, max_side=MAX_SIDE)
            query = make_query(scene, rng, FAMILIES[len(truths) % len(FAMILIES)])
            if query is None:
                continue
            ids = self.turn(query.text)
            if len(ids) > MOST_PROMPT_TOKENS:
                continue
            tokens[len(truths), :, : len(ids)] = torch.tensor(ids)
            lengths[len(truths)] = len(ids)
            box, (one, two) = extents(scene.shapes[query.targets[0]], scene, IMAGE_SIZE)
            patches.append(patches_of(scene.image))
            truths.append(Truth(box, (one, two), IMAGE_SIZE))
        images = torch.from_numpy(np.stack(patches))
        return Prompts(Batch(images, self.prefix, tokens), lengths, truths)

    def turn(self, query: str) -> list[int]:
        """Token ids after the image, up to where the assistant begins."""
        question = query.lower().strip(self.strip)
        return list(
            self.tokenizer.encode(
                "<|vision_end|>" + self.template.replace("{question}", question)
                + "<|im_end|>\n<|im_start|>assistant\n"
            ).ids
        )  # fmt: skip

    def text(self, tokens: Sequence[int]) -> str:
        """A response's text, without the end token."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenizer.encode(text).ids)

    def judge(
        self, text: str, truth: Truth, similarity: Similarity | None, detailed_first: bool
    ) -> tuple[Rewards, tuple[int, int]]:
        """Rewards, and the tokens of both rationales in the order they are written (0 if none)."""
        rewards = score(text, truth, similarity, self.count, detailed_first=detailed_first)
        form = FORM.fullmatch(text)
        lengths = (self.count(form["first"]), self.count(form["second"])) if form else (0, 0)
        return rewards, lengths
