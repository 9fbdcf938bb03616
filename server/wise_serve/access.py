"""API keys. The server knows only their SHA-256 digests; a caller sends a key as bearer token."""

import hashlib
import hmac
import ipaddress
import re
from pathlib import Path

from wise_serve.errors import Unauthorized
from wise_serve.settings import Settings

_DIGEST = re.compile(r"[0-9a-f]{64}")


class AccessError(Exception):
    """The settings leave it unclear who may ask; says what to change."""


class Access:
    """Who may ask. Without digests: everybody."""

    def __init__(self, digests: frozenset[str]) -> None:
        self._digests = digests

    def check(self, authorization: str | None) -> None:
        """`authorization`: the header's value. Raises Unauthorized."""
        if not self._digests:
            return
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("Send an API key in the header 'Authorization: Bearer KEY'.")
        digest = hashlib.sha256(key.strip().encode()).hexdigest()
        # All are compared, each in constant time: how long it takes tells nothing.
        if sum(hmac.compare_digest(digest, known) for known in self._digests) == 0:
            raise Unauthorized("This API key is not known here.")


def make_access(settings: Settings) -> Access:
    """Read the digests. Raises AccessError if the file has none, or if a public address would be
    open to everybody without having been told so."""
    if settings.api_key_file is not None:
        return Access(_read(Path(settings.api_key_file)))
    if not settings.allow_anyone and not _is_loopback(settings.host):
        raise AccessError(
            f"Whoever reaches {settings.host} could use this server. Give --api-key-file, or "
            "--allow-anyone if that is meant."
        )
    return Access(frozenset())


def _read(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AccessError(f"The API key file cannot be read: {error}") from None
    # The form of sha256sum's output: the digest first; '#' begins a comment.
    words = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    if not words or not all(_DIGEST.fullmatch(word) for word in words):
        raise AccessError(
            "The API key file must hold a SHA-256 digest a line: `printf %s KEY | sha256sum`."
        )
    return frozenset(words)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
