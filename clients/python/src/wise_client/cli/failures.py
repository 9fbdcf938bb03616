"""Failures of a run's pairs: the first are told, and a server that is gone ends the run."""

from wise_client.cli.common import add_hint, say
from wise_client.errors import TransportError, WiseClientError

_MOST_SHOWN = 5


class Failures:
    """`limit` pairs in a row without a connection end the run, as all others would fail too."""

    def __init__(self, limit: int, url: str, elsewhere: str) -> None:
        """`elsewhere`: what names all failures, for those that are not told."""
        self.count = 0
        self._unreached = 0
        self._limit = limit
        self._url = url
        self._elsewhere = elsewhere

    def saw(self, name: str, error: WiseClientError | None) -> None:
        """One pair's end, in order; raises its error when the server is gone."""
        if error is None:
            self._unreached = 0
            return
        self.count += 1
        self._unreached = self._unreached + 1 if isinstance(error, TransportError) else 0
        if self._unreached >= self._limit:
            add_hint(error, self._url)
            raise error
        if self.count <= _MOST_SHOWN:
            say(f"{name}: {error}")
        elif self.count == _MOST_SHOWN + 1:
            say(f"there are more failures; {self._elsewhere} names them all")
