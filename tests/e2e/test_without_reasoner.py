"""`--reasoner none`: a real server that answers clicks, and refuses queries with the reason."""

import subprocess
import sys
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from miniature.scenes import draw_scene
from processes import family
from reference import iou
from running import RunningServer, running_server
from wise_client import Client, WiseClientError

FLAGS = ("--reasoner", "none")
SCENE = draw_scene(np.random.default_rng(160_001), max_side=480)


@pytest.fixture(scope="module")
def clicks_alone() -> Iterator[RunningServer]:
    with running_server(*FLAGS) as server:
        yield server


def test_no_engine_is_started_and_the_server_is_ready(clicks_alone: RunningServer) -> None:
    assert set(family(clicks_alone.pid)) == {"gateway", "segmenter"}
    assert httpx.get(f"{clicks_alone.url}/readyz").json() == {"status": "ready"}
    info = httpx.get(f"{clicks_alone.url}/info").json()
    assert info["models"]["reasoner"] == "none"
    assert info["strategies"] == []


def test_a_box_gives_the_objects_mask(clicks_alone: RunningServer) -> None:
    with Client(clicks_alone.url) as client:
        for shape in SCENE.shapes:
            found = client.refine(SCENE.image, box=shape.box)
            assert iou(found.mask, shape.mask) > 0.8


def test_a_query_is_refused_with_the_reason(clicks_alone: RunningServer) -> None:
    with (
        Client(clicks_alone.url) as client,
        pytest.raises(WiseClientError, match="without a reasoner"),
    ):
        client.segment(SCENE.image, "the circle")


def test_check_finds_the_server_without_a_reasoner_ready() -> None:
    command = [sys.executable, "-m", "wise_serve", "check", "--port", "0", *FLAGS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert "vllm" not in done.stdout
    assert "Ready to serve." in done.stdout
