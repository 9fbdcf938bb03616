"""Several real workers as one segmenter: right answers, placement, and what a kill costs."""

import asyncio
import os
import signal

import pytest

from segmenting import assert_right, gone, kill_for_good, pooling, scene, segment, settings, until
from wise_serve.contract.errors import NotReady, SegmenterLost
from wise_serve.placement import ranked
from wise_serve.segmenter.supervisor.observer import Silent
from wise_serve.segmenter.supervisor.pool import SegmenterPool


def home(seed: int) -> str:
    """The worker that a scene's digest names."""
    return ranked(f"digest-{seed}", ("0", "1"))[0]


SEEDS = {name: [seed for seed in range(40) if home(seed) == name] for name in ("0", "1")}


async def test_an_image_meets_its_embedding_again_and_both_workers_work() -> None:
    async with pooling(2) as (segmenter, recorders):
        for _ in range(2):  # one after the other: no worker is ever full
            for seed in range(6):
                await segment(segmenter, seed)
        expected = {name: sum(home(seed) == name for seed in range(6)) for name in ("0", "1")}
        assert all(expected.values())
        for name, recorder in recorders.items():
            assert recorder.results == ["miss"] * expected[name] + ["hit"] * expected[name]
        assert_right(await segment(segmenter, 3), 3)


async def test_many_requests_about_one_image_use_both_workers() -> None:
    async with pooling(2) as (segmenter, recorders):
        answers = await asyncio.gather(*(segment(segmenter, 5) for _ in range(16)))
        for found in (answers[0], answers[-1]):
            assert_right(found, 5)
        lookups = {name: len(recorder.results) for name, recorder in recorders.items()}
        assert sum(lookups.values()) == 16
        assert min(lookups.values()) >= 6


async def test_a_killed_worker_fails_its_own_and_its_images_go_to_the_other() -> None:
    # Comparing masks holds up the event loop, which must not look like a silent worker.
    async with pooling(2, heartbeat_s=20) as (segmenter, recorders):
        victim = segmenter.workers["0"].pid
        assert victim is not None
        kept = [asyncio.create_task(segment(segmenter, seed)) for seed in SEEDS["1"][:4]]
        lost = [asyncio.create_task(segment(segmenter, seed)) for seed in SEEDS["0"][:4]]
        await until(lambda: bool(recorders["0"].results), 30)
        os.kill(victim, signal.SIGKILL)
        failures = await asyncio.gather(*lost, return_exceptions=True)
        assert any(isinstance(failure, SegmenterLost) for failure in failures)
        for seed, found in zip(SEEDS["1"], await asyncio.gather(*kept), strict=False):
            assert_right(found, seed)
        assert segmenter.alive
        assert not segmenter.workers["0"].alive
        assert_right(await segment(segmenter, SEEDS["0"][0]), SEEDS["0"][0])  # now, at the other
        assert len(recorders["1"].results) == 5
        await until(lambda: segmenter.workers["0"].alive, 60)
        assert_right(await segment(segmenter, SEEDS["0"][1]), SEEDS["0"][1])
        assert (recorders["0"].restarts, recorders["1"].restarts) == (1, 0)


async def test_a_worker_that_is_lost_for_good_leaves_the_server_its_other_one() -> None:
    async with pooling(2, heartbeat_s=20) as (segmenter, _):
        worker = segmenter.workers["1"]
        await kill_for_good(worker)
        assert segmenter.alive
        assert not segmenter.failed
        assert_right(await segment(segmenter, SEEDS["1"][0]), SEEDS["1"][0])


async def test_stop_leaves_no_worker() -> None:
    async with pooling(2) as (segmenter, _):
        pids = [worker.pid for worker in segmenter.workers.values()]
    assert len(set(pids)) == 2
    assert all(pid is not None and gone(pid) for pid in pids)
    assert not segmenter.alive
    _, pixels = scene(0)
    with pytest.raises(NotReady):
        async with segmenter.open(pixels, "digest-0", "seg-0"):
            pass


async def test_one_worker_that_cannot_start_ends_the_others() -> None:
    wanted = settings(segmenter_devices="cpu,cuda:9")
    segmenter = SegmenterPool(wanted, lambda _: Silent())
    with pytest.raises(NotReady, match="cuda:9"):
        await segmenter.start()
    assert [worker.pid for worker in segmenter.workers.values()] == [None, None]
