"""A worker ends with the gateway that started it, however that ends."""

import subprocess
import sys
import time

from segmenting import gone

GATEWAY = """
import asyncio
from wise_serve.segmenter.supervisor.client import SegmenterClient
from wise_serve.settings import Settings

async def main():
    client = SegmenterClient(Settings())
    await client.start()
    print(client.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_no_worker_outlives_its_gateway() -> None:
    gateway = subprocess.Popen([sys.executable, "-c", GATEWAY], stdout=subprocess.PIPE, text=True)
    try:
        assert gateway.stdout is not None
        pid = int(gateway.stdout.readline())
        assert not gone(pid)
    finally:
        gateway.kill()
        gateway.communicate()
    limit = time.monotonic() + 5
    while not gone(pid) and time.monotonic() < limit:
        time.sleep(0.05)
    assert gone(pid)
