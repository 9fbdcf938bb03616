"""Training examples of the miniature reasoner: a scene and the turns about it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from miniature.queries import FAMILIES, Query, make_query
from miniature.rationales import Response, response
from miniature.reasoner_forward import Batch
from miniature.reasoner_images import Cells, cells_of, patches_of
from miniature.reasoner_model import PREFIX_LENGTH
from miniature.scenes import Scene, draw_scene
from miniature.tokenizer import SYSTEM, load_strategies, special_token_ids
from wise_serve.miniature import REASONER_IMAGE_SIZE as IMAGE_SIZE

FAMILY_SHARE = (0.16, 0.23, 0.28, 0.15, 0.18)  # relations and extrema are learned last
# A batch holds short or long turns, so that little of it is padding. All four strategies get the
# same share, so that comparing them is fair.
SHORT_SHARE = 0.5
STRATEGIES = {True: ("wise-s", "wise"), False: ("seg-zero", "vision-reasoner")}
QUERIES = 5  # for each image
COLOUR_WEIGHT, KIND_WEIGHT, NUMBER_WEIGHT = 8.0, 4.0, 0.5  # a mention begins "red circle"
DETAILED_SHARE = 0.03


@dataclass
class Turn:
    """One query's tokens from `<|vision_end|>` on.

    labels: the token to predict, or -100. looks: the index of the shape that the predicted token is
    about, or -1. weights: the weight of the predicted token in the loss. The first token of a
    mention weighs most, because it decides which shape is meant.
    """

    tokens: list[int]
    labels: list[int]
    looks: list[int]
    weights: list[float]
    family: str
    strategy: str


@dataclass
class TrainingBatch:
    """One step's data: B images with Q turns of T tokens each."""

    batch: Batch
    labels: Tensor  # B x Q x T, the token that position predicts, or -100
    looks: Tensor  # B x Q x T, shape index or -1
    weights: Tensor  # B x Q x T
    turns: list[list[Turn]]
    cells: list[Cells]


class Examples(IterableDataset[TrainingBatch]):
    """An endless stream of batches. Each worker of a DataLoader has its own seed.

    speaks: False: batches have only images, twice as many.
    """

    max_side = 384  # pixels, of nearly all scenes; larger ones look the same when resized
    # Tokens that short and long turns are padded to; a longer one is not drawn.
    turn_lengths: ClassVar[dict[bool, int]] = {True: 80, False: 136}

    def __init__(
        self,
        tokenizer: Tokenizer,
        seed: int,
        images: int,
        speaks: bool = True,
        short_share: float = SHORT_SHARE,
    ) -> None:
        self.tokenizer, self.seed, self.speaks = tokenizer, seed, speaks
        self.short_share = short_share
        self.images = images if speaks else 2 * images
        self.templates = {
            name: entry["template"].replace("{answer}", entry["answer"])
            for name, entry in load_strategies().items()
        }
        self.strips = {name: entry["strip"] for name, entry in load_strategies().items()}
        self.prefix = tokenizer.encode(
            f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n<|vision_start|>"
        ).ids
        assert len(self.prefix) == PREFIX_LENGTH
        self.number_ids = {tokenizer.token_to_id(str(n)) for n in range(IMAGE_SIZE + 1)}
        self.empty_ids = {tokenizer.token_to_id(answer) for answer in ("{}", "[]")}
        self.end_id = special_token_ids(tokenizer)["<|im_end|>"]

    def __iter__(self) -> Iterator[TrainingBatch]:
        info = get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0])
        while True:
            short = bool(rng.random() < self.short_share)
            yield self.collate([self.example(rng, short) for _ in range(self.images)])

    def example(self, rng: np.random.Generator, short: bool) -> tuple[Scene, list[Turn]]:
        """Draw a scene and its turns, short or long ones."""
        side = self.max_side if rng.random() < 0.95 else 3 * self.max_side
        scene = draw_scene(rng, max_side=side)
        turns: list[Turn] = []
        while self.speaks and len(turns) < QUERIES:
            turn = self.turn(scene, *self.draw_query(scene, rng, short), rng)
            turns += [turn] if len(turn.tokens) <= self.turn_lengths[short] else []
        return scene, turns

    def draw_query(self, scene: Scene, rng: np.random.Generator, short: bool) -> tuple[Query, str]:
        """Draw a query about the scene, and the strategy that asks it."""
        strategy = STRATEGIES[short][int(rng.integers(2))]
        while True:
            family = str(rng.choice(FAMILIES, p=FAMILY_SHARE))
            if strategy == "vision-reasoner" and rng.random() < 0.2:
                family = "plural"
            for _ in range(6):
                if (query := make_query(scene, rng, family)) is not None:
                    return query, strategy

    def turn(self, scene: Scene, query: Query, strategy: str, rng: np.random.Generator) -> Turn:
        """The tokens of one question and its answer, with labels and weights."""
        question = query.text.lower().strip(self.strips[strategy])
        if rng.random() < 0.04:  # an unknown word
            drawn = rng.integers(0, 26, int(rng.integers(3, 9)))
            letters = "".join(chr(97 + int(i)) for i in drawn)
            question = f"{letters} {question}" if rng.random() < 0.5 else f"{question} {letters}"
        prompt = self.tokenizer.encode(
            "<|vision_end|>" + self.templates[strategy].replace("{question}", question)
            + "<|im_end|>\n<|im_start|>assistant\n"
        ).ids  # fmt: skip
        made = self.write(strategy, scene, query, rng)
        encoded = self.tokenizer.encode(made.text)
        answer = list(encoded.ids)
        looks = [
            next((i for start, end, i in made.mentions if start < at[1] <= end), -1)
            for at in encoded.offsets
        ]
        weights = [
            self.weight(token, looks[max(0, i - 2) : i + 1]) for i, token in enumerate(answer)
        ]
        weights[self.decision(answer, strategy, scene, query)] = COLOUR_WEIGHT
        if made.complete:
            answer.append(self.end_id)
            looks.append(-1)
            weights.append(1.0)
        before = len(prompt) - 1
        return Turn(
            tokens=prompt + answer[:-1],
            labels=[-100] * before + answer,
            looks=[-1] * before + looks,
            weights=[0.0] * before + weights,
            family=query.family,
            strategy=strategy,
        )

    def write(
        self, strategy: str, scene: Scene, query: Query, rng: np.random.Generator
    ) -> Response:
        """The text that the assistant learns to write."""
        detailed = bool(rng.random() < DETAILED_SHARE)
        return response(strategy, scene, query, IMAGE_SIZE, detailed=detailed)

    def decision(self, answer: list[int], strategy: str, scene: Scene, query: Query) -> int:
        """Index of the first token that depends on whether the object is there.

        It decides about all tokens after it, so it has the same weight in both cases.
        """
        other = replace(query, targets=() if query.targets else (0,), anchor=None)
        text = response(strategy, scene, other, IMAGE_SIZE).text
        pairs = zip(answer, self.tokenizer.encode(text).ids, strict=False)
        return next(i for i, (token, instead) in enumerate(pairs) if token != instead)

    def weight(self, token: int, looks: list[int]) -> float:
        """The weight of a token. `looks`: of this token and of the one or two before it."""
        if token in self.number_ids:
            return NUMBER_WEIGHT
        if token in self.empty_ids or (looks[-1] >= 0 and looks[-1] not in looks[-2:-1]):
            return COLOUR_WEIGHT
        return KIND_WEIGHT if looks[-1] >= 0 and looks[-1] not in looks[:-2] else 1.0

    def collate(self, examples: list[tuple[Scene, list[Turn]]]) -> TrainingBatch:
        """Pad the turns of several images to one length and stack everything."""
        longest = max((len(turn.tokens) for _, turns in examples for turn in turns), default=1)
        length = self.turn_lengths[longest <= self.turn_lengths[True]]
        tokens = np.zeros((len(examples), QUERIES, length), np.int64)
        labels, looks = np.full_like(tokens, -100), np.full_like(tokens, -1)
        weights = np.zeros(tokens.shape, np.float32)
        for row, (_, turns) in enumerate(examples):
            for column, turn in enumerate(turns):
                end = len(turn.tokens)
                tokens[row, column, :end] = turn.tokens
                labels[row, column, :end] = turn.labels
                looks[row, column, :end] = turn.looks
                weights[row, column, :end] = turn.weights
        patches = np.stack([patches_of(scene.image) for scene, _ in examples])
        return TrainingBatch(
            batch=Batch(
                torch.from_numpy(patches), torch.tensor(self.prefix), torch.from_numpy(tokens)
            ),
            labels=torch.from_numpy(labels),
            looks=torch.from_numpy(looks),
            weights=torch.from_numpy(weights),
            turns=[turns for _, turns in examples],
            cells=[cells_of(scene) for scene, _ in examples],
        )
