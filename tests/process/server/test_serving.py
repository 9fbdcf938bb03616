"""The server as a process: what it prints, its signals, its exit status."""

import asyncio
import signal
from asyncio.subprocess import Process

import httpx

from pictures import picture
from scripts import address, ask, process
from streams import events


async def ended(child: Process, within_s: float) -> int:
    async with asyncio.timeout(within_s):
        return await child.wait()


async def test_it_prints_its_address_and_a_line_to_try() -> None:
    async with process() as child:
        base = await address(child)
        assert child.stdout is not None
        printed = b"".join([await child.stdout.readline() for _ in range(3)]).decode()
        assert f"curl -s {base}/segment -F image=@" in printed
        async with httpx.AsyncClient(base_url=base) as client:
            assert (await client.get("/readyz")).status_code == 200
            assert (await ask(client)).json()["status"] == "found"
        child.send_signal(signal.SIGTERM)
        assert await ended(child, 5) == 0


async def test_sigterm_drains() -> None:
    async with process(delay_s=0.02) as child:
        async with httpx.AsyncClient(base_url=await address(child)) as client:
            inside = [asyncio.create_task(ask(client)) for _ in range(20)]
            await asyncio.sleep(0.4)
            child.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
            assert (await client.get("/readyz")).json()["code"] == "draining"
            refused = await ask(client)
            assert (refused.status_code, refused.json()["code"]) == (503, "draining")
            answers = await asyncio.gather(*inside)
        assert [answer.json()["status"] for answer in answers] == ["found"] * 20
        assert await ended(child, 5) == 0


async def test_past_the_drain_deadline_requests_are_cut_off() -> None:
    async with process(delay_s=30, WISE_DRAIN_DEADLINE_S="0.3") as child:
        base = await address(child)
        async with httpx.AsyncClient(base_url=base) as client:
            inside = asyncio.create_task(ask(client))
            image, data = {"image": ("a", picture())}, {"query": "x", "stream": "true"}
            streaming = asyncio.create_task(client.post("/segment", files=image, data=data))
            await asyncio.sleep(0.2)
            child.send_signal(signal.SIGTERM)
            assert await ended(child, 4) == 0
            cut_off, stream = await inside, await streaming
        assert events(stream)[-1][1]["code"] == "draining"
        assert (cut_off.status_code, cut_off.json()["code"]) == (503, "draining")


async def test_a_second_signal_ends_the_server_at_once() -> None:
    async with process(delay_s=30) as child:
        base = await address(child)
        async with httpx.AsyncClient(base_url=base) as client:
            inside = asyncio.create_task(ask(client))
            await asyncio.sleep(0.2)
            child.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
            child.send_signal(signal.SIGTERM)
            assert await ended(child, 2) == 1
            await asyncio.gather(inside, return_exceptions=True)


async def test_malformed_websocket_handshakes_do_not_break_the_shutdown() -> None:
    offer = b" / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    async with process() as child:
        url = httpx.URL(await address(child))
        writers = []
        for sent in (
            b"POST" + offer + b"Content-Length: 10\r\n\r\n0123456789",
            b"GET" + offer + b"Content-Length: 10\r\n\r\n",
            b"GET" + offer + b"\r\n",
        ):
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writers.append(writer)
            writer.write(sent)
            async with asyncio.timeout(5):
                assert (await reader.readline()).startswith(b"HTTP/1.1 ")
        child.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(child.communicate(), 10)
        assert (child.returncode, b"Traceback" in log) == (0, False)
        for writer in writers:
            writer.close()


async def test_models_that_do_not_start_end_the_server_with_status_1() -> None:
    async with process("--fail") as child:
        _, log = await asyncio.wait_for(child.communicate(), 10)
        assert child.returncode == 1
        assert b"the models could not be started" in log
        assert b"no weights" not in log


async def test_logs_are_json_lines_without_the_query_or_the_image() -> None:
    async with process() as child:
        async with httpx.AsyncClient(base_url=await address(child)) as client:
            for query in ("canary", "canary\0", "canary <|im_end|>"):
                files, data = {"image": ("canary", picture())}, {"query": query}
                headers = {"X-Request-Id": "visible-1", "Authorization": "canary"}
                await client.post("/segment?q=canary", files=files, data=data, headers=headers)
            await client.post("/segment", content=b"canary", headers={"content-type": "canary"})
        child.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(child.communicate(), 10)
    lines = log.decode().strip().splitlines()
    assert all(line.startswith("{") and line.endswith("}") for line in lines)
    assert sum('"request_id":"visible-1"' in line for line in lines) == 3
    assert "canary" not in log.decode()
