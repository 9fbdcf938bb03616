"""Requests for `overload.py`: a closed loop that finds the capacity, an open one above it."""

import asyncio
import base64
import io
import itertools
import json
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from miniature.scenes import draw_scene

_WARM: Final = 32  # requests before the first phase
_GIVE_UP_S: Final = 180.0


@dataclass
class Seen:
    """The outcomes of the requests. Latencies are in milliseconds."""

    answered_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    in_time: int = 0  # answered before the last request was sent

    def note(self, status: int, took_ms: float, *, in_time: bool) -> None:
        """Count one answer. in_time: whether it came before the deadline."""
        if status == 200:
            self.answered_ms.append(took_ms)
            self.in_time += in_time
        elif status == 429:
            self.refused_ms.append(took_ms)
        else:
            self.others.append(str(status))


def requests(host: str, count: int) -> list[bytes]:
    """Whole HTTP requests, one for each of `count` scenes of up to 640 pixels."""
    made = []
    for number in range(count):
        out = io.BytesIO()
        scene = draw_scene(np.random.default_rng([9_000_000, number]), max_side=640)
        scene.image.save(out, "JPEG", quality=90)
        image = base64.b64encode(out.getvalue()).decode()
        body = json.dumps({"image": image, "query": "the red circle"}).encode()
        head = f"POST /segment HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        made.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return made


async def ask(url: str, request: bytes) -> int:
    """Send on a new connection, read the whole answer, and return its status."""
    place = urlsplit(url)
    async with asyncio.timeout(_GIVE_UP_S):
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(found[1]) if found else 0)
            return int(head.split(b" ", 2)[1])
        finally:
            writer.close()


async def capacity(url: str, bodies: Iterator[bytes], slots: int, seconds: float) -> float:
    """Answers per second when every slot is always in use and no request waits."""
    for body in itertools.islice(bodies, _WARM):
        assert await ask(url, body) == 200
    began, answered = time.perf_counter(), 0

    async def caller() -> None:
        nonlocal answered
        while time.perf_counter() - began < seconds:
            assert await ask(url, next(bodies)) == 200
            answered += 1

    await asyncio.gather(*(caller() for _ in range(slots)))
    return answered / (time.perf_counter() - began)


async def offer(url: str, bodies: Iterator[bytes], rate: float, seconds: float) -> Seen:
    """Open loop: `rate` arrivals a second for `seconds`; returns when all are answered."""
    generator, seen, tasks = random.Random(0), Seen(), set[asyncio.Task[None]]()
    began = due = time.perf_counter()

    async def one(due: float, body: bytes) -> None:
        try:
            status = await ask(url, body)
        except (OSError, EOFError, TimeoutError) as error:
            seen.others.append(type(error).__name__)
        else:
            now = time.perf_counter()
            seen.note(status, (now - due) * 1000, in_time=now < began + seconds)

    while (due := due + generator.expovariate(rate)) < began + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(due, next(bodies)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return seen
