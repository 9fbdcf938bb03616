"""Which replica a call goes to: the one that has the image, unless it has more than its share.

The rule of `wise_serve.placement`, as Ray's request router. Each ingress replica has a router of
its own, which knows the load that it was last told of, and what it has sent since.
"""

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from wise_serve.placement import in_order


class ByDigest(RequestRouter):  # type: ignore[misc]  # Ray is not installed where mypy runs
    """Reads two keyword arguments of a call: `digest` names its image; `attempt`, from 0, counts
    how often it was sent before, so that a repetition goes to another replica. Of a caller's
    request, on its way to the ingress, it reads the session's id. With Ray's variable
    RAY_SERVE_SESSION_ID_HEADER_KEY=x-image-digest that is the header which our client sends, so
    that a known image is found by the ingress replica that it was sent to."""

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
        digest, attempt = _named(pending_request)
        if not digest:
            return [candidate_replicas]
        return [[replicas[name]] for name in in_order(digest, loads, attempt)]


def _named(request: PendingRequest | None) -> tuple[str, int]:
    """The digest that a call names, and its attempt; an empty digest if it names none."""
    if request is None:
        return "", 0
    if "digest" in request.kwargs:
        return request.kwargs["digest"], request.kwargs["attempt"]
    return request.metadata.session_id, 0
