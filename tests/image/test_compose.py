"""docker-compose.yml as podman-compose runs it, profile `cpu`: Prometheus scrapes the server.

An override puts Debian's Prometheus in the place of the published image, and Grafana is left out:
there is no registry at hand. The ports are free ones, and file limits those of this machine.
"""

import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from containers import wait_ready
from monitoring import load, wait_for
from running import free_port

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = "wiseimagetest"
UP_WITHIN_S: Final = 90.0
# A rate needs two scrapes, 15 s apart, and the rules are evaluated every 15 s.
DATA_WITHIN_S: Final = 120.0
RULES: Final = [
    "wise:answers:rate5m",
    "wise:request_seconds:p95_5m",
    "wise:stage_seconds:mean5m",
    "wise:thinking_tokens:mean5m",
    "wise:thinking_tokens:budget_used",
    "wise:prompt_cached:ratio5m",
]
OVERRIDE: Final = """
services:
  gateway-cpu:
    image: {image}
    ulimits: {{nofile: {files}, nproc: 10000}}
    ports: !override ["127.0.0.1:{server}:8000"]
  prometheus:
    image: localhost/prometheus:image-test
    ports: !override ["127.0.0.1:{prometheus}:9090"]
"""


@dataclass(frozen=True)
class Stack:
    server: str
    prometheus: str


def compose(override: Path, *arguments: str) -> None:
    files = ("-f", str(ROOT / "docker-compose.yml"), "-f", str(override))
    command = [os.environ["WISE_COMPOSE"], "-p", PROJECT, *files, "--profile", "cpu", *arguments]
    environment = {**os.environ, "GRAFANA_PASSWORD": "not started"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    server, prometheus = free_port(), free_port()
    override = tmp_path_factory.mktemp("compose") / "override.yml"
    files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 20_000)
    image = os.environ["WISE_IMAGE"]
    text = OVERRIDE.format(image=image, files=files, server=server, prometheus=prometheus)
    override.write_text(text)
    try:
        compose(override, "up", "--detach", "--no-build", "gateway-cpu", "prometheus")
        running = Stack(f"http://127.0.0.1:{server}", f"http://127.0.0.1:{prometheus}")
        wait_ready(running.server, f"{PROJECT}_gateway-cpu_1")
        yield running
    finally:
        compose(override, "down", "--volumes", "--timeout", "10")


def test_prometheus_scrapes_the_server_and_the_rules_give_data(stack: Stack) -> None:
    assert wait_for(stack.prometheus, ['up{job="wise-serve"} == 1'], UP_WITHIN_S) == []
    load(stack.server, requests=16)
    for _ in range(4):
        if not wait_for(stack.prometheus, RULES, DATA_WITHIN_S / 4):
            return
        load(stack.server, requests=16)
    assert wait_for(stack.prometheus, RULES, 1.0) == []
