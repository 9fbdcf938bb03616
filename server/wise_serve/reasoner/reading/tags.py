"""Answers whose keys are tags, such as Seg-R1's `<bbox>[...]</bbox>, <points>[...]</points>`.

Each tag is replaced by the key or the comma that it stands for, so that all later code reads one
form: `"bbox": [...], , "points": [...], `.
"""

import re
from typing import Final

_LONGEST: Final = 32  # characters of a tag's name
_TAG: Final = re.compile(rf"<(/?)([A-Za-z]\w{{0,{_LONGEST - 1}}})>")
_TAG_BEGINS: Final = re.compile(rf"</?(?:[A-Za-z]\w{{0,{_LONGEST - 1}}})?\Z")


class TagKeys:
    """Reads text in pieces of any size. found: whether there was a tag."""

    def __init__(self) -> None:
        self.found = False
        self._held = ""  # the end of the text, as long as it may be the beginning of a tag

    def feed(self, text: str) -> str:
        """The text that is certain now, with keys in place of tags."""
        text = self._held + text
        begins = _TAG_BEGINS.search(text, max(0, len(text) - _LONGEST - 2))
        certain = text[: begins.start()] if begins else text
        self._held = text[len(certain) :]
        return _TAG.sub(self._key, certain)

    def close(self) -> str:
        """End the text: the part that was held back is not a tag."""
        held, self._held = self._held, ""
        return held

    def _key(self, tag: re.Match[str]) -> str:
        self.found = True
        return ", " if tag[1] else f'"{tag[2]}": '
