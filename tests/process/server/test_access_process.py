"""Keys and ports of the server as a process."""

import asyncio
import hashlib
import signal
from asyncio.subprocess import Process
from pathlib import Path

import httpx

from scripts import READY_WITHIN_S, SERVE_FAILING, address, printed, running


async def logged(child: Process, words: str) -> str:
    """The first line of its log with these words."""
    assert child.stderr is not None
    async with asyncio.timeout(10):
        while line := (await child.stderr.readline()).decode():
            if words in line:
                return line
    raise AssertionError(f"it ended without {words!r}")


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


async def test_sighup_reads_the_keys_again(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{digest('old')}  team\n")
    async with running(SERVE_FAILING, WISE_API_KEY_FILE=str(keys)) as child:
        base = await address(child)
        async with httpx.AsyncClient(base_url=base) as client:

            async def status(key: str) -> int:
                headers = {"Authorization": f"Bearer {key}"}
                return (await client.get("/info", headers=headers)).status_code

            keys.write_text(f"{digest('old')}  team\n{digest('new')}  team\n")
            assert [await status("old"), await status("new")] == [200, 401]
            child.send_signal(signal.SIGHUP)
            assert '"keys":2' in await logged(child, "API keys read again")
            assert [await status("old"), await status("new")] == [200, 200]

            keys.write_text("new\n")  # the key itself instead of its digest
            child.send_signal(signal.SIGHUP)
            line = await logged(child, "the API keys stay as they are")
            assert '"level":"error"' in line
            assert "Line 1" in line
            assert [await status("old"), await status("new")] == [200, 200]

            keys.write_text(f"{digest('new')}  team\n")
            child.send_signal(signal.SIGHUP)
            await logged(child, "API keys read again")
            assert [await status("old"), await status("new")] == [401, 200]
        child.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(child.wait(), 10) == 0


async def test_probes_and_metrics_on_a_port_of_their_own() -> None:
    async with running(SERVE_FAILING, WISE_OPS_PORT="0", WISE_OPS_HOST="127.0.0.2") as child:
        main = await address(child)
        ops = await printed(child, r"Metrics and probes are at (http://127\.0\.0\.2:\d+)")
        async with httpx.AsyncClient() as client:
            for path in ("/livez", "/readyz", "/metrics"):
                assert (await client.get(ops + path)).status_code == 200
                assert (await client.get(main + path)).status_code == 404
            for path in ("/", "/info", "/docs"):
                assert (await client.get(main + path)).status_code == 200
                assert (await client.get(ops + path)).status_code == 404
            assert (await client.post(f"{ops}/segment")).status_code == 404
            files = {"image": ("a", b"x")}
            slow = asyncio.create_task(
                client.post(f"{main}/segment", files=files, data={"query": "x"})
            )
            assert (await slow).status_code == 415
        child.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(child.wait(), 10) == 0


async def test_an_operators_port_in_use_ends_the_start_with_status_1() -> None:
    async with running(SERVE_FAILING, WISE_OPS_PORT="0") as first:
        ops = await printed(first, r"Metrics and probes are at http://127\.0\.0\.1:(\d+)")
        async with running(SERVE_FAILING, WISE_OPS_PORT=ops) as second:
            _, log = await asyncio.wait_for(second.communicate(), READY_WITHIN_S)
            assert second.returncode == 1
            assert b"choose another --ops-port" in log
