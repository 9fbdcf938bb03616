"""`wise-segment label-studio`: an ML backend that Label Studio sends its tasks and clicks to."""

import argparse
import ipaddress
import logging
import os
from collections.abc import Sequence

from wise_client import extras
from wise_client.cli.common import (
    FOUND,
    add_concurrency,
    client_of,
    parser,
    positive_float,
    say,
)
from wise_client.client import Client
from wise_client.config import Timeouts
from wise_client.errors import InputError
from wise_client.integrations.label_studio.app import MOST_BODY_BYTES, App
from wise_client.integrations.label_studio.backend import Backend, Settings
from wise_client.integrations.label_studio.media import LabelStudio, Media
from wise_client.retry import RetryPolicy

_DESCRIPTION = """\
Serve masks to Label Studio: add http://HOST:PORT in a project's Settings > Model. The query of
a label is its name, the one given with --query, or the text of a TextArea.

  wise-segment label-studio --port 9090
  wise-segment label-studio --query "cup=the cup she could drink from"

"""
_ENVIRONMENT = """\
environment:
  LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY   in place of --label-studio-url, --label-studio-token
  WISE_LABEL_STUDIO_BASIC_AUTH             in place of --basic-auth

"""
# Label Studio waits one second for /health and three for /setup.
_QUICK = Timeouts(connect_s=0.7, read_s=0.9, write_s=0.9, pool_s=0.9)


def main(arguments: Sequence[str]) -> int:
    """Run `wise-segment label-studio` with these arguments; gives the exit status."""
    options = _parser().parse_args(arguments)
    waitress = extras.waitress()
    home = _home(options)
    if home is None and not _loopback(options.host):
        raise InputError(
            f"--host {options.host} can be reached by others, who could make this backend fetch "
            "any address; give Label Studio's address with --label-studio-url"
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asking = client_of(options, options.concurrency)
    backend = _backend(options, home, asking)
    server = waitress.create_server(
        App(backend, options.basic_auth),
        host=options.host,
        port=options.port,
        threads=options.concurrency,
        connection_limit=200,
        max_request_body_size=MOST_BODY_BYTES,
        ident="wise-segment",
    )
    host = f"[{options.host}]" if ":" in options.host else options.host
    say(f"ready at http://{host}:{server.effective_port}, asking {asking.base_url}")
    try:
        server.run()
    finally:
        backend.close()
    return FOUND


def _backend(options: argparse.Namespace, home: LabelStudio | None, asking: Client) -> Backend:
    settings = Settings(
        queries=dict(options.query),
        strategy=options.strategy,
        home=home,
        max_instances=options.max_instances,
        max_side_pixels=options.max_side_pixels,
        polygon_tolerance_pixels=options.polygon_tolerance_pixels,
        concurrency=options.concurrency,
        within_s=options.batch_within_s,
    )
    quick = Client(options.url, options.api_key, timeouts=_QUICK, retry=RetryPolicy(max_retries=0))
    return Backend(asking, quick, Media(options.image_host), settings)


def _parser() -> argparse.ArgumentParser:
    made = parser("wise-segment label-studio", _DESCRIPTION, _ENVIRONMENT)
    served = made.add_argument_group("Label Studio")
    served.add_argument(
        "--host", default="127.0.0.1", help="where to listen (default: %(default)s)"
    )
    served.add_argument("--port", type=int, default=9090, help="(default: %(default)s; 0: any)")
    served.add_argument(
        "--query", action="append", default=[], type=_query, metavar="LABEL=SENTENCE",
        help="the query for a label; may be given several times",
    )  # fmt: skip
    served.add_argument("--label-studio-url", default=os.environ.get("LABEL_STUDIO_URL"),
        help="address of Label Studio (default: LABEL_STUDIO_URL, or else the one in its requests)",
    )  # fmt: skip
    served.add_argument("--label-studio-token", default=os.environ.get("LABEL_STUDIO_API_KEY"),
        help="access token for fetching images (default: LABEL_STUDIO_API_KEY)",
    )  # fmt: skip
    served.add_argument("--image-host", action="append", default=[], metavar="HOST",
        help="another host from which images may be fetched; * allows every host",
    )  # fmt: skip
    served.add_argument("--basic-auth", default=os.environ.get("WISE_LABEL_STUDIO_BASIC_AUTH"),
        metavar="USER:PASSWORD", help="user and password with which Label Studio must log in",
    )  # fmt: skip
    served.add_argument("--polygon-tolerance-pixels", type=float, default=1.0, metavar="N",
        help="maximum distance of a polygon from the mask; 0 is exact (default: %(default)g)",
    )  # fmt: skip
    add_concurrency(served, "tasks processed at once")
    served.add_argument("--batch-within-s", type=positive_float, default=90.0, metavar="S",
        help="send the finished part of a batch after this time; Label Studio waits 100 s "
        "(default: %(default)g)",
    )  # fmt: skip
    return made


def _home(options: argparse.Namespace) -> LabelStudio | None:
    url, token = options.label_studio_url, options.label_studio_token
    if token and not url:
        raise InputError("--label-studio-token needs --label-studio-url: where it is valid")
    if url and not url.startswith(("http://", "https://")):
        raise InputError(f"--label-studio-url {url}: an address starts with http:// or https://")
    return LabelStudio(url, token or "") if url else None


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _query(text: str) -> tuple[str, str]:
    label, equals, sentence = text.partition("=")
    if not (label and equals and sentence.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not LABEL=SENTENCE")
    return label, sentence.strip()
