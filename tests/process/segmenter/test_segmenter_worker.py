"""The real worker process behind the real client: right answers, and what happens when one dies."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest

from segmenting import (
    Recorder,
    assert_right,
    descriptors,
    gone,
    kill_for_good,
    prompts_of,
    scene,
    segment,
    segmenting,
    settings,
    shared_memory,
    until,
)
from wise_serve.contract.errors import ImageUnknown, NotReady, Overloaded, SegmenterLost
from wise_serve.contract.prompts import Prompt
from wise_serve.segmenter.supervisor.client import SegmenterClient


@pytest.fixture
async def client() -> AsyncIterator[tuple[SegmenterClient, Recorder]]:
    async with segmenting() as made:
        yield made


async def test_concurrent_images_are_batched_and_right(
    client: tuple[SegmenterClient, Recorder],
) -> None:
    segmenter, recorder = client
    answers = await asyncio.gather(*(segment(segmenter, seed) for seed in range(8)))
    for seed in (0, 5):
        assert_right(answers[seed], seed)
    assert max(size for operation, size in recorder.batches if operation == "encode") > 1
    assert max(size for operation, size in recorder.batches if operation == "decode") > 1
    assert recorder.results == ["miss"] * 8


async def test_a_known_image_is_not_encoded_again(
    client: tuple[SegmenterClient, Recorder],
) -> None:
    segmenter, recorder = client
    _, pixels = scene(1)
    async with segmenter.open(pixels, "one", "seg-1") as session:
        assert not (await session.encoded()).cached
    async with segmenter.open(pixels, "one", "seg-2") as session:
        assert (await session.encoded()).cached
    assert recorder.results == ["miss", "hit"]
    await until(lambda: recorder.batches != [], 2)  # told after the answer
    assert [batch for batch in recorder.batches if batch[0] == "encode"] == [("encode", 1)]


async def test_a_known_image_is_opened_without_its_pixels(
    client: tuple[SegmenterClient, Recorder],
) -> None:
    segmenter, recorder = client
    drawn, pixels = scene(1)
    size = pixels.shape[:2]
    async with segmenter.reopen(size, "one", "seg-1") as session:
        with pytest.raises(ImageUnknown):
            await session.decode(prompts_of(drawn))
    async with segmenter.open(pixels, "one", "seg-2") as session:
        # Opened again while it is still being encoded: the two share the one embedding.
        async with segmenter.reopen(size, "one", "seg-3") as again:
            first, _ = await again.decode(prompts_of(drawn))
        await session.encoded()
    async with segmenter.reopen(size, "one", "seg-4") as session:
        assert (await session.encoded()).cached
        second, _ = await session.decode(prompts_of(drawn))
    for found in (first, second):
        assert_right(found, 1)
    await until(lambda: len(recorder.batches) >= 3, 2)  # reported after the answer
    assert [batch for batch in recorder.batches if batch[0] == "encode"] == [("encode", 1)]


async def test_an_image_whose_embedding_is_gone_is_unknown() -> None:
    async with segmenting(embedding_cache_bytes=1) as (segmenter, _):
        await segment(segmenter, 1)
        async with segmenter.reopen(scene(1)[1].shape[:2], "digest-1", "seg-2") as session:
            with pytest.raises(ImageUnknown):
                await session.encoded()
    async with segmenting() as (segmenter, _):
        await segment(segmenter, 1)
        assert segmenter.pid is not None
        os.kill(segmenter.pid, signal.SIGKILL)
        await until(lambda: segmenter.restarts == 1 and segmenter.alive, 60)
        async with segmenter.reopen(scene(1)[1].shape[:2], "digest-1", "seg-3") as session:
            with pytest.raises(ImageUnknown):
                await session.decode(prompts_of(scene(1)[0]))
        assert_right(await segment(segmenter, 1), 1)


async def test_the_largest_image_crosses_and_nothing_is_left(
    client: tuple[SegmenterClient, Recorder],
) -> None:
    segmenter, _ = client
    before = descriptors()
    pixels = np.full((4000, 8000, 3), 200, np.uint8)
    pixels[1000:2400, 2000:3400] = (220, 40, 40)
    async with segmenter.open(pixels, "large", "seg-1") as session:
        prompt = Prompt((2000.0, 1000.0, 3400.0, 2400.0), ((2500.0, 1500.0), (2700.0, 1700.0)))
        (mask,), _ = await session.decode([prompt])
    assert mask.size == (4000, 8000)
    assert mask.area == pytest.approx(1400 * 1400, rel=0.15)
    assert descriptors() == before


async def test_a_caller_that_leaves_drops_its_work(
    client: tuple[SegmenterClient, Recorder],
) -> None:
    segmenter, recorder = client
    left = [asyncio.create_task(segment(segmenter, seed)) for seed in range(40)]
    await asyncio.sleep(0.05)  # some are running, most are queued
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert_right(await segment(segmenter, 99), 99)
    encoded = sum(size for operation, size in recorder.batches if operation == "encode")
    assert encoded < 40
    await until(lambda: recorder.depths[-1] == 0, 5)


async def test_a_full_queue_refuses() -> None:
    segmenter = SegmenterClient(settings(max_segmenter_queue=2, max_prompts=1, batch_wait_ms=200))
    await segmenter.start()
    try:
        results = await asyncio.gather(
            *(segment(segmenter, seed) for seed in range(6)), return_exceptions=True
        )
        assert any(isinstance(result, Overloaded) for result in results)
        assert all(isinstance(result, Overloaded | list) for result in results)
    finally:
        await segmenter.stop()


async def test_killed_under_load_it_fails_fast_and_comes_back(
    client: tuple[SegmenterClient, Recorder],
) -> None:
    segmenter, recorder = client
    pid, memory, before = segmenter.pid, shared_memory(), descriptors()
    assert pid is not None
    tasks = [asyncio.create_task(segment(segmenter, seed)) for seed in range(30)]
    await until(lambda: bool(recorder.batches), 10)
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert time.monotonic() - killed_at < 1
    lost = [result for result in results if isinstance(result, SegmenterLost)]
    assert lost
    assert all(isinstance(result, SegmenterLost | list) for result in results)
    assert not segmenter.alive
    with pytest.raises(NotReady):
        await segment(segmenter, 0)
    await until(lambda: segmenter.alive, 60)
    assert segmenter.pid != pid
    assert (segmenter.restarts, recorder.restarts, segmenter.failed) == (1, 1, False)
    assert_right(await segment(segmenter, 3), 3)
    assert shared_memory() <= memory
    assert descriptors() <= before + 1  # the child's pidfd may be young


async def test_three_deaths_in_a_minute_end_the_restarts(
    client: tuple[SegmenterClient, Recorder],
) -> None:
    segmenter, _ = client
    await kill_for_good(segmenter)
    assert not segmenter.alive
    assert segmenter.pid is None


async def test_a_stopped_process_is_noticed_and_a_continued_one_too() -> None:
    segmenter = SegmenterClient(settings(heartbeat_s=0.6))
    await segmenter.start()
    try:
        assert segmenter.pid is not None
        os.kill(segmenter.pid, signal.SIGSTOP)
        await until(lambda: not segmenter.alive, 1)
        os.kill(segmenter.pid, signal.SIGCONT)
        await until(lambda: segmenter.alive, 2)
        assert segmenter.restarts == 0
    finally:
        await segmenter.stop()


async def test_a_process_that_hangs_is_replaced() -> None:
    segmenter = SegmenterClient(settings(heartbeat_s=0.4))
    await segmenter.start()
    try:
        pid = segmenter.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: segmenter.alive and segmenter.pid != pid, 60)
        assert gone(pid)
        assert segmenter.restarts == 1
    finally:
        await segmenter.stop()


async def test_signals_to_the_whole_group_leave_the_drain_to_the_gateway(
    client: tuple[SegmenterClient, Recorder],
) -> None:
    segmenter, _ = client
    assert segmenter.pid is not None
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C; systemd, `timeout`
        os.kill(segmenter.pid, number)
        assert_right(await segment(segmenter, 3), 3)
    assert segmenter.restarts == 0


async def test_stop_leaves_no_child_and_fails_what_waits(
    client: tuple[SegmenterClient, Recorder],
) -> None:
    segmenter, _ = client
    pid = segmenter.pid
    assert pid is not None
    task = asyncio.create_task(segment(segmenter, 1))
    await asyncio.sleep(0)
    await segmenter.stop()
    with pytest.raises((SegmenterLost, NotReady)):
        await task
    assert gone(pid)
    assert not segmenter.alive


async def test_a_checkpoint_that_is_not_there_is_named() -> None:
    segmenter = SegmenterClient(settings(segmenter="nobody/sam"))
    with pytest.raises(NotReady, match="nobody/sam"):
        await segmenter.start()
    assert segmenter.pid is None
