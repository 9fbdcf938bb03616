"""Downloads checkpoints before the models start, and reports the progress.

So the start-up deadline does not include downloads.

The files go to the hub's cache, where both models then find them.
"""

import asyncio
import io
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from tqdm.std import tqdm

from wise_serve.contract.errors import NotReady
from wise_serve.hub import explain
from wise_serve.observe import logs
from wise_serve.settings import MINIATURE, NO_REASONER, Settings

REPORT_EVERY_S: Final = 5.0
_WEIGHTS: Final = ("*.safetensors", "*.bin", "*.pt")
# A repository may hold the same weights in several formats: vLLM reads safetensors, else bin.
_OTHER_FORMATS: Final = ("*.pt", "*.pth", "*.gguf", "*.onnx", "*.h5", "*.msgpack", "original/*")
_SAM2_ON_HUB: Final = "facebook/sam2"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The files of a hub repository that a model reads.

    allow: their patterns; None: all except those that `ignore` matches. cache_dir: None: the hub's.
    """

    name: str
    allow: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    revision: str | None = None
    cache_dir: str | None = None

    def reads(self, file: str) -> bool:
        """Whether the model reads `file`, a path in the repository; the hub's rule of patterns."""
        allowed = self.allow is None or any(fnmatch(file, one) for one in self.allow)
        return allowed and not any(fnmatch(file, one) for one in self.ignore)


def checkpoints_of(settings: Settings, engine_args: dict[str, Any]) -> list[Checkpoint]:
    """The checkpoints that must come from the hub: not folders, files and the miniature.

    A checkpoint with a `load_format` in `engine_args` is not in it either: only vLLM knows its
    files.
    """
    wanted = []
    if settings.segmenter.startswith(_SAM2_ON_HUB) and not Path(settings.segmenter).exists():
        wanted.append(Checkpoint(settings.segmenter, allow=("*.pt",)))
    own = settings.reasoner in (MINIATURE, NO_REASONER) or Path(settings.reasoner).exists()
    if not own and "load_format" not in engine_args:
        revision, cache_dir = engine_args.get("revision"), engine_args.get("download_dir")
        wanted.append(
            Checkpoint(
                settings.reasoner, ignore=_OTHER_FORMATS, revision=revision, cache_dir=cache_dir
            )
        )
    return wanted


class Downloads:
    """Downloads what is not on this machine yet; `progress` says how far it is."""

    def __init__(self, wanted: Sequence[Checkpoint], report_every_s: float = REPORT_EVERY_S):
        self._wanted = wanted
        self._report_every_s = report_every_s
        self._stopped = threading.Event()
        self._name = ""
        self._done_bytes = self._total_bytes = 0

    @property
    def progress(self) -> str:
        """Such as 'downloading, 43 %'; empty while nothing is downloaded."""
        return f"downloading, {self._percent} %" if self._total_bytes else ""

    async def run(self) -> None:
        """Return when every file is on this machine; without a deadline, as links are slow.

        Raises NotReady, whose message says what to do. Cancelled, it ends at the next bytes.
        """
        for checkpoint in self._wanted:
            fetch = asyncio.create_task(asyncio.to_thread(self._fetch, checkpoint))
            try:
                while not (await asyncio.wait([fetch], timeout=self._report_every_s))[0]:
                    self._log()
                await fetch
            except asyncio.CancelledError:
                self._stopped.set()
                raise
            except Exception as error:  # of several libraries, as the network fails in many ways
                failure = explain(error)
                message = f"'{checkpoint.name}': {failure.found}. {failure.advice}"
                raise NotReady(message) from error
            finally:
                self._total_bytes = 0

    @property
    def _percent(self) -> int:
        return min(100, 100 * self._done_bytes // self._total_bytes)

    def _log(self) -> None:
        if self._total_bytes:
            fields = {
                "checkpoint": self._name,
                "done_bytes": self._done_bytes,
                "total_bytes": self._total_bytes,
                "percent": self._percent,
            }
            logs.event(logging.INFO, "downloading", fields)

    def _fetch(self, checkpoint: Checkpoint) -> None:
        """Runs in a thread of its own."""
        asked, ignored = _asked(checkpoint), [*checkpoint.ignore]
        if cached_folder(checkpoint) is not None:
            return
        silent = _bar_class(lambda done: None)
        files = snapshot_download(
            checkpoint.name, **asked, ignore_patterns=ignored, dry_run=True, tqdm_class=silent
        )
        if any(file.filename.endswith(".safetensors") for file in files):
            ignored.append("*.bin")
            files = [file for file in files if not file.filename.endswith(".bin")]
        self._name, self._done_bytes = checkpoint.name, 0
        self._total_bytes = sum(file.file_size or 0 for file in files if file.will_download)
        self._log()
        snapshot_download(
            checkpoint.name,
            **asked,
            ignore_patterns=ignored,
            tqdm_class=_bar_class(self._count),
        )

    def _count(self, done_bytes: int) -> None:
        if self._stopped.is_set():
            raise InterruptedError("the server stops")
        self._done_bytes = max(self._done_bytes, done_bytes)


def cached_folder(checkpoint: Checkpoint) -> Path | None:
    """The folder in the hub's cache that holds all files of the checkpoint; None if some are
    missing. Raises HFValidationError if no repository can have this name."""
    ignored = [*checkpoint.ignore, "*.bin"]
    try:
        found = snapshot_download(
            checkpoint.name, **_asked(checkpoint), ignore_patterns=ignored, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    folder = Path(found)
    has_weights = any(any(folder.glob(pattern)) for pattern in checkpoint.allow or _WEIGHTS)
    return folder if has_weights else None


def _asked(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "revision": checkpoint.revision,
        "cache_dir": checkpoint.cache_dir,
        "allow_patterns": checkpoint.allow,
    }


def _bar_class(count: Callable[[int], None]) -> type:
    """A progress bar for the hub's client that draws nothing and gives `count` the bytes so far."""

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no thread that redraws bars

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "file": io.StringIO()})

        def update(self, n: float | None = 1) -> bool | None:
            updated: bool | None = super().update(n)
            if self.unit == "B":
                count(int(self.n))
            return updated

    return Bar
