"""A Ray of its own on loopback with the server on it, for tests and benchmarks."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final

import psutil
from ray.serve.config import HTTPOptions

import ray
from ray import serve
from running import free_port

OBJECT_STORE_BYTES: Final = 256 * 2**20
APPLICATION: Final = "wise-serve"
# Ray's environment as docs/ray.md recommends it; a variable that is set already is kept.
SETTINGS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_SERVE_SESSION_ID_HEADER_KEY": "x-image-digest",
}


@contextlib.contextmanager
def ray_cluster(cpus: int = 8) -> Iterator[str]:
    """Ray with Serve's proxy on a free loopback port; yields its address. `cpus`: the
    number that Ray assumes, which limits what it places on the machine, whose own number may be
    smaller."""
    os.environ.update({name: os.environ.get(name, value) for name, value in SETTINGS.items()})
    port = free_port()
    ray.init(
        address="local",  # one of its own, whatever else runs
        num_cpus=cpus,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
    )
    try:
        if not ray.get_runtime_context().gcs_address.startswith("127.0.0.1:"):
            raise RuntimeError("Set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0: Ray's ports must be ours.")
        serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port))
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def deploy(application: Any) -> None:
    """Run the application, or bring what runs to this one; returns when all replicas answer."""
    serve.run(application, name=APPLICATION, route_prefix="/")


def replica_processes(deployment: str) -> list[psutil.Process]:
    """The processes of a deployment's replicas, the oldest first."""
    title = f"ray::ServeReplica:{APPLICATION}:{deployment}"
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if " ".join(process.cmdline()).startswith(title):
                found.append(process)
    return sorted(found, key=lambda one: one.create_time())
