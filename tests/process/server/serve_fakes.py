"""Serves the fakes as the command line serves the real models; run by test_serving.py."""

import os
import sys
from collections import deque

from fakes import FakeReasoner, FakeSegmenter
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.runtime import build_runtime
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.server.serving import serve
from wise_serve.settings import Settings

if __name__ == "__main__":
    fails = RuntimeError("no weights") if "--fail" in sys.argv else None
    # They remember no more than the last one, so that they can run for long.
    reasoner = FakeReasoner(
        delay_s=float(os.environ["DELAY_S"]), start_error=fails, requests=deque(maxlen=1)
    )
    metrics = Metrics()
    observer = metrics.segmenter.worker("0")
    segmenter = FakeSegmenter(prompts=deque(maxlen=1), observer=observer)
    settings = Settings(port=int(os.environ.get("WISE_PORT", "0")))
    sys.exit(serve(build_runtime(settings, STRATEGIES, reasoner, segmenter, metrics)))
