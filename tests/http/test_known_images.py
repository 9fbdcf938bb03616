"""Images that the server knows by their digest, over HTTP on the fakes."""

from typing import Any

from fakes import FakeSegmenter
from gateways import Start, took
from pictures import picture
from refining import BOX, decoded, rectangle, refine, refused
from streams import events
from wise_serve.reasoner.none import NoReasoner


async def test_a_click_on_a_known_image_needs_no_image(start: Start) -> None:
    server = await start(segmenter=FakeSegmenter(encode_s=0.03))
    first = (await server.form()).json()
    answer = (await refine(server, {"box": BOX}, image_digest=first["image_digest"])).json()
    assert (decoded(answer["instances"][0]) == rectangle(*BOX)).all()
    assert answer["image_digest"] == first["image_digest"]
    assert answer["timing_ms"]["decode"] == 0
    assert took(answer["timing_ms"]["encode"], 0.0)
    assert server.segmenter.opened == 1  # with its pixels: the first time alone
    assert server.segmenter.reopened >= 1
    assert server.sample("wise_known_images_total", result="known") == 1


async def test_a_query_about_a_known_image(start: Start) -> None:
    server = await start()
    first = (await server.form()).json()
    document = {"query": "the red circle", "image_digest": first["image_digest"]}
    form = {name: (None, value) for name, value in document.items()}
    for response in (
        await server.client.post("/segment", json=document),
        await server.client.post("/segment", files=form),
    ):
        again = response.json()
        assert again["instances"] == first["instances"], response.text
        assert again["image_digest"] == first["image_digest"]
    squares = [request.image.tobytes() for request in server.reasoner.requests]
    assert squares[0] == squares[1] == squares[2]


async def test_many_requests_about_a_known_image_evict_nothing(start: Start) -> None:
    server = await start(known_images_bytes=5 * 2**20)  # two images as the reasoner sees them
    first, second = [(await server.form(image=picture(n, 60))).json() for n in (80, 90)]
    for _ in range(5):
        for known in (first, second):
            answer = await refine(server, {"box": BOX}, image_digest=known["image_digest"])
            assert answer.status_code == 200, answer.text


async def test_an_embedding_that_is_gone_is_noticed_before_anything_is_generated(
    start: Start,
) -> None:
    server = await start()
    digest = (await server.form()).json()["image_digest"]
    server.segmenter.digests.clear()
    generated = len(server.reasoner.requests)
    document = {"query": "the red circle", "image_digest": digest, "stream": True}
    [(name, problem)] = events(await server.client.post("/segment", json=document))
    assert (name, problem["code"], problem["status"]) == ("error", "image_unknown", 404)
    assert len(server.reasoner.requests) == generated


async def test_a_query_about_an_image_known_from_clicks_only_is_404(start: Start) -> None:
    server = await start()
    known = (await refine(server, {"box": BOX})).json()["image_digest"]
    document = {"query": "the red circle", "image_digest": known}
    refused(await server.client.post("/segment", json=document), 404, "image_unknown")
    assert (server.reasoner.requests, server.segmenter.open_now) == ([], 0)
    assert (await server.form()).status_code == 200
    assert (await server.client.post("/segment", json=document)).status_code == 200


async def test_an_unknown_image(start: Start) -> None:
    server = await start()
    refused(await refine(server, {"box": BOX}, image_digest="0" * 32), 404, "image_unknown")
    assert server.sample("wise_known_images_total", result="unknown") == 1
    for digest in ("0" * 31, "0" * 33, "G" * 32, 7):
        refused(await refine(server, {"box": BOX}, image_digest=digest), 422, "invalid_field")
    both = {"image": "QUJD", "image_digest": "0" * 32}
    refused(await refine(server, {"box": BOX}, **both), 422, "invalid_field", "Exactly one")


async def test_an_image_whose_embedding_is_gone(start: Start) -> None:
    server = await start()
    digest = (await server.form()).json()["image_digest"]
    server.segmenter.digests.clear()
    refused(await refine(server, {"box": BOX}, image_digest=digest), 404, "image_unknown")
    document = {"query": "the red circle", "image_digest": digest}
    refused(await server.client.post("/segment", json=document), 404, "image_unknown")


async def test_a_digest_is_valid_only_for_the_key_that_sent_the_image(
    start: Start, keys: str
) -> None:
    server = await start(api_key_file=keys)
    one, two = ({"authorization": f"Bearer {key}"} for key in ("one", "two"))
    digest = (await refine(server, {"box": BOX}, headers=one)).json()["image_digest"]
    known: dict[str, Any] = {"image_digest": digest}
    assert (await refine(server, {"box": BOX}, headers=one, **known)).status_code == 200
    refused(await refine(server, {"box": BOX}, headers=two, **known), 404, "image_unknown")
    refused(await refine(server, {"box": BOX}, **known), 401, "unauthorized")
    assert (await refine(server, {"box": BOX}, headers=two)).status_code == 200
    assert (await refine(server, {"box": BOX}, headers=two, **known)).status_code == 200


async def test_known_images_are_bounded(start: Start) -> None:
    server = await start(known_images_bytes=0)
    digest = (await server.form()).json()["image_digest"]
    refused(await refine(server, {"box": BOX}, image_digest=digest), 404, "image_unknown")


# Without a reasoner


async def test_without_a_reasoner_refine_alone_is_served(start: Start) -> None:
    server = await start(reasoner=NoReasoner())
    assert (await refine(server, {"box": BOX})).status_code == 200
    refused(await server.form(), 404, "not_found", "without a reasoner")
    assert "/segment" not in server.app.openapi()["paths"]
    info = (await server.client.get("/info")).json()
    assert info["models"]["reasoner"] == "none"
    assert info["models"]["reasoner_image_size_pixels"] is None
    assert (info["strategy"], info["strategies"], info["strategy_descriptions"]) == (None, [], {})
