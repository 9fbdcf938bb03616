"""Ray's router reads a call's digest, and a caller's header, and follows `wise_serve.placement`."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private.http_util import parse_session_id_header

from wise_serve.placement import ranked
from wise_serve.ray.routing import ByDigest

NAMES = ("a", "b", "c")


def chosen(loads: dict[str, int | None], session: str = "", **named: Any) -> list[list[str]]:
    """Ranks of replicas, by their names; `loads` as the router knows them, None: not known."""
    replicas = [
        SimpleNamespace(replica_id=SimpleNamespace(unique_id=name), name=name) for name in loads
    ]
    router: Any = SimpleNamespace(
        replica_queue_len_cache=SimpleNamespace(get=lambda replica: loads[replica.unique_id])
    )
    request: Any = SimpleNamespace(kwargs=named, metadata=SimpleNamespace(session_id=session))
    ranks = asyncio.run(ByDigest.choose_replicas(router, replicas, request))
    return [[one.name for one in rank] for rank in ranks]


def idle() -> dict[str, int | None]:
    return dict.fromkeys(NAMES)


def test_a_call_goes_to_the_places_of_its_image_in_their_order() -> None:
    order = [[name] for name in ranked("image", NAMES)]
    assert chosen(idle(), digest="image", attempt=0) == order
    assert chosen(idle(), digest="image", attempt=1) == [*order[1:], order[0]]


def test_a_full_replica_comes_last() -> None:
    first, *others = ranked("image", NAMES)
    loads = idle() | {first: 20}
    assert chosen(loads, digest="image", attempt=0) == [[one] for one in (*others, first)]


def test_a_callers_request_goes_by_its_header() -> None:
    order = [[name] for name in ranked("image", NAMES)]
    assert chosen(idle(), "image") == order


def test_what_names_no_image_goes_to_the_least_loaded_of_all() -> None:
    assert chosen(idle()) == [list(NAMES)]


def test_rays_own_header_of_a_session_can_be_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.serve._private.http_util.SERVE_SESSION_ID", "x-image-digest")
    assert parse_session_id_header({b"x-image-digest": b"image"}) == "image"


def test_without_replicas_there_is_nothing_to_choose() -> None:
    assert chosen({}, digest="image", attempt=0) == []
