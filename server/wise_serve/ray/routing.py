"""Which replica a call goes to: the one that has the image, unless it has more than its share.

The rule of `wise_serve.placement`, as Ray's request router. Each ingress replica has a router of
its own. It knows the load that each replica last reported, and the calls it has sent since.
"""

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from wise_serve.placement import in_order


class ByDigest(RequestRouter):  # type: ignore[misc]  # Ray is not installed where mypy runs
    """Reads two keyword arguments of a call: `digest` names the image; `attempt`, from 0, counts
    the attempts before this one, so that a repeated call goes to another replica.

    For a caller's request, on its way to the ingress, it reads the session's id. With Ray's
    variable RAY_SERVE_SESSION_ID_HEADER_KEY=x-image-digest this is the header that our client
    sends, so a request about a known image reaches the ingress replica that has it."""

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """The replicas in the order in which Ray tries them, one in each rank. Without a digest all
        of them form one rank, and Ray chooses the least loaded."""
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
    """The digest in a call, empty if it has none, and the number of its attempt."""
    if request is None:
        return "", 0
    if "digest" in request.kwargs:
        return request.kwargs["digest"], request.kwargs["attempt"]
    return request.metadata.session_id, 0
