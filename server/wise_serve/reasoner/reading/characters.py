"""The characters of an answer: its quotes, and the punctuation and digits of every script."""

import unicodedata
from typing import Final

_MARKS: Final = {
    **dict.fromkeys("([【〔⟨", "["),
    **dict.fromkeys(")]】〕⟩", "]"),
    **dict.fromkeys(",;、،؛", ","),
    **dict.fromkeys("=:∶꞉", ":"),
    "{": "{",
    "}": "}",
    "−": "-",
    "٫": ".",
}
# The quotes that end a string, by the quote that began it; typographic quotes are often mixed up.
ENDS: Final = {
    '"': '"', "'": "'", "＂": "＂", "＇": "＇", "“": "”“", "”": "”", "„": "“”", "‟": "”‟",
    "‘": "’‘", "‚": "‘’", "«": "»", "「": "」", "『": "』",
}  # fmt: skip
QUOTES: Final = frozenset(ENDS) | frozenset("’»」』")


class _Plain(dict[int, str]):
    """Each character as the lexer reads it outside quotes; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        digit = unicodedata.decimal(letter, None)
        plain = unicodedata.normalize("NFKC", letter)
        if digit is not None:
            plain = str(digit)
        elif letter not in QUOTES and plain in _MARKS:
            plain = _MARKS[plain]
        elif letter in QUOTES or len(plain) != 1 or plain not in "+-.":
            plain = " " if unicodedata.category(letter) == "Cf" else letter
        plain = self[code] = _MARKS.get(plain, plain)
        return plain


_PLAIN: Final = _Plain()


def plain(text: str) -> str:
    """Punctuation and digits of every script as the ASCII ones they stand for."""
    return text.translate(_PLAIN)
