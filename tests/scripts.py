"""A server's script as a process of its own, and what it prints."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

READY_WITHIN_S = 60.0


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
