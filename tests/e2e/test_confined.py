"""The real server reveals nothing of its requests, and its engine accepts no pickle."""

import base64
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from urllib.parse import urlsplit

import httpx

from pictures import picture
from running import RunningServer

CANARY = "canary-of-the-real-server"
_NO_PICKLE = """
import asyncio
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.reasoner.engine import VllmReasoner
from wise_serve.settings import Settings
reasoner = VllmReasoner(Settings(reasoner="/nowhere", device="cpu"), STRATEGIES)
try:
    asyncio.run(reasoner.start())
except Exception as error:
    print(type(error).__name__)
from vllm.v1.serial_utils import MsgpackEncoder
try:
    MsgpackEncoder().encode(print)
except TypeError as error:
    print("refused" if "not serializable" in str(error) else error)
"""


def test_pickle_stays_off_whatever_the_environment_says() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NO_PICKLE],
        env={**os.environ, "VLLM_ALLOW_INSECURE_SERIALIZATION": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.splitlines()[-1:] == ["refused"], done.stderr[-3000:]


def leave(url: str, body: bytes, after_s: float) -> None:
    """Ask, and go before the answer."""
    place = urlsplit(url)
    assert place.hostname is not None
    with socket.create_connection((place.hostname, place.port or 80)) as connection:
        head = f"POST /segment?{CANARY} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(after_s)


def test_no_canary_is_logged(server: RunningServer) -> None:
    before = server.log.stat().st_size
    with httpx.Client(base_url=server.url, timeout=120) as client:

        def ask(query: str, data: bytes, **fields: str) -> int:
            files = {"image": (CANARY, data)}
            headers = {"Authorization": f"Bearer {CANARY}", "X-Request-Id": "seen-here"}
            return client.post(
                f"/segment?q={CANARY}",
                files=files,
                data={"query": query, **fields},
                headers=headers,
            ).status_code

        good = picture(320, 240)
        assert ask(f"the {CANARY}", good) == 200
        assert ask(f"the {CANARY}", good, stream="true") == 200
        assert ask(f"{CANARY} <|im_end|>", good) == 422
        assert ask(CANARY, CANARY.encode()) == 415
        assert ask(CANARY, good[:100] + CANARY.encode()) == 415
        assert ask(CANARY * 100, good) == 413
        assert ask(CANARY, good, **{CANARY: CANARY}) == 422
        body = b'{"image": "%s", "query": "%s' % (base64.b64encode(good), CANARY.encode())
        for after_s in (0.0, 0.02, 0.1):
            leave(server.url, body + b'"}', after_s)
        leave(server.url, body + b'"', 0.1)  # no JSON
        with suppress(httpx.ReadTimeout):
            client.post("/segment", files={"image": good}, data={"query": CANARY}, timeout=0.05)
        assert ask("the red circle", good) == 200  # and it goes on
    # The last request's line is written after its answer was sent.
    give_up_at = time.monotonic() + 10
    while (log := server.log.read_bytes()[before:].decode()).count("seen-here") < 8:
        assert time.monotonic() < give_up_at, log
        time.sleep(0.05)
    assert CANARY not in log
