"""What Ray Serve costs, and how far it scales: two measurements, one after the other.

1. Scaling, with stand-ins that sleep in place of the models (`ray_stand_ins`: 60 ms an answer, 20
   ms an image, one at a time in each replica; then ten times as slow), so that the machine's cores
   do not limit the models. For 1, 2, 4 and 8 replicas of each: answers a second against N times
   what one replica can do, and the processor time of each kind of process for a request, from which
   their own limits follow. Images of 256 x 256: what larger ones cost to decode is no question to
   Ray.
2. Cost, with the packaged miniature: the single server and the same on Ray run side by side and are
   asked in turn (one, the other, one, ...), so that both meet the same machine. In each round the
   same scenes for both, one caller and then eight.

    make ray-scaling

Callers share the machine with what they measure. The last line is one JSON object.
"""

import argparse
import asyncio
import itertools
import json
from typing import Any, Final

from in_turn import Load, in_turn
from ray_cluster import APPLICATION, deploy, ray_cluster
from ray_load import Used, small_images
from ray_stand_ins import (
    ENCODE_S,
    REASON_S,
    TenfoldReasonerReplica,
    TenfoldSegmenterReplica,
    TimedReasonerReplica,
    TimedSegmenterReplica,
)
from running import running_server
from wise_serve.ray.application import app, build, read_settings

REPLICAS: Final = (1, 2, 4, 8)
CALLERS_A_REPLICA: Final = 6  # callers for each replica: enough that no replica is idle
SECONDS: Final = 15.0
ROUNDS: Final = 4
SLOTS: Final = 128  # requests at once in the ingress, above all callers
_PACES: Final = {
    1: (TimedReasonerReplica, TimedSegmenterReplica),
    10: (TenfoldReasonerReplica, TenfoldSegmenterReplica),
}


def scaling(url: str, slower: int, replicas: int, seconds: float) -> dict[str, float]:
    """Stand-ins: one row of the table."""
    settings = read_settings({"max_inflight_requests": SLOTS})
    deploy(build(settings, *_PACES[slower], replicas))
    callers = CALLERS_A_REPLICA * replicas
    most = int(seconds * replicas / (REASON_S * slower)) + 2 * callers
    fresh = small_images(most, replicas)  # no image is sent twice, so each one is encoded
    asyncio.run(Load(url, fresh[:callers], callers).run())  # connections, routes, queue lengths
    used = Used()
    load = asyncio.run(Load(url, fresh, callers).run(seconds))
    return {
        "slower": slower,
        "replicas": replicas,
        "callers": callers,
        "rate": load.rate,
        "of_ideal": load.rate * REASON_S * slower / replicas,
        "p50_ms": load.quantile_ms(0.5),
        "p99_ms": load.quantile_ms(0.99),
        **{f"{kind}_cpu_ms": ms for kind, ms in used.ms_a_request(len(load.latency_s)).items()},
    }


def at_rest(url: str) -> dict[str, float]:
    """Stand-ins: what ingress and Ray add to an answer when nothing waits."""
    load = asyncio.run(Load(url, small_images(60, 99), 1).run())
    return {"p50_ms": load.quantile_ms(0.5), "added_ms": load.quantile_ms(0.5) - REASON_S * 1000}


def main() -> None:
    """Measure, print as it goes, and all of it in the last line."""
    parser = argparse.ArgumentParser(description="What Ray Serve costs, and how far it scales.")
    parser.add_argument("--part", choices=["scaling", "miniature", "both"], default="both")
    parser.add_argument("--slower", type=int, choices=_PACES, nargs="+", default=[*_PACES])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each row; default: 15")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the miniature; default: 4")
    args = parser.parse_args()

    def show(found: Any) -> None:
        print(json.dumps(found), flush=True)

    result: dict[str, Any] = {"reason_ms": REASON_S * 1000, "encode_ms": ENCODE_S * 1000}
    if args.part != "miniature":
        with ray_cluster(cpus=32) as url:
            result["scaling"] = []
            for slower, replicas in itertools.product(args.slower, REPLICAS):
                result["scaling"].append(scaling(url, slower, replicas, args.seconds))
                show(result["scaling"][-1])
                if (slower, replicas) == (1, 1):
                    result["at_rest"] = at_rest(url)
                    show(result["at_rest"])
    if args.part != "scaling":
        with ray_cluster() as url, running_server() as server:
            deploy(app({}))
            urls = {"single_server": server.url, "on_ray": url}
            result["miniature"] = in_turn(urls, args.rounds, show)
            show(result["miniature"]["ratio"])
    show({"benchmark": "ray_scaling", "application": APPLICATION, **result})


if __name__ == "__main__":
    main()
