"""The CPU image, confined as docker-compose.yml confines it: it answers, and stays within bounds.

Its tests share one container; the last of them ends it.
"""

import json
import os
import time
from collections.abc import Iterator
from typing import Final

import numpy as np
import pytest
from PIL import Image, ImageDraw

from containers import podman, wait_ready
from running import free_port, running_server
from wise_client import Client
from wise_serve.settings import Settings

NAME: Final = "wise-image-test"
LIMITS: Final = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "host")
NO_NEW: Final = ("--security-opt", "no-new-privileges")
# podman mounts /var/tmp, /run and /dev/shm itself, as file systems in memory.
# What the container engine itself makes on the root, where it mounts its own hosts and resolv.conf.
ENGINES_OWN: Final = {"C /etc", "C /run", "A /run/.containerenv", "A /run/secrets"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    # The port on loopback alone, and with it no API keys asked for.
    settings = ("--env", f"WISE_PORT={port}", "--env", "WISE_HOST=127.0.0.1")
    image = os.environ["WISE_IMAGE"]
    podman(
        "run", "--detach", "--name", NAME, *LIMITS, *NO_NEW, "-v", "wise:/cache", *settings, image
    )
    try:
        wait_ready(address, NAME)
        yield address
    finally:
        podman("rm", "--force", "--time", "5", NAME)


def scene() -> Image.Image:
    image = Image.new("RGB", (320, 240), (200, 200, 205))
    draw = ImageDraw.Draw(image)
    draw.ellipse((40, 60, 120, 140), fill=(220, 40, 40))
    draw.rectangle((190, 110, 260, 180), fill=(50, 80, 220))
    return image


def test_it_answers_with_the_mask_that_the_server_outside_gives(url: str) -> None:
    with Client(url) as client:
        inside = client.segment(scene(), "the red circle")
    with running_server() as server, Client(server.url) as client:
        outside = client.segment(scene(), "the red circle")
    assert inside.status == outside.status == "found"
    assert inside.reasoning == outside.reasoning
    assert len(inside.instances) == len(outside.instances) == 1
    masks = [np.asarray(one.instances[0].mask, bool) for one in (inside, outside)]
    assert masks[0].sum() > 1000
    assert np.array_equal(masks[0], masks[1])


def test_every_process_runs_as_user_10001(url: str) -> None:
    listed = podman("exec", NAME, "sh", "-c", "cat /proc/[0-9]*/status 2>/dev/null | grep ^Uid:")
    users = [set(line.split()[1:]) for line in listed.splitlines()]
    assert len(users) >= 4  # tini, the gateway, a worker, the engine core
    assert all(user == {"10001"} for user in users)
    assert podman("exec", NAME, "id", "-u") == "10001"
    status = podman("exec", NAME, "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


@pytest.mark.parametrize("place", ["/", "/opt/wise", "/etc", "/usr/bin", "/home"])
def test_the_root_cannot_be_written(url: str, place: str) -> None:
    podman("exec", "--user", "0", NAME, "touch", f"{place}/written", fails=True)


def test_nothing_but_the_cache_and_the_temporary_folder_was_written(url: str) -> None:
    assert set(podman("diff", NAME).splitlines()) <= ENGINES_OWN
    podman("exec", NAME, "sh", "-c", "touch /cache/a /tmp/a && rm /cache/a /tmp/a")
    assert "Read-only file system" not in podman("logs", NAME)


def test_the_containers_health_check_passes(url: str) -> None:
    podman("healthcheck", "run", NAME)
    [state] = json.loads(podman("inspect", NAME))
    assert state["State"]["Health"]["Status"] == "healthy"


def test_every_shared_library_of_the_image_is_found(url: str) -> None:
    podman("exec", NAME, "python", "-m", "wise_serve.preflight.native")


def test_check_finds_nothing_wrong_inside(url: str) -> None:
    found = json.loads(podman("exec", NAME, "wise-serve", "check", "--json", "--port", "0"))
    assert found["ok"] is True
    assert {"libraries"} <= {check["name"] for check in found["checks"]}


def test_sigterm_ends_it_with_status_0_within_the_drain(url: str) -> None:
    drain_s = Settings().drain_deadline_s
    started = time.monotonic()
    podman("stop", "--time", str(int(drain_s) + 30), NAME)
    assert time.monotonic() - started < drain_s
    assert podman("inspect", NAME, "--format", "{{.State.ExitCode}}") == "0"


def test_without_libnuma_check_names_the_library_and_its_debian_package() -> None:
    remove = "rm /usr/lib/*/libnuma.so.1*; wise-serve check --json --port 0"
    run = ("run", "--rm", "--user", "0", "--network", "host", "--entrypoint", "sh")
    found = json.loads(podman(*run, os.environ["WISE_IMAGE"], "-c", remove, fails=True))
    [libraries] = [check for check in found["checks"] if check["name"] == "libraries"]
    assert "libnuma.so.1" in libraries["found"]
    assert "apt-get install libnuma1" in libraries["advice"]
