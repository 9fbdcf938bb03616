"""A device without free memory, or a lost one, with the real worker and client: which requests
fail."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest
from PIL import Image

import faulty_worker
from fakes import FakeReasoner
from faulty_worker import LOST, SLOW, SLOW_S, TOO_LARGE, TOO_LARGE_TO_DECODE
from pictures import encode
from processes import Process
from segmenting import Recorder, assert_right, gone, scene, segment, segmenting, settings, until
from wise_serve.contract.errors import Overloaded, SegmenterLost
from wise_serve.http.app import build_app
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.runtime import build_runtime
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.segmenter.supervisor.client import SegmenterClient

WORKER = (str(faulty_worker.__file__),)


@pytest.fixture
async def client() -> AsyncIterator[tuple[SegmenterClient, Recorder]]:
    # All of a test's requests come into one batch.
    async with segmenting(WORKER, batch_wait_ms=200) as made:
        yield made


async def test_out_of_memory_fails_only_the_image_that_does_not_fit_alone(
    client: tuple[SegmenterClient, Recorder],
) -> None:
    segmenter, recorder = client
    pid = segmenter.pid
    marks = {3: TOO_LARGE, 5: TOO_LARGE_TO_DECODE}
    results = await asyncio.gather(
        *(segment(segmenter, seed, marks.get(seed)) for seed in range(8)), return_exceptions=True
    )
    assert max(size for operation, size in recorder.batches if operation == "encode") == 8
    for seed, result in enumerate(results):
        if seed in marks:
            assert isinstance(result, Overloaded)
        else:
            assert isinstance(result, list)
            assert_right(result, seed)
    assert (segmenter.pid, segmenter.restarts) == (pid, 0)


async def test_a_lost_device_restarts_the_worker(
    client: tuple[SegmenterClient, Recorder],
) -> None:
    segmenter, _ = client
    pid = segmenter.pid
    assert pid is not None
    results = await asyncio.gather(
        *(segment(segmenter, seed, LOST if seed == 1 else None) for seed in range(4)),
        return_exceptions=True,
    )
    assert all(isinstance(result, SegmenterLost) for result in results)
    await until(lambda: segmenter.alive, 60)
    assert (segmenter.pid != pid, gone(pid), segmenter.restarts) == (True, True, 1)
    assert_right(await segment(segmenter, 1), 1)


async def test_leaving_a_running_batch_frees_all_and_does_not_change_other_answers(
    client: tuple[SegmenterClient, Recorder],
) -> None:
    segmenter, recorder = client
    assert segmenter.pid is not None
    worker = Process(segmenter.pid, "segmenter")
    tasks = [asyncio.create_task(segment(segmenter, seed, SLOW)) for seed in (0, 1)]
    tasks += [asyncio.create_task(segment(segmenter, seed)) for seed in (2, 3)]
    await until(lambda: worker.shared_images == 4, 5)
    await asyncio.sleep(0.4)  # the batch is in the model
    queued = asyncio.create_task(segment(segmenter, 4))
    await until(lambda: worker.shared_images == 5, 5)
    for task in (tasks[1], tasks[3], queued):
        task.cancel()
    await until(lambda: worker.shared_images == 4, SLOW_S / 2)  # the queued one's is gone already
    await asyncio.gather(*tasks, queued, return_exceptions=True)
    assert [task.cancelled() for task in tasks] == [False, True, False, True]
    assert_right(tasks[2].result(), 2)
    await until(lambda: worker.shared_images == 0, 5)
    assert sum(size for operation, size in recorder.batches if operation == "encode") == 4


async def test_over_http_only_the_image_that_does_not_fit_is_refused() -> None:
    reasoner = FakeReasoner()
    parts = reasoner, SegmenterClient(settings(), None, WORKER), Metrics()
    app = build_app(build_runtime(settings(batch_wait_ms=200), STRATEGIES, *parts))

    async def ask(http: httpx.AsyncClient, seed: int) -> httpx.Response:
        pixels = scene(seed)[1].copy()
        pixels[0, 0] = TOO_LARGE if seed == 2 else (0, 0, 0)
        files = {"image": ("a.png", encode(Image.fromarray(pixels.astype(np.uint8))))}
        return await http.post("/segment", files=files, data={"query": "x"})

    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        async with asyncio.timeout(60):
            while (await client.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)
        responses = await asyncio.gather(*(ask(client, seed) for seed in range(4)))
    assert [response.status_code for response in responses] == [200, 200, 429, 200]
    assert responses[2].json()["code"] == "overloaded"
