"""text/event-stream bytes -> (event, data) pairs, after the WHATWG HTML standard, section 9.2."""

import codecs
from collections.abc import Iterator


class SSEDecoder:
    """Feed it chunks as they come, cut anywhere."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""
        self._event = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[tuple[str, str]]:
        """The events that are complete with this chunk."""
        text = self._rest + self._text.decode(chunk)
        # A CR at the end may be half of a CRLF: keep it for the next chunk.
        held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = text.split("\n")
        self._rest = rest + held
        for line in lines:
            if line:
                self._take(line)
            elif self._data:
                yield self._event or "message", "\n".join(self._data)
                self._event, self._data = "", []
            else:
                self._event = ""

    def _take(self, line: str) -> None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._event = value
        elif field == "data":
            self._data.append(value)
