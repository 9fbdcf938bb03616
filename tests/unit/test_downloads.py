"""Checkpoints are downloaded before the models start: what, how far, and what a failure says."""

import asyncio
import errno
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from fakes import FakeReasoner, FakeSegmenter
from wise_serve import downloads
from wise_serve.contract.errors import NotReady
from wise_serve.downloads import Checkpoint, Downloads, checkpoints_of
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.runtime import build_runtime
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.settings import Settings


class Hub:
    """In place of `snapshot_download`: two files of 100 bytes, 43 of which come before `more`."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.more = threading.Event()
        self.cached: Path | None = None
        self.error: Exception | None = None

    def __call__(self, name: str, **asked: Any) -> Any:
        if asked.get("local_files_only"):
            if self.cached is None:
                raise LocalEntryNotFoundError("not here")
            return str(self.cached)
        if self.error is not None:
            raise self.error
        if asked.get("dry_run"):
            names = {"a.safetensors": 60, "b.json": 40, "a.bin": 60}
            return [
                SimpleNamespace(filename=file, file_size=size, will_download=True)
                for file, size in names.items()
            ]
        self.asked.append(asked)
        bar = asked["tqdm_class"](total=0, unit="B", unit_scale=True, desc="x", initial=0)
        bar.update(43)
        assert self.more.wait(5)
        bar.update(57)
        return "folder"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake = Hub()
    monkeypatch.setattr(downloads, "snapshot_download", fake)
    return fake


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_progress_is_reported_and_the_deadline_does_not_run(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    loads = Downloads([Checkpoint("a/b")], report_every_s=0.01)
    settings = Settings(device="cpu", startup_deadline_s=0.05)
    runtime = build_runtime(settings, STRATEGIES, FakeReasoner(), FakeSegmenter(), Metrics(), loads)
    runtime.lifecycle.start()
    try:
        await until(lambda: loads.progress == "downloading, 43 %")
        await asyncio.sleep(0.1)  # twice the deadline
        with pytest.raises(NotReady, match="downloading, 43 %"):
            runtime.lifecycle.check_ready()
        hub.more.set()
        await until(lambda: runtime.lifecycle.ready)
    finally:
        hub.more.set()
        await runtime.lifecycle.stop()
        runtime.threads.close()
    lines = [vars(r)["fields"] for r in caplog.records if r.message == "downloading"]
    wanted = {"checkpoint": "a/b", "done_bytes": 43, "total_bytes": 100, "percent": 43}
    assert wanted in lines
    assert "*.bin" in hub.asked[0]["ignore_patterns"]


async def test_what_is_cached_is_not_downloaded(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    hub.cached = tmp_path
    await Downloads([Checkpoint("a/b")]).run()
    assert not hub.asked


async def test_a_cached_folder_without_weights_is_completed(hub: Hub, tmp_path: Path) -> None:
    hub.cached = tmp_path
    hub.more.set()
    await Downloads([Checkpoint("a/b")]).run()
    assert len(hub.asked) == 1


async def test_a_stop_ends_the_download(hub: Hub) -> None:
    loads = Downloads([Checkpoint("a/b")])
    run = asyncio.create_task(loads.run())
    await until(lambda: bool(hub.asked))
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    hub.more.set()
    with pytest.raises(InterruptedError):
        loads._count(100)
    assert loads.progress == ""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (HFValidationError("bad"), "Check the spelling"),
        (ConnectionError("offline\nmore"), "Offline install"),
        (LocalEntryNotFoundError("a\nb"), "Offline install"),
    ],
)
async def test_a_failure_is_one_line_that_says_what_to_do(
    hub: Hub, error: Exception, said: str
) -> None:
    hub.error = error
    with pytest.raises(NotReady, match=said) as raised:
        await Downloads([Checkpoint("a/b")]).run()
    assert "\n" not in str(raised.value)


def test_folders_and_the_miniature_are_not_on_the_hub(tmp_path: Path) -> None:
    assert not checkpoints_of(Settings(), {})
    assert not checkpoints_of(Settings(reasoner=str(tmp_path), segmenter=str(tmp_path)), {})
    assert not checkpoints_of(Settings(reasoner="a/b"), {"load_format": "gguf"})
    named = Settings(reasoner="a/b", segmenter="facebook/sam2-hiera-large")
    sam, reasoner = checkpoints_of(named, {"revision": "v1", "download_dir": "/w"})
    assert (sam.name, sam.allow) == ("facebook/sam2-hiera-large", ("*.pt",))
    assert (reasoner.name, reasoner.revision, reasoner.cache_dir) == ("a/b", "v1", "/w")
