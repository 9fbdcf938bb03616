"""The supervisor itself goes on when the machine is short of processes, or says that it gave up."""

import asyncio
import contextlib
import os
import signal
from typing import Any

import pytest

import quick_worker
from segmenting import gone, segmenting, until
from wise_serve.contract.errors import Overloaded
from wise_serve.segmenter.supervisor import client
from wise_serve.segmenter.supervisor.client import SegmenterClient
from wise_serve.segmenter.wire import messages as protocol

QUICK = (quick_worker.__file__,)


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RESPAWN_PAUSE_S", 0.05)


def fail_starts(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int) -> None:
    """Let the next starts of a process fail, as on a machine that has no room for one."""
    real, failures = asyncio.create_subprocess_exec, iter([error] * times)

    async def start(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        if (failure := next(failures, None)) is not None:
            raise failure
        return await real(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)


def kill(segmenter: SegmenterClient) -> None:
    assert segmenter.pid is not None
    os.kill(segmenter.pid, signal.SIGKILL)


async def test_a_start_that_fails_once_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with segmenting(QUICK) as (segmenter, recorder):
        fail_starts(monkeypatch, BlockingIOError("Resource temporarily unavailable"), times=1)
        kill(segmenter)
        await until(lambda: segmenter.restarts == 2 and segmenter.alive, 20)
        assert not segmenter.failed
        assert recorder.restarts == 2


@pytest.mark.parametrize(
    ("error", "times"), [(MemoryError(), 1), (BlockingIOError("Resource unavailable"), 2)]
)
async def test_a_supervisor_that_cannot_go_on_has_failed(
    monkeypatch: pytest.MonkeyPatch, error: Exception, times: int
) -> None:
    async with segmenting(QUICK) as (segmenter, _):
        fail_starts(monkeypatch, error, times)
        kill(segmenter)
        await until(lambda: segmenter.failed, 20)
        assert not segmenter.alive


async def test_a_worker_that_hangs_with_a_full_channel_is_replaced() -> None:
    async with segmenting(QUICK, heartbeat_s=0.2) as (segmenter, _):
        pid, worker = segmenter.pid, segmenter._worker
        assert pid is not None
        assert worker is not None
        os.kill(pid, signal.SIGSTOP)
        with contextlib.suppress(Overloaded):
            while True:
                worker.send(protocol.Cancel(1, "x" * 64))
        await until(lambda: segmenter.alive and segmenter.pid != pid, 30)
        assert gone(pid)
