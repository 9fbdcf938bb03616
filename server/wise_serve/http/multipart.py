"""Reads multipart forms: python-multipart's parser, extended by other forms that RFC 2046 allows.

This is our own code because the parser refuses text before the first boundary and spaces after that
boundary (RFC 2046, section 5.1.1), and does not recognize a part with only `filename*` as a file.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from email.message import Message
from typing import Final

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

_MOST_PADDING_BYTES: Final = 256  # spaces between a boundary and its line's end


class FormParser(MultiPartParser):
    """A form of at most one file, held in memory. Texts come as Latin-1, which loses no byte."""

    def __init__(
        self,
        content_type: str,
        stream: AsyncIterator[bytes],
        *,
        max_fields: int,
        max_field_bytes: int,
        max_body_bytes: int,
    ) -> None:
        """Raises MultiPartException if `content_type` names no boundary."""
        _, options = parse_options_header(content_type)
        if not (boundary := options.get(b"boundary")):
            raise MultiPartException("Missing boundary in multipart.")
        # The caller's charset is removed, because the parser would replace bytes that are invalid
        # in it. So the parser reads Latin-1, and the reader of the texts then decodes them
        # strictly.
        parts = [part for part in content_type.split(";") if "boundary" in part.lower()]
        super().__init__(
            Headers({"content-type": "; ".join(["form", *parts, "charset=latin-1"])}),
            from_first_boundary(stream, boundary),
            max_files=1,
            max_fields=max_fields,
            max_part_size=max_field_bytes,
        )
        self.spool_max_size = max_body_bytes  # files stay in memory

    def on_headers_finished(self) -> None:
        """Gives a part with only `filename*` (RFC 5987) a file name, by which the parser recognizes
        a file. The name itself is not used."""
        disposition = self._current_part.content_disposition or b""
        _, options = parse_options_header(disposition)
        if b"filename" not in options and _has_extended_file_name(disposition):
            self._current_part.content_disposition = disposition + b"; filename=file"
        super().on_headers_finished()


async def from_first_boundary(
    stream: AsyncIterator[bytes], boundary: bytes
) -> AsyncGenerator[bytes, None]:
    """The form without the text before its first boundary and without spaces after that boundary.

    Of this text, only the length of a boundary's line and the data that has just arrived are kept
    in memory.
    """
    line = re.compile(rb"\n(--%b)(?:(?=--)|[ \t]*(?=\r\n))" % re.escape(boundary))
    longest = len("\n--\r\n") + len(boundary) + _MOST_PADDING_BYTES
    head = b"\n"  # the first line is also the beginning of a line
    async for part in stream:
        head += part
        if found := line.search(head):
            yield found[1] + head[found.end() :]
            break
        head = head[-longest:]
    async for part in stream:
        yield part


def _has_extended_file_name(disposition: bytes) -> bool:
    """Raises MultiPartException."""
    message = Message()
    message["Content-Disposition"] = disposition.decode("latin-1")
    try:
        return message.get_filename() is not None
    except TypeError:  # of the standard library, which compares the numbers of `name*` and `name*0`
        raise MultiPartException("A file name is malformed.") from None
