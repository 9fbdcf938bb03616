"""The wording of queries: the words are random, the meaning is fixed."""

from collections.abc import Sequence

import numpy as np

from miniature.words import (
    ANY_WORDS,
    COLOUR_THINGS,
    COLOUR_WORDS,
    KIND_TRAITS,
    KIND_WORDS,
    LIKENESS_FORMS,
    LIKENESS_HOW,
    PREFIXES,
    SUFFIXES,
)


def pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    """One of the options, each with the same probability."""
    return options[int(rng.integers(len(options)))]


def dress(rng: np.random.Generator, text: str) -> str:
    """Vary what does not change the meaning: article, request words, capitals, full stop."""
    if rng.random() < 0.15 and text.startswith("the "):
        text = text[4:]
    if rng.random() < 0.2:
        text = f"{pick(rng, PREFIXES)} {text}"
    if rng.random() < 0.12:
        text = f"{text} {pick(rng, SUFFIXES)}"
    if rng.random() < 0.15:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.15:
        text += pick(rng, (".", ".", "?", "!"))
    return text


def noun_phrase(rng: np.random.Generator, colour: str | None, kind: str | None) -> str:
    """ "red circle", "ball that is dark", "shape": a thing by its colour, its kind, or neither."""
    noun = pick(rng, KIND_WORDS[kind]) if kind else pick(rng, ANY_WORDS)
    if colour is None:
        return noun
    word = pick(rng, COLOUR_WORDS[colour])
    if rng.random() < 0.06:
        return f"{noun} that is {word}"
    return f"{word} {noun}"


def likeness_phrase(rng: np.random.Generator, colour: str | None, kind: str | None) -> str:
    """A thing by what it is like: "the one that could roll", "the shape the colour of grass"."""
    words = {
        "thing": pick(rng, COLOUR_THINGS[colour]) if colour else "",
        "trait": pick(rng, KIND_TRAITS[kind]) if kind else "",
        "noun": pick(rng, ANY_WORDS),
        "how": pick(rng, LIKENESS_HOW).format(colour=colour),
    }
    if colour and kind:
        words["coloured"] = noun_phrase(rng, colour, None)
        words["shaped"] = noun_phrase(rng, None, kind)
    named = "both" if colour and kind else "colour" if colour else "kind"
    return pick(rng, LIKENESS_FORMS[named]).format(**words)
