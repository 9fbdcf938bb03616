"""Where the server is and how long to wait for it."""

import os
from dataclasses import dataclass

import httpx

from wise_client.errors import InputError
from wise_client.requests import user_agent

DEFAULT_URL = "http://127.0.0.1:8000"
# Many servers and proxies close a connection after 5 s without a request, wise-serve after 30 s.
# The client closes it earlier, so that it never sends on one that is being closed.
_KEEPALIVE_EXPIRY_S = 3.0


@dataclass(frozen=True)
class Timeouts:
    """Limits of one attempt's phases, in seconds.

    `read_s` is the longest silence: the whole wait for an answer that is not streamed, so it lies
    above the server's own deadline of 120 s. `pool_s` is the wait for a free connection.
    """

    connect_s: float = 5.0
    write_s: float = 30.0
    read_s: float = 150.0
    pool_s: float = 150.0


@dataclass(frozen=True, repr=False)
class Config:
    """The configuration of both clients; `base_url` and `api_key` fall back to the environment."""

    base_url: str
    api_key: str | None
    timeouts: Timeouts
    max_connections: int

    @classmethod
    def of(
        cls, base_url: str | None, api_key: str | None, timeouts: Timeouts, max_connections: int
    ) -> "Config":
        """Raises InputError for an address or a key that cannot be one."""
        url = base_url or os.environ.get("WISE_URL") or DEFAULT_URL
        key = api_key or os.environ.get("WISE_API_KEY") or None
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise InputError(f"{url!r} is not an address: {error}") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise InputError(f"{url!r} is not an address such as {DEFAULT_URL}")
        if key is not None and not (key.isascii() and key.isprintable()):
            raise InputError("The API key has characters that no HTTP header can carry")
        if max_connections < 1:
            raise InputError(f"max_connections must be at least 1, not {max_connections}")
        return cls(url, key, timeouts, max_connections)

    def headers(self) -> dict[str, str]:
        """The headers of every request: User-Agent, and Authorization where there is a key."""
        headers = {"User-Agent": user_agent()}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return headers

    def limits(self) -> httpx.Limits:
        """httpx's limits of the connection pool."""
        return httpx.Limits(
            max_connections=self.max_connections,
            max_keepalive_connections=self.max_connections,
            keepalive_expiry=_KEEPALIVE_EXPIRY_S,
        )

    def timeout(self) -> httpx.Timeout:
        """httpx's form of `timeouts`, seconds."""
        limits = self.timeouts
        return httpx.Timeout(
            connect=limits.connect_s, write=limits.write_s, read=limits.read_s, pool=limits.pool_s
        )
