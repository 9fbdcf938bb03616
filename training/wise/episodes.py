"""The prompts of the policy in training, and the rewards of its responses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from miniature.queries import make_query
from miniature.rationales import extents
from miniature.reasoner_forward import Batch
from miniature.reasoner_images import patches_of, square_of
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
    """B prompts, one image each, `samples` rows a prompt. lengths: B x samples, tokens of a turn's
    prompt. images: what `batch` has as patches, squares of IMAGE_SIZE pixels. before_turn: token
    ids of the chat template up to the image, and one that stands for the image."""

    batch: Batch
    lengths: Tensor
    images: list[Image.Image]
    before_turn: list[int]
    queries: list[str]
    truths: list[Truth]

    def part(self, rows: slice) -> "Prompts":
        """Some of the prompts."""
        batch = replace(self.batch, patches=self.batch.patches[rows], turns=self.batch.turns[rows])
        return replace(
            self, batch=batch, lengths=self.lengths[rows], images=self.images[rows],
            queries=self.queries[rows], truths=self.truths[rows],
        )  # fmt: skip


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
        special = special_token_ids(tokenizer)
        self.end_id, self.image_id = special["<|im_end|>"], special["<|image_pad|>"]

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> Prompts:
        """Fresh scenes, the families of queries in turn, each prompt `samples` times."""
        tokens = torch.full(
            (prompts, samples, MOST_PROMPT_TOKENS + MOST_RESPONSE_TOKENS), self.end_id
        )
        lengths = torch.zeros(prompts, samples, dtype=torch.long)
        images: list[Image.Image] = []
        queries: list[str] = []
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
            images.append(square_of(scene.image))
            queries.append(query.text)
            truths.append(Truth(box, (one, two), IMAGE_SIZE))
        patches = torch.from_numpy(np.stack([patches_of(image) for image in images]))
        before = [*self.prefix.tolist(), self.image_id]
        return Prompts(
            Batch(patches, self.prefix, tokens), lengths, images, before, queries, truths
        )

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
