"""Puts the real models behind the gateway. The only module that imports both."""

from wise_mini import REASONER_FOLDER, REASONER_IMAGE_SIZE
from wise_serve.gateway import Gateway, build_gateway
from wise_serve.metrics import Metrics
from wise_serve.reasoner.engine import VllmReasoner
from wise_serve.segmenter.client import SegmenterClient
from wise_serve.settings import Settings


def compose(settings: Settings) -> Gateway:
    """Nothing is loaded yet: the application's lifespan starts the models."""
    metrics = Metrics()
    segmenter = SegmenterClient(settings, metrics.segmenter)
    reasoner = VllmReasoner(settings, REASONER_FOLDER, REASONER_IMAGE_SIZE)
    return build_gateway(settings, reasoner, segmenter, metrics)
