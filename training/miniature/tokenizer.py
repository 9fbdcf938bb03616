"""The miniature reasoner's tokenizer: whole words, whole numbers, whole template sentences.

A byte-level BPE without merges: the pre-tokenizer cuts the text where tokens end, a piece that is
in the vocabulary is one token, and any other text falls back to its bytes, so everything can be
encoded. The fixed sentences of the prompts are one token each, which is what lets a model of this
size read the full prompts of all four strategies (docs/decisions/0003-miniature-tokenizer.md).
`<think>`, `<answer>` and the like are ordinary tokens, not special ones, as in Qwen's vocabulary.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel

from miniature import queries, rationales, words
from miniature.scenes import draw_scene
from wise_serve.miniature import REASONER_IMAGE_SIZE as IMAGE_SIZE

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
ANSWER_PIECES = (
    "<think>", "</think>", "<answer>", "</answer>", "<d_think>", "</d_think>", "{}", "[]",
    '{"bbox": [', '], "points_1": [', '], "points_2": [', "]}",
    "{'bbox': [", "], 'points_1': [", "], 'points_2': [",
    '[{"bbox_2d": [', '], "point_2d": [', ']}, {"bbox_2d": [', "]}]",
)  # fmt: skip
SYSTEM = "You are a helpful assistant."
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n" + SYSTEM + "<|im_end|>\n"
    "{% endif %}{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif part['type'] == 'text' %}"
    "{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRATEGIES = Path(__file__).parents[2] / "server/wise_serve/reasoner/strategies/shipped"
TRAINED = ("wise-s", "wise", "seg-zero", "vision-reasoner")
WORD = r" ?[\p{L}\p{M}]+(?:-[\p{L}\p{M}]+)*"


def load_strategies() -> dict[str, dict[str, str]]:
    """The prompts the checkpoints were trained with, by strategy name: `template`, in which
    {question} and {answer} stand for the query and the example, `answer`, the example, `strip`."""
    turns = {
        name: json.loads((STRATEGIES / f"{name}.json").read_text())["turn"] for name in TRAINED
    }
    return {
        name: {
            "template": turn["template"].replace("{example}", "{answer}"),
            "answer": turn["example"],
            "strip": turn["strip"],
        }
        for name, turn in turns.items()
    }


def template_sentences() -> list[str]:
    """The prompts' fixed text cut at its sentences, longest first."""
    found: set[str] = {"system\n" + SYSTEM, "user\n", "assistant\n"}
    for entry in load_strategies().values():
        head, tail = entry["template"].replace("{answer}", entry["answer"]).split("{question}")
        found.add(head)
        rules, _, example = tail.partition("i.e., ")
        found.update(part for part in re.split(r"(?<=\.)(?=[A-Z])", rules))
        thinking, _, answer = example.partition("</think>")
        # What the brevity instruction adds is a token of its own.
        thinking, bracket, brevity = thinking.rstrip(" ").partition(" (")
        closing = "</think>" + answer
        found.update(("i.e., ", thinking, bracket + brevity, " " + closing))
    return _longest_first(found - {""})


def _words() -> list[str]:
    """Every word of the queries and rationales, with and without the space before it."""
    seen: set[str] = set()

    def add(value: object) -> None:
        if isinstance(value, str):
            text = re.sub(r"\{\w+\}", " ", value.lower())  # a form's places for other words
            seen.update(re.findall(r"[a-z]+(?:-[a-z]+)*", text))
        elif isinstance(value, dict):
            add(tuple(value.values()))
        elif isinstance(value, tuple | list):
            for item in value:
                add(item)

    for module in (words, rationales):
        for name, value in vars(module).items():
            if name.isupper():
                add(value)
    rng = np.random.default_rng(0)
    for _ in range(400):  # the words that only the code spells out
        scene = draw_scene(rng, max_side=100)
        for family in (*queries.FAMILIES, "plural"):
            if (query := queries.make_query(scene, rng, family)) is not None:
                add(query.text)
                for strategy in load_strategies():
                    if family != "plural" or strategy == "vision-reasoner":
                        add(
                            rationales.response(
                                strategy, scene, query, IMAGE_SIZE, detailed=True
                            ).text
                        )
    return sorted(seen)


def build_tokenizer() -> Tokenizer:
    """The tokenizer, from nothing but this package's sources."""
    vocabulary: dict[str, int] = {}

    def add(piece: str) -> None:
        spelled = "".join(token for token, _ in _bytes.pre_tokenize_str(piece))
        vocabulary.setdefault(spelled, len(vocabulary))

    _bytes = ByteLevel(add_prefix_space=False, use_regex=False)
    for letter in sorted(ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    for number in range(IMAGE_SIZE + 1):
        add(str(number))
    sentences = template_sentences()
    for piece in (*sentences, *ANSWER_PIECES):
        add(piece)
    for word in _words():
        add(word)
        add(" " + word)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    whole = "|".join(
        re.escape(piece).replace("\\ ", " ")
        for piece in (*sentences, *_longest_first(ANSWER_PIECES))
    )
    pattern = Regex(rf"{whole}|{WORD}|\d{{1,3}}| ?[^\s\p{{L}}\p{{M}}\d]|\s")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), _bytes]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return tokenizer


def _longest_first(pieces: Iterable[str]) -> list[str]:
    """Longest first, for the pattern; then by text, for a vocabulary that is always the same."""
    return sorted(pieces, key=lambda piece: (-len(piece), piece))


def special_token_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """The special tokens' text -> id."""
    found = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
    return {token: number for token, number in found.items() if number is not None}
