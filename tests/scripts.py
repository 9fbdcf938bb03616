"""A server's script as a process of its own, and what it prints."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx

from pictures import picture

READY_WITHIN_S = 60.0
_SCRIPTS = Path(__file__).parent / "process" / "server"
SERVE_FAKES = _SCRIPTS / "serve_fakes.py"
SERVE_FAILING = _SCRIPTS / "serve_failing.py"


@asynccontextmanager
async def running(script: Path, *arguments: str, **env: str) -> AsyncIterator[Process]:
    """The script with the modules that the tests themselves see; ended if it has not ended."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(script), *arguments, stdout=PIPE, stderr=PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env},
    )  # fmt: skip
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def printed(child: Process, pattern: str) -> str:
    """The first group of the first line it prints that fits."""
    assert child.stdout is not None
    async with asyncio.timeout(READY_WITHIN_S):
        while line := (await child.stdout.readline()).decode():
            if found := re.search(pattern, line):
                return found[1]
    assert child.stderr is not None
    raise AssertionError(f"it ended without {pattern!r}: {(await child.stderr.read()).decode()}")


async def address(child: Process) -> str:
    """Where it listens, once it is ready."""
    return await printed(child, r"ready at (http://\S+)")


def process(
    *arguments: str, delay_s: float = 0.0, **env: str
) -> AbstractAsyncContextManager[Process]:
    """A server on the fakes; `delay_s` before each token."""
    return running(SERVE_FAKES, *arguments, DELAY_S=str(delay_s), **env)


async def ask(client: httpx.AsyncClient) -> httpx.Response:
    """A question that `process` answers with one object."""
    return await client.post("/segment", files={"image": ("a", picture())}, data={"query": "x"})
