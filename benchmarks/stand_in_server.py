"""A server with a real segmenter and a timed stand-in for the reasoner, for `gpu_server.py`.

The stand-in writes the same answer of about 60 tokens for every query, at a fixed rate. So it says
nothing about the reasoner's speed; it shows the segmenter and the gateway behind a fast reasoner.
"""

import sys

from fakes import FOUND, FakeReasoner
from wise_serve.cli.flags import settings_from
from wise_serve.cli.main import make_parser
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.runtime import build_runtime
from wise_serve.reasoner.strategies import load_strategies
from wise_serve.segmenter.supervisor.client import SegmenterClient
from wise_serve.server.serving import serve

TOKEN_S = 0.008  # roughly vLLM's time for a 7B model at some tens of requests

if __name__ == "__main__":
    parser = make_parser()
    settings = settings_from(parser, vars(parser.parse_args(["serve", *sys.argv[1:]])))
    metrics = Metrics()
    stand_in = FakeReasoner(lambda prompt: FOUND, delay_s=TOKEN_S, name="timed stand-in")
    segmenter = SegmenterClient(settings, metrics.segmenter.worker("0"))
    sys.exit(
        serve(build_runtime(settings, load_strategies(settings), stand_in, segmenter, metrics))
    )
