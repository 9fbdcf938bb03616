"""`stream: true`: server-sent events."""

import asyncio

import pytest

from fakes import FakeReasoner, FakeSegmenter
from gateways import Start
from pictures import picture
from streams import TWO, events


async def test_events_come_in_order_and_agree_with_the_whole(start: Start) -> None:
    server = await start(reasoner=FakeReasoner(script=lambda _: TWO))
    got = events(await server.form(strategy="vision-reasoner", stream="true"))
    names = [name for name, _ in got]
    assert names[0] == "thinking"
    assert sorted(names[-5:-1]) == ["instance", "instance", "mask", "mask"]
    assert names[-1] == "done"
    assert set(names) == {"thinking", "instance", "mask", "done"}
    whole = got[-1][1]
    assert "".join(data["text"] for name, data in got if name == "thinking") == whole["reasoning"]
    for index, expected in enumerate(whole["instances"]):
        place = [data for name, data in got if name == "instance" and data["index"] == index]
        parts = {name: expected[name] for name in ("box", "points", "labels")}
        assert place == [{"query_index": 0, "index": index, **parts}]
        masks = [data for name, data in got if name == "mask" and data["index"] == index]
        assert masks == [{"query_index": 0, "index": index, **expected}]
        order = [name for name, data in got if data.get("index") == index]
        assert order == ["instance", "mask"]


async def test_several_queries_say_whose_event_it_is(start: Start) -> None:
    server = await start()
    got = events(await server.form(query=None, queries=["a", "b"], stream="true"))
    assert {data["query_index"] for name, data in got if name == "mask"} == {0, 1}
    assert len(got[-1][1]["results"]) == 2


@pytest.mark.parametrize(
    ("reasoner", "segmenter", "settings", "code", "status"),
    [
        (FakeReasoner(fail_after=5), FakeSegmenter(), {}, "reasoner_lost", "503"),
        (FakeReasoner(delay_s=0.1), FakeSegmenter(lost=True), {}, "segmenter_lost", "503"),
        (FakeReasoner(delay_s=0.1), FakeSegmenter(), {"request_deadline_s": 0.25},
         "deadline_exceeded", "504"),
    ],
)  # fmt: skip
async def test_a_failure_midway_is_an_event(
    start: Start,
    reasoner: FakeReasoner,
    segmenter: FakeSegmenter,
    settings: dict[str, float],
    code: str,
    status: str,
) -> None:
    server = await start(reasoner=reasoner, segmenter=segmenter, **settings)
    response = await server.form(stream="true")
    name, problem = events(response)[-1]
    assert (name, problem["code"]) == ("error", code)
    assert problem["request_id"] == response.headers["x-request-id"]
    labels = {"strategy": "wise-s", "status": "error", "code": status}
    assert server.sample("wise_requests_total", **labels) == 1
    assert (reasoner.running, segmenter.open_now) == (0, 0)
    assert server.runtime.admission.inflight == 0


async def test_bad_input_is_refused_before_the_stream(start: Start) -> None:
    server = await start()
    assert (await server.form("", stream="true")).status_code == 422
    response = await server.form(image=picture(kind="GIF"), stream="true")
    assert events(response)[-1][1]["code"] == "unsupported_image"


async def test_the_slot_is_held_until_the_stream_ends(start: Start) -> None:
    server = await start(reasoner=FakeReasoner(delay_s=0.01), max_inflight_requests=1)
    asking = asyncio.create_task(server.form(stream="true"))
    await asyncio.sleep(0.1)
    assert server.runtime.admission.inflight == 1
    await asking
    assert server.runtime.admission.inflight == 0
