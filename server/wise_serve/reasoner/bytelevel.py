"""Names of a byte-level BPE's tokens (GPT-2's alphabet), as the bytes they stand for."""

from collections.abc import Set


def token_bytes(token: str, added: Set[str]) -> bytes:
    """The bytes of one token, by its name in the vocabulary; one of `added` is spelled as it
    reads."""
    if token in added:
        return token.encode()
    return bytes(_BYTE_OF[letter] for letter in token if letter in _BYTE_OF)


def _byte_letters() -> dict[str, int]:
    """GPT-2's byte-level alphabet: each byte's printable stand-in, as the vocabularies spell it."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return letters | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_letters()
