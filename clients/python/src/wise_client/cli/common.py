"""What the commands share: the server's options, exit codes, messages."""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wise_client.client import Client
from wise_client.config import DEFAULT_URL, Timeouts
from wise_client.errors import (
    BadRequestError,
    ConnectFailedError,
    InputError,
    TransportError,
    WiseClientError,
)
from wise_client.retry import RetryPolicy
from wise_client.version import __version__

FOUND, USAGE, NOTHING, REFUSED, SERVER, CONNECTION, PARTIAL, GATE = 0, 2, 3, 4, 5, 6, 7, 8
INTERRUPTED = 130
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # of a strategy

EXIT_CODES = """\
exit codes:
  0    answered, at least one object (batch: every pair answered; eval: also every limit met)
  2    a mistake in the command, or in a file that it names; nothing, or not everything, was sent
  3    answered, but no object: no_target, unparsed or truncated
  4    the server refused the request (400, 401, 413, 415, 422)
  5    the server could not answer (429, 5xx), also after retries
  6    the server was not reached, or the connection was lost or too slow
  7    batch, eval: finished, but some pairs failed; run it again to repeat those
  8    eval: a limit of --fail-below is not met
  130  interrupted; a batch, or an eval with --output, continues when it is run again

environment:
  WISE_URL, WISE_API_KEY   in place of --url and --api-key
"""


def parser(
    prog: str, description: str, epilog: str = "", *, strategies: bool = False, asks: bool = True
) -> argparse.ArgumentParser:
    """A parser with the options that every command has.

    strategies: `--strategy` accepts several, and gives a tuple, or None. asks: whether the command
    sends queries.
    """
    made = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=epilog + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"wise-client {__version__}")
    _add_server(made)
    if asks:
        _add_question(made, strategies)
    image = made.add_argument_group("image")
    image.add_argument(
        "--max-side-pixels",
        type=positive_int,
        metavar="N",
        help="shrink larger images before sending; answers are in the original's pixels",
    )
    return made


def _add_server(made: argparse.ArgumentParser) -> None:
    server = made.add_argument_group("server")
    server.add_argument(
        "--url", help=f"address of the server (default: WISE_URL, or else {DEFAULT_URL})"
    )
    server.add_argument("--api-key", help="API key (default: WISE_API_KEY)")
    server.add_argument(
        "--timeout-s",
        type=positive_float,
        default=Timeouts().read_s,
        metavar="S",
        help="longest time without data from the server, seconds (default: %(default)g)",
    )


def _add_question(made: argparse.ArgumentParser, strategies: bool) -> None:
    asked = made.add_argument_group("question")
    if strategies:
        which = asked.add_mutually_exclusive_group()
        which.add_argument(
            "--strategy",
            type=several_strategies,
            metavar="A,B",
            help="prompt and answer format; several separated by commas (default: the server's)",
        )
        which.add_argument(
            "--strategies-of-server",
            action="store_true",
            help="compare all strategies that the server offers",
        )
    else:
        asked.add_argument(
            "--strategy",
            type=strategy_name,
            metavar="NAME",
            help="prompt and answer format, such as wise-s (default: the server's)",
        )
    asked.add_argument(
        "--max-instances", type=positive_int, metavar="N", help="maximum number of objects"
    )


def add_concurrency(group: argparse._ActionsContainer, what: str = "requests at once") -> None:
    """Add `--concurrency`, for commands that send many requests. what: it limits."""
    group.add_argument(
        "--concurrency",
        type=positive_int,
        default=8,
        metavar="N",
        help=f"{what} (default: %(default)s)",
    )


def client_of(
    options: argparse.Namespace, connections: int = 1, retry: RetryPolicy | None = None
) -> Client:
    """Raises InputError for an address or a key that cannot be one."""
    return Client(
        options.url,
        options.api_key,
        timeouts=Timeouts(read_s=options.timeout_s),
        retry=retry,
        max_connections=connections,
    )


def check_strategies(info: Mapping[str, Any], asked: Iterable[str]) -> None:
    """Before anything is sent: raises InputError for a strategy that the server does not offer.

    info: what the server says of itself.
    """
    offered = info.get("strategies")
    if not isinstance(offered, list):
        return
    for name in asked:
        if name not in offered:
            known = ", ".join(map(str, offered)) or "none"
            raise InputError(f"The server offers no strategy {name!r}; it offers {known}")


def exit_code(error: WiseClientError) -> int:
    """The exit status for scripts, by the kind of failure."""
    if isinstance(error, InputError):
        return USAGE
    if isinstance(error, BadRequestError):
        return REFUSED
    return CONNECTION if isinstance(error, TransportError) else SERVER


def say(message: str) -> None:
    """Print one line for the user on standard error."""
    print(f"wise-segment: {message}", file=sys.stderr)


def add_hint(error: WiseClientError, url: str) -> None:
    """Add advice to the error, if there is any."""
    if isinstance(error, ConnectFailedError):
        error.detail += f"; is wise-serve running at {url}? (--url, WISE_URL)"
    elif error.code == "unauthorized":
        error.detail += "; give --api-key or WISE_API_KEY"
    elif error.code == "too_large":
        error.detail += "; --max-side-pixels shrinks the image before it is sent"


def check_writable(*paths: Path | None) -> None:
    """Called before anything is sent: raises InputError if a file to be written has no folder."""
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file")
        if not path.parent.is_dir():
            raise InputError(f"There is no folder {path.parent} to write {path.name} into")


def several_strategies(text: str) -> tuple[str, ...]:
    """Read names separated by commas: each once, in their order."""
    return tuple(dict.fromkeys(map(strategy_name, text.split(","))))


def strategy_name(text: str) -> str:
    """A valid name of a strategy; only the server knows which names exist."""
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid strategy name")
    return text


def positive_int(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def positive_float(text: str) -> float:
    """An argument that is a finite number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value
