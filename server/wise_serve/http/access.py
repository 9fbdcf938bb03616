"""API keys, sent as bearer tokens. The server stores only their SHA-256 digests."""

import hashlib
import hmac
import ipaddress
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from wise_serve.contract.errors import Unauthorized
from wise_serve.observe import logs
from wise_serve.settings import Settings

ANYONE: Final = ""  # the name of every caller where no key is asked for

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNNAMED = "-"  # what sha256sum calls its standard input


class AccessError(Exception):
    """The settings do not say who may send requests, or the key file is wrong."""


class Access:
    """Who may send requests, and under which name. Without a file: everybody, as ANYONE.

    A line of the file is `DIGEST  NAME`. Keys of the same name are the same caller; a key without
    a name is called after its line, such as `line-3`.
    """

    def __init__(self, file: Path | None) -> None:
        """`file`: the keys. Raises AccessError if it cannot be read or has a wrong line."""
        self._file = file
        self._names: Mapping[str, str] = {} if file is None else _read(file)

    @property
    def needs_key(self) -> bool:
        """Whether a key is asked for."""
        return self._file is not None

    def check(self, authorization: str | None) -> str:
        """The caller's name. `authorization`: the header's value. Raises Unauthorized."""
        if not self.needs_key:
            return ANYONE
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("Send an API key in the header 'Authorization: Bearer KEY'.")
        # Headers come decoded as Latin-1; the key is the bytes that were sent.
        digest = hashlib.sha256(key.strip().encode("latin-1", "replace")).hexdigest()
        # All are compared, each in constant time, so the time reveals nothing about the keys.
        known = [name for own, name in self._names.items() if hmac.compare_digest(digest, own)]
        if not known:
            raise Unauthorized("This API key is not valid for this server.")
        return known[0]

    def reload(self) -> None:
        """Read the file again; its keys are valid from the next request on.

        If the file is wrong, the keys stay as they are and the log says why.
        """
        if self._file is None:
            return
        try:
            self._names = _read(self._file)
        except AccessError as error:
            fields = {"reason": str(error), "keys": len(self._names)}
            logs.event(logging.ERROR, "the API keys stay as they are", fields)
        else:
            logs.event(logging.INFO, "API keys read again", {"keys": len(self._names)})


def make_access(settings: Settings) -> Access:
    """Read the keys of `--api-key-file`.

    Raises AccessError if the file is wrong, or if an address other than loopback would be open to
    everybody and `--allow-anyone` is not given.
    """
    if settings.api_key_file is not None:
        return Access(Path(settings.api_key_file))
    if not settings.allow_anyone and not _is_loopback(settings.host):
        raise AccessError(
            f"Anyone who can reach {settings.host} could use this server. Set "
            "--api-key-file, or --allow-anyone if that is what you want."
        )
    return Access(None)


def _read(path: Path) -> dict[str, str]:
    """Digest -> name. The form is that of sha256sum's output; '#' begins a comment."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise AccessError(f"The API key file cannot be read: {reason}.") from None
    names: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            digest, name = _entry(line, number)
            names[digest] = name
    if not names:
        raise AccessError(
            "The API key file holds no key. Add one per line, as `printf %s KEY | sha256sum` "
            "prints it."
        )
    return names


def _entry(line: str, number: int) -> tuple[str, str]:
    # The line itself is never shown: somebody may have put the key there by mistake.
    digest, *rest = line.split(maxsplit=1)
    if not _DIGEST.fullmatch(digest):
        raise AccessError(
            f"Line {number} of the API key file does not begin with a SHA-256 digest, as "
            "`printf %s KEY | sha256sum` prints it."
        )
    name = rest[0].strip().removeprefix("*") if rest else _UNNAMED
    if name == _UNNAMED:
        return digest, f"line-{number}"
    if not _NAME.fullmatch(name):
        raise AccessError(
            f"The name in line {number} of the API key file is not allowed. Use up to 64 "
            "letters, digits, '.', '_' and '-'."
        )
    return digest, name


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
