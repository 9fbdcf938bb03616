"""A real Prometheus that scrapes a running server with the project's own rules, and some load."""

import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from miniature.queries import FAMILIES, make_query
from miniature.scenes import draw_scene
from running import free_port
from wise_client import Client, InvalidFieldError
from wise_serve.reasoner.strategies import STRATEGIES

RULES: Final = Path(__file__).parents[1] / "deploy" / "prometheus"
_SEED: Final = 8_000_000
_SCRAPE: Final = "1s"
_READY_WITHIN_S: Final = 20.0
_STOP_WITHIN_S: Final = 10.0
_HTTP_TIMEOUT_S: Final = 10.0


@contextmanager
def running_prometheus(*server_urls: str) -> Iterator[str]:
    """Run Prometheus with deploy/prometheus; it scrapes the servers each second. Its address.

    Its data are deleted at the end. Raises FileNotFoundError if it is not installed.
    """
    binary = shutil.which("prometheus")
    if binary is None:
        raise FileNotFoundError("prometheus is not installed: apt-get install prometheus")
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "prometheus.yml"
        configuration.write_text(yaml.safe_dump(_configuration(server_urls)))
        address = f"127.0.0.1:{free_port()}"
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    binary,
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address={address}",
                    "--log.level=error",
                ],
                stderr=log,
                stdout=log,
            )
        try:
            _wait_ready(f"http://{address}", process)
            yield f"http://{address}"
        finally:
            process.terminate()
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _configuration(server_urls: Sequence[str]) -> dict[str, Any]:
    """deploy/prometheus/prometheus.yml with short intervals and the addresses of these servers."""
    configuration: dict[str, Any] = yaml.safe_load((RULES / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": _SCRAPE, "evaluation_interval": _SCRAPE}
    configuration["rule_files"] = [str(RULES / name) for name in configuration["rule_files"]]
    for job in configuration["scrape_configs"]:
        if job["job_name"] == "wise-serve":
            [static] = job["static_configs"]
            static["targets"] = [urllib.parse.urlsplit(url).netloc for url in server_urls]
    return configuration


def _wait_ready(prometheus: str, process: "subprocess.Popen[bytes]") -> None:
    give_up = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{prometheus}/-/ready", timeout=_HTTP_TIMEOUT_S):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("Prometheus did not get ready.")


def ask(prometheus: str, expression: str) -> list[float]:
    """The values of an instant query, without NaN. Raises ValueError if it is not valid PromQL."""
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        with urllib.request.urlopen(url, timeout=_HTTP_TIMEOUT_S) as response:
            result = json.load(response)["data"]["result"]
    except urllib.error.HTTPError as error:
        raise ValueError(f"{expression}: {error.read().decode()}") from None
    values = [float(item["value"][1]) for item in result]
    return [value for value in values if value == value]


def wait_for(prometheus: str, expressions: Sequence[str], within_s: float) -> list[str]:
    """Wait until every expression returns data; returns those that do not in time."""
    give_up = time.monotonic() + within_s
    missing = list(expressions)
    while missing and time.monotonic() < give_up:
        missing = [expression for expression in missing if not ask(prometheus, expression)]
        if missing:
            time.sleep(0.5)
    return missing


def load(server_url: str, requests: int) -> None:
    """Scenes under all four strategies in turn, one at a time, each image asked eight times; and
    for each image one request that is refused."""
    with Client(server_url) as client:
        for number, strategy in enumerate(cycle(STRATEGIES)):
            if number >= requests:
                return
            rng = np.random.default_rng([_SEED, number // 8])
            query = None
            while query is None:
                scene = draw_scene(rng)
                query = make_query(scene, rng, FAMILIES[number // 8 % len(FAMILIES)])
            client.segment(scene.image, query.text, strategy=strategy)
            if number % 8 == 0:
                with suppress(InvalidFieldError):
                    client.segment(scene.image, ".")
