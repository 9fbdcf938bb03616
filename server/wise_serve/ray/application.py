"""The Ray Serve application: its deployments, and how many requests each accepts.

What is set here follows from the settings. Numbers of replicas, GPUs and autoscaling are set in
Serve's configuration file, by the deployments' names (`deploy/ray/serve.yaml`).
"""

from typing import Any, Final

from pydantic import ValidationError
from ray.serve.config import RequestRouterConfig
from ray.serve.schema import LoggingConfig

from ray import serve
from wise_serve.ray.board import Board
from wise_serve.ray.ingress import Ingress
from wise_serve.ray.replicas import ReasonerReplica, SegmenterReplica
from wise_serve.reasoner.strategies import load_strategies
from wise_serve.settings import NO_REASONER, Settings

INGRESS: Final = "Ingress"
REASONER: Final = "Reasoner"
SEGMENTER: Final = "Segmenter"
BOARD: Final = "Board"

# Requests besides those for the models that an ingress replica answers at once: probes, pages.
_OTHER_REQUESTS: Final = 64
# What Ray counts for a replica: one of each fits on two cores, for a first try.
_CPUS: Final = {INGRESS: 0.5, REASONER: 1.0, SEGMENTER: 0.5}
_ROUTER: Final = "wise_serve.ray.routing.ByDigest"
_HEALTH_EVERY_S: Final = 2.0
_UNBOUNDED: Final = -1
# The ingress logs each request already; Ray would write three more lines for each.
_LOGGING: Final = LoggingConfig(enable_access_log=False)


def app(args: dict[str, Any]) -> Any:
    """Ray Serve's application builder. `args`: the server's settings by their names; settings that
    are not in `args` come from the environment (`WISE_...`), as for `wise-serve serve`.

    Raises ValueError for a setting that is wrong, or that has no meaning on Ray, StrategyError for
    a strategy file that cannot be used.
    """
    settings = read_settings(args)
    load_strategies(settings)
    return build(settings)


def build(
    settings: Settings,
    reasoner_replica: type = ReasonerReplica,
    segmenter_replica: type = SegmenterReplica,
    replicas: int = 1,
    ingresses: int = 1,
) -> Any:
    """The bound application, with `replicas` replicas of each model and `ingresses` of the ingress.
    Tests and benchmarks give classes of their own in place of the models'."""
    board = serve.deployment(name=BOARD, ray_actor_options={"num_cpus": 0})(Board).bind()
    segmenter = _deployment(SEGMENTER, segmenter_replica, settings, replicas)
    models = [segmenter.bind(settings, board)]
    if settings.reasoner != NO_REASONER:
        reasoner = _deployment(REASONER, reasoner_replica, settings, replicas)
        models.append(reasoner.bind(settings, board))
    return _ingress(settings, ingresses).bind(settings, board, *models)


def read_settings(args: dict[str, Any]) -> Settings:
    """The settings of a builder's `args`. Raises ValueError, in one line for each mistake."""
    try:
        settings = Settings(**args)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ValueError("wise-serve on Ray: " + "; ".join(wrong)) from None
    if settings.ops_port is not None:
        raise ValueError(
            "wise-serve on Ray: ops_port: Ray's proxy has one port; leave this setting out."
        )
    return settings


def _deployment(name: str, replica: type, settings: Settings, replicas: int) -> Any:
    """A model's deployment. Calls beyond `max_ongoing_requests` a replica wait at the ingress. Its
    admission bounds them: a limit here would count calls, of which one request makes many (one for
    each query and each instance), and so refuse requests that were admitted."""
    return serve.deployment(
        name=name,
        num_replicas=replicas,
        max_ongoing_requests=settings.max_inflight_requests,
        max_queued_requests=_UNBOUNDED,
        graceful_shutdown_timeout_s=settings.drain_deadline_s,
        health_check_period_s=_HEALTH_EVERY_S,
        logging_config=_LOGGING,
        request_router_config=RequestRouterConfig(request_router_class=_ROUTER),
        ray_actor_options={"num_cpus": _CPUS[name]},
    )(replica)


def _ingress(settings: Settings, replicas: int) -> Any:
    """Ray passes every request on, since our own admission refuses too many of them with a problem
    document."""
    inside = settings.max_inflight_requests + settings.max_queued_requests
    return serve.deployment(
        name=INGRESS,
        num_replicas=replicas,
        max_ongoing_requests=2 * inside + _OTHER_REQUESTS,
        max_queued_requests=_UNBOUNDED,
        graceful_shutdown_timeout_s=settings.drain_deadline_s,
        health_check_period_s=_HEALTH_EVERY_S,
        logging_config=_LOGGING,
        health_check_timeout_s=settings.startup_deadline_s,
        request_router_config=RequestRouterConfig(request_router_class=_ROUTER),
        ray_actor_options={"num_cpus": _CPUS[INGRESS]},
    )(serve.ingress()(Ingress))
