"""Finds boxes and points in the text inside `<answer>`, in one pass, without evaluating it.

The prompts ask for JSON, and the models mostly write it; `reading/lexer.py` lists what else they
write. So this is not a JSON parser. It is our own code because no existing parser can read a text
that is still being generated and contains such mistakes, and either find the intended boxes or
refuse the text.

It follows braces, brackets and colons, collects the values of each key, and reads an object
(`reading/objects.py`) when its brace closes:

    object   { key : values ... }      nested freely; a missing brace is implied at the end
    values   every number up to the next key; a row of numbers ends with its list

A quoted text or the words in a row before a colon are a key. Text outside all braces is an object,
too, which ends with the text. Time is linear in the text, memory too, and no step recurses.
"""

import math
from typing import Final

from wise_serve.reasoner.reading import literals
from wise_serve.reasoner.reading.accepting import accept
from wise_serve.reasoner.reading.keys import STRAY, USUAL_KEYS, Keys
from wise_serve.reasoner.reading.lexer import Lexer, Token
from wise_serve.reasoner.reading.objects import Reading, read_object
from wise_serve.reasoner.reading.tags import TagKeys
from wise_serve.reasoner.reading.values import (
    Field,
    NotUnderstood,
    Number,
    OpenObject,
    RawInstance,
)

__all__ = ["AnswerScanner", "RawInstance"]

_WITH_NUMBERS: Final = ("box", "point", "coordinate", "amount", "certainty")  # kinds of keys


class AnswerScanner:
    """Reads the answer's text in pieces of any size, and returns each instance when its object
    closes."""

    def __init__(self, keys: Keys = USUAL_KEYS) -> None:
        self._keys = keys
        self._lexer = Lexer(keys)
        self._tags = TagKeys() if keys.as_tags else None
        self._objects = [OpenObject()]  # the first is implied: it holds keys outside any brace
        self._waiting: list[Token] = []  # a key, if a colon follows; otherwise a value
        self._line = False  # a line has ended since the last word
        self._odd = False  # an odd character stands before the number
        self._stray_quote = False
        self._found: set[RawInstance] = set()
        self._refused = False
        self._structure = False  # there is something that can be empty
        self._empty = False
        self._filled = False

    def feed(self, text: str) -> list[RawInstance]:
        """Read on; the instances whose objects were closed in this piece."""
        if self._tags:
            text = self._tags.feed(text)
            self._structure |= self._tags.found
        return [one for token in self._lexer.feed(text) for one in self._read(token)]

    def close(self) -> list[RawInstance]:
        """End the text: open objects are read as if they were closed here."""
        tokens = self._lexer.feed(self._tags.close()) if self._tags else []
        found = [one for token in (*tokens, *self._lexer.close()) for one in self._read(token)]
        self._end_value()
        if self._lexer.in_comment:
            self._objects[-1].damaged |= len(self._objects) > 1  # its end is in the comment
        while len(self._objects) > 1:
            found += self._close_object()
        outside = self._outside()
        if self._found and not self._found.issuperset(outside):
            self._refused = True  # a box in the text around the objects: which of them is meant?
            return found
        return found + self._keep(outside)

    @property
    def refused(self) -> bool:
        """Whether something that may be a box or a point was not understood."""
        return self._refused

    @property
    def names_nothing(self) -> bool:
        """Whether the closed text was a valid answer without a target: `{}`, `[]`, `null`, a box
        or points that are empty, null, all -1 or all 0, an amount or a confidence of 0."""
        something = self._found or self._refused or self._filled
        return self._structure and self._empty and not something

    @property
    def is_answer(self) -> bool:
        """Whether the closed text named an object, or nothing."""
        return bool(self._found) or self.names_nothing

    def _read(self, token: Token) -> list[RawInstance]:
        kind = token.kind
        if self._stray_quote and kind != "line":
            self._stray_quote = False
            self._objects[-1].damaged |= token.text != ":"  # else it is the quote of a key
        if kind == "mark":
            return self._mark(token.text)
        if kind == "line":
            if self._waiting and self._waiting[0].kind == "number":
                self._end_value()
            self._line, self._odd = True, False
        elif kind == "comment":
            self._filled = True  # what is in it is not read
        elif kind == "stray quote":
            self._stray_quote = True
        elif kind == "odd":
            if self._waiting and self._waiting[0].kind == "number":
                self._waiting = [Token("number", "")]
            self._end_value()
            self._odd = True
        else:
            goes_on = self._waiting and self._waiting[0].kind == kind == "word" and not self._line
            if not goes_on:
                self._end_value()
            self._waiting.append(token)
            self._line = False
        return []

    def _mark(self, mark: str) -> list[RawInstance]:
        top = self._objects[-1]
        if mark == ":":
            if self._waiting:
                self._begin_field()
            return []
        self._end_value()
        self._odd = top.awaits_value = False
        if mark == ",":
            return []
        self._structure = True
        if mark in "[]":
            top.current.end_row()
            top.current.depth = max(0, top.current.depth + (1 if mark == "[" else -1))
        elif mark == "{":
            self._objects.append(OpenObject())
        elif len(self._objects) > 1:
            return self._close_object()
        return []

    def _begin_field(self) -> None:
        self._odd = False
        top, key = self._objects[-1], " ".join(token.text for token in self._waiting)
        value_as_key = top.awaits_value and self._waiting[0].kind == "string"
        top.damaged |= value_as_key or literals.swallows_structure(key)
        top.begin(self._keys.read(key))
        self._waiting = []

    def _end_value(self) -> None:
        """The waiting text is not a key, but a value."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        kind, text = waiting[0].kind, " ".join(token.text for token in waiting)
        value, top = text.strip(" .").lower(), self._objects[-1]
        top.awaits_value = False
        if kind == "number":
            self._put(math.nan if self._odd else literals.number_of(text))
        elif kind == "unclosed":
            self._refused = True
            top.add_text(text)
        elif kind == "word" and value in literals.IGNORED:
            pass
        elif value in (literals.WORDS if kind == "word" else literals.NULLS):
            self._put(literals.WORDS[value])
        elif kind == "word" or not self._numbers_in(text):
            top.add_text(text)
            # A text of structure under no key: the quote of a key is missing.
            stray = kind == "string" and top.current.key is STRAY
            top.damaged |= stray and literals.holds_structure(text)

    def _put(self, value: Number | None) -> None:
        self._structure = True
        self._objects[-1].current.row.append(value)

    def _numbers_in(self, text: str) -> bool:
        """Read a string that consists of numbers; returns whether it does, or does not belong to
        that key. A string of several numbers is a row of its own."""
        current = self._objects[-1].current
        if current.key.kind not in _WITH_NUMBERS or not any(map(str.isdigit, text)):
            return False
        tokens = literals.number_tokens(text)
        if tokens is None:
            self._put(math.nan)
            return False
        depth = current.depth
        if len(tokens) > 1:
            current.end_row()
        for token in tokens:
            self._read(token)
        self._end_value()
        if len(tokens) > 1:
            current.end_row()
        current.depth = depth
        return True

    def _close_object(self) -> list[RawInstance]:
        closed = self._objects.pop()
        closed.current.end_row()
        parent = self._objects[-1].current
        try:
            if closed.damaged:
                raise NotUnderstood
            reading = read_object(closed.fields, self._keys)
            if reading.keyless:
                raise NotUnderstood  # what key is missing?
            found = self._accept(reading, parent)
            if closed.holds_found and found:
                raise NotUnderstood  # a part of it, an alternative, what it stands beside?
            self._objects[-1].holds_found |= closed.holds_found or bool(found)
            return self._keep(found)
        except NotUnderstood:
            parent.children = self._refused = True
            return []

    def _accept(self, reading: Reading, parent: Field) -> tuple[RawInstance, ...]:
        self._empty |= reading.empty
        self._filled |= reading.filled
        accepted = accept(reading, parent, self._keys, outermost=len(self._objects) == 1)
        self._filled |= accepted.filled
        return accepted.instances

    def _outside(self) -> tuple[RawInstance, ...]:
        """The objects that stand outside all braces."""
        root = self._objects[0]
        root.current.end_row()
        self._filled |= root.damaged
        try:
            found = self._accept(read_object(root.fields, self._keys), Field(STRAY))
            if root.damaged and found:
                raise NotUnderstood
            return found
        except NotUnderstood:
            self._refused = True
            return ()

    def _keep(self, found: tuple[RawInstance, ...]) -> list[RawInstance]:
        self._found.update(found)
        return list(found)
