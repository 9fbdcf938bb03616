"""Splits the text inside `<answer>` into tokens, in one pass, while it arrives in pieces.

The prompts ask for JSON, and the models mostly write it. They also write single or typographic
quotes, unescaped quotes inside strings, one kind of quote at the beginning and another at the end,
tuples, comments, code fences, full-width punctuation, and digits of other scripts. So this is not a
JSON lexer. Its rules:

- Everything between quotes is text. A quote ends its string only if the
  text after it, apart from white space, could follow a string in JSON: punctuation, another
  quote, a new line, or the end. So the apostrophe in 'the cup's handle' does not.
- A quote after a letter or digit begins no string: the one in `12"` or `it's`.
- Outside quotes, punctuation and digits of every script are read as the ASCII ones they stand for.

Time and memory are linear in the text.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from wise_serve.reasoner.reading.characters import ENDS, QUOTES, plain
from wise_serve.reasoner.reading.keys import USUAL_KEYS, Keys

Kind = Literal[
    "string", "unclosed", "word", "number", "mark", "line", "odd", "comment", "stray quote"
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text.

    kind: `string` (quoted), `unclosed` (a string without its end), `word`, `number` (or what begins
    like one), `mark` (one of `{}[],:`; parentheses are `[` and `]`, `=` is `:`, `;` is `,`),
    `line` (the line ends), `odd` (any other character), `comment` (`//` to the end of the line),
    `stray quote`.
    text: as written; of numbers and marks, in ASCII.
    """

    kind: Kind
    text: str


_IN_STRING: Final = re.compile(r"[\\" + re.escape("".join(sorted(QUOTES))) + "]")
_RUN: Final = re.compile(r"[\w.+\-]+")
_NUMBER_LIKE: Final = re.compile(r"[-+.]*[0-9]")
_SPACE: Final = re.compile(r"\s*")
_AFTER_STRING: Final = frozenset("}],:`/") | QUOTES
_PREFIXES: Final = frozenset("uUrRbB")  # of Python's strings
_LONGEST_KEY: Final = 32  # characters of a key that may end in another quote than it began with


class Lexer:
    """Reads text in pieces of any size, and returns the tokens that are certain."""

    def __init__(self, keys: Keys = USUAL_KEYS) -> None:
        self._keys = keys
        self._tokens: list[Token] = []
        self._run: list[str] = []  # a word or number that may continue in the next piece
        self._string: list[str] = []
        self._length = 0  # of the string, characters
        self._quote = ""  # what began the string that is open
        self._escaped_quotes = False  # that quote was written `\"`, so the closing one is, too
        self._end: list[str] = []  # a quote that may end the string, and white space behind it
        self._only_key = False  # it ends the string only if a colon follows
        self._escape = False  # the last character was a backslash
        self._comment = False
        self._last = ""  # the last character outside strings
        self._value = False  # the last token was a colon
        self._lists: list[bool] = []  # for each open bracket: whether it belongs to a list
        self._line_begins = True  # the last token was the end of a line

    def feed(self, text: str) -> list[Token]:
        """Read on."""
        read_as = plain(text)
        at = 0
        while at < len(text):
            if self._comment:
                at = self._skip_comment(read_as, at)
            elif self._end:
                at = self._after_quote(read_as, text, at)
            elif self._quote:
                at = self._inside(text, at)
            else:
                at = self._outside(read_as, text, at)
        return self._given()

    def close(self) -> list[Token]:
        """The text is over."""
        if self._quote:
            self._close_string("string" if self._end and not self._only_key else "unclosed")
        self._close_run()
        return self._given()

    @property
    def in_comment(self) -> bool:
        """Whether the current line has a comment."""
        return self._comment

    def _given(self) -> list[Token]:
        tokens, self._tokens = self._tokens, []
        return tokens

    def _add(self, kind: Kind, text: str) -> None:
        self._tokens.append(Token(kind, text))
        self._line_begins = kind == "line"
        if kind != "line":
            self._value = text == ":" and kind == "mark"
        if kind == "mark" and text in "[{":
            self._lists.append(text == "[")
        elif kind == "mark" and text in "]}" and self._lists:
            self._lists.pop()

    def _close_run(self) -> None:
        run, self._run = "".join(self._run), []
        if _NUMBER_LIKE.match(run):
            self._add("number", run)
        elif run.strip("+-."):
            self._add("word", run)
        elif run and not (self._line_begins and run == "-") and run.strip("."):
            self._add("odd", run)  # neither the mark of a list nor dots

    def _skip_comment(self, plain: str, at: int) -> int:
        end = plain.find("\n", at)
        self._comment = end < 0
        return len(plain) if end < 0 else end

    def _outside(self, plain: str, text: str, at: int) -> int:
        before, self._last = self._last, plain[at]
        if before == "/" != plain[at]:
            self._add("odd", before)
        run = _RUN.match(plain, at)
        if run:
            self._run.append(run.group())
            return run.end()
        letter = plain[at]
        prefixed = len(self._run) == 1 and self._run[0] in _PREFIXES
        if letter in ENDS and (prefixed or not self._run):
            self._quote, self._escaped_quotes = letter, before == "\\"
            self._string, self._length, self._run = [], 0, []
            return at + 1
        self._close_run()
        if letter in QUOTES:
            self._add("stray quote", letter)
        elif letter in "{}[],:":
            self._add("mark", letter)
        elif letter == "\n":
            self._add("line", letter)
        elif letter == "/":
            self._comment = before == "/"
            if self._comment:
                self._last = ""
                self._add("comment", "//")
        elif not letter.isspace() and letter != "`":
            self._add("odd", letter)
        return at + 1

    def _inside(self, text: str, at: int) -> int:
        if self._escape:
            self._escape = False
            if not (self._escaped_quotes and text[at] == self._quote):
                return self._keep(text[at], at + 1)
            self._end = [text[at]]
            self._only_key = False
            return at + 1
        hit = _IN_STRING.search(text, at)
        if hit is None or hit.start() > at:
            end = len(text) if hit is None else hit.start()
            return self._keep(text[at:end], end)
        letter = hit.group()
        if letter == "\\":
            self._escape = True
            return at + 1
        if letter in ENDS[self._quote] and not self._escaped_quotes:
            self._end, self._only_key = [letter], False
        elif self._is_key():
            self._end, self._only_key = [letter], True
        else:
            self._keep(letter, at)
        return at + 1

    def _keep(self, text: str, at: int) -> int:
        self._string.append(text)
        self._length += len(text)
        return at

    def _is_key(self) -> bool:
        """Whether the string so far is a key that matters, so that it ends at any quote."""
        if self._length > _LONGEST_KEY or self._value or (self._lists and self._lists[-1]):
            return False
        text = "".join(self._string)
        return QUOTES.isdisjoint(text) and self._keys.read(text).matters

    def _after_quote(self, plain: str, text: str, at: int) -> int:
        space = _SPACE.match(plain, at)
        end = space.end() if space else at
        self._end.append(text[at:end])
        ends_line = "\n" in text[at:end] and not self._only_key
        if end == len(text) and not ends_line:
            return end
        closers = ":" if self._only_key else _AFTER_STRING
        if ends_line or plain[end] in closers or (plain[end] == "\\" and self._escaped_quotes):
            self._close_string("string")
            return at + text[at:end].find("\n") if ends_line else end
        self._keep("".join(self._end), end)
        self._end = []
        return end

    def _close_string(self, kind: Kind) -> None:
        text = "".join(self._string)
        self._last, self._quote, self._string, self._end = "", "", [], []
        self._escape = False
        self._add(kind, text)
