"""The facts that the checks of `wise-serve check` share, and one line of its report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from wise_serve.device import Gpu
from wise_serve.reasoner.strategies import Strategy
from wise_serve.settings import NO_REASONER, Settings

Outcome = Literal["ok", "warning", "failure"]

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. `advice`: what to change, unless the outcome is ok."""

    name: str
    outcome: Outcome
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What several checks need to know.

    gpu_error: why there are no `gpus`; empty if there are. reasoner_bytes, segmenter_bytes: size
    of the weights; None if it is unknown.
    """

    settings: Settings
    strategies: Mapping[str, Strategy]
    gpus: list[Gpu]
    gpu_error: str
    reasoner_bytes: int | None
    segmenter_bytes: int | None

    @property
    def reasons(self) -> bool:
        """Whether a reasoner is wanted: without one, vLLM is not used."""
        return self.settings.reasoner != NO_REASONER

    @property
    def on_gpu(self) -> bool:
        """Whether the models will run on a GPU: there is one, and the CPU was not chosen."""
        return bool(self.gpus) and self.settings.device != "cpu"


def size_text(size_bytes: int) -> str:
    """A size for people to read: '1.5 GiB', '20.0 MiB'."""
    return f"{size_bytes / GIB:.1f} GiB" if size_bytes >= GIB else f"{size_bytes / 2**20:.1f} MiB"
