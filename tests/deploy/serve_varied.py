"""Serves fakes whose answers differ by strategy, and whose segmenter tells what it does."""

import itertools
import sys

from fakes import FOUND, FakeReasoner, FakeSegmenter
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.runtime import build_runtime
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.server.serving import serve
from wise_serve.settings import Settings

_NUMBER = itertools.count()


def script(prompt: str) -> str:
    """Longer where the prompt does not ask for brevity; one answer in ten cannot be read."""
    number = next(_NUMBER)
    if number % 10 == 9:
        return "<think> I do not know </think>"
    words = 4 if "within 10 words" in prompt else 12 if "streamlined" in prompt else 60
    rationale = " ".join(["round"] * (words + number % 5))
    return FOUND.replace("red circle, upper left", rationale)


if __name__ == "__main__":
    metrics = Metrics()
    segmenter = FakeSegmenter(
        encode_s=0.004, decode_s=0.002, observer=metrics.segmenter.worker("0")
    )
    runtime = build_runtime(Settings(port=0), STRATEGIES, FakeReasoner(script), segmenter, metrics)
    sys.exit(serve(runtime))
