"""Which replica a call goes to: the one that has the image, unless it has more than its share.

The rule of `wise_serve.placement`, as Ray's request router. Each ingress replica has a router of
its own, which knows the load that it was last told of, and what it has sent since.
"""

from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from wise_serve.placement import in_order


class ByDigest(RequestRouter):  # type: ignore[misc]  # Ray is not installed where mypy runs
    """Reads two keyword arguments of a call: `digest` names its image; `attempt`, from 0, counts
    how often it was sent before, so that a repetition goes to another replica."""

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """The replicas in the order in which they are tried, each a rank of its own. Of a call
        without a digest all are one rank, of which Ray takes the least loaded."""
        if not candidate_replicas:
            return []
        replicas = {one.replica_id.unique_id: one for one in candidate_replicas}
        known = self.replica_queue_len_cache
        loads = {name: known.get(one.replica_id) or 0 for name, one in replicas.items()}
        asked: dict[Any, Any] = pending_request.kwargs if pending_request is not None else {}
        digest, attempt = asked.get("digest"), asked.get("attempt", 0)
        if digest is None:
            return [candidate_replicas]
        return [[replicas[name]] for name in in_order(digest, loads, attempt)]
