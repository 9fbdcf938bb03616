"""What the OpenAPI document says is so. Found by test_openapi_fuzz.py; here each by its name."""

import json
from typing import Any

import jsonschema
import pytest

from fakes import FakeReasoner
from gateways import Server, Start
from refusals import B64, GOOD, JSON, problem
from streams import TWO, events
from wise_serve.http.problems import STATUS

ANYWHERE = {"400", "408", "500", "503", "504"}  # whatever is asked for


async def document_of(server: Server) -> dict[str, Any]:
    document: dict[str, Any] = (await server.client.get("/openapi.json")).json()
    return document


def bodies(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Media type -> schema."""
    content = document["paths"]["/segment"]["post"]["requestBody"]["content"]
    return {media_type: one["schema"] for media_type, one in content.items()}


def is_valid(schema: dict[str, Any], value: object) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


async def test_the_documents_example_is_answered(start: Start) -> None:
    server = await start()
    content = (await document_of(server))["paths"]["/segment"]["post"]["requestBody"]["content"]
    answer = await server.client.post("/segment", json=content["application/json"]["example"])
    assert answer.status_code == 200
    image = content["application/json"]["schema"]["properties"]["image"]["examples"][0]
    answer = await server.client.post("/segment", json={"image": image, "query": "x"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({"query": "x"}, True),
        ({"queries": ["x", "y"]}, True),
        ({"query": "x", "queries": None}, True),
        ({"query": None, "queries": ["x"]}, True),
        ({"query": "x", "strategy": None}, True),
        ({"query": "x", "max_instances": 16.0}, True),
        ({}, False),
        ({"query": None}, False),
        ({"query": "x", "queries": ["x"]}, False),
        ({"queries": []}, False),
        ({"queries": ["x"] * 65}, False),
        ({"query": "x" * 1000}, True),
        ({"query": "x" * 1001}, False),
        ({"query": "x", "stream": 0}, False),
        ({"query": "x", "stream": "true"}, False),
        ({"query": "x", "max_instances": "16"}, False),
        ({"query": "x", "max_instances": True}, False),
        ({"query": "x", "max_instances": 257}, False),
        ({"query": "x", "mask_format": None}, False),
        ({"query": "a\0b"}, False),
        ({"query": "\u2003\u0085\x1f"}, False),
        ({"query": '?!.". .'}, False),
        ({"query": "\ufeff"}, True),
        ({"query": "x", "image_url": "x"}, False),
    ],
)
async def test_json_is_accepted_as_its_schema_says(
    start: Start, fields: dict[str, Any], allowed: bool
) -> None:
    server = await start()
    body = {"image": B64, **fields}
    assert is_valid(bodies(await document_of(server))["application/json"], body) is allowed
    answer = await server.client.post("/segment", content=json.dumps(body), headers=JSON)
    assert (answer.status_code == 200) is allowed, answer.text
    assert answer.status_code in (200, 400, 413, 422)


@pytest.mark.parametrize(
    ("field", "text", "allowed"),
    [
        ("max_instances", "16", True),
        ("max_instances", "1e1", True),
        ("max_instances", "0x10", False),
        ("max_instances", "1_6", False),
        ("max_instances", "[" * 10_000, False),
        ("stream", "true", True),
        ("stream", "False", True),  # Python's
        ("stream", "1", False),
        ("stream", "yes", False),
        ("strategy", "null", False),
    ],
)
async def test_numbers_and_booleans_of_a_form(
    start: Start, field: str, text: str, allowed: bool
) -> None:
    server = await start()
    answer = await server.form(**{field: text})
    if allowed:
        assert answer.status_code == 200
    else:
        problem(answer, 422, "invalid_field", field)


@pytest.mark.parametrize("strategy", ["wise-s", "wise", "seg-zero", "vision-reasoner"])
async def test_a_query_of_punctuation_is_refused_by_every_strategy(
    start: Start, strategy: str
) -> None:
    server = await start()
    for query in ("?", '"!"', ". ."):
        answer = await server.client.post(
            "/segment", json={**GOOD, "query": query, "strategy": strategy}
        )
        problem(answer, 422, "invalid_field", "query")


async def test_the_documents_limits_are_those_of_the_server(start: Start) -> None:
    server = await start(max_query_characters=7, max_queries=2)
    for schema in bodies(await document_of(server)).values():
        question = {"image": B64, "queries": ["x" * 7] * 2}
        assert is_valid(schema, question)
        assert not is_valid(schema, {**question, "queries": ["x" * 8]})
        assert not is_valid(schema, {**question, "queries": ["x"] * 3})


async def test_every_event_of_a_stream_is_as_described(start: Start) -> None:
    server = await start(reasoner=FakeReasoner(script=lambda _: TWO))
    document = await document_of(server)
    answer = document["paths"]["/segment"]["post"]["responses"]["200"]
    described = {
        one["properties"]["event"]["const"]: one["properties"]["data"]["contentSchema"]
        for one in answer["content"]["text/event-stream"]["schema"]["oneOf"]
    }
    got = events(await server.form(strategy="vision-reasoner", stream="true"))
    server.reasoner.fail_after = 3
    got += events(await server.form(strategy="vision-reasoner", stream="true"))
    assert {name for name, _ in got} == set(described)
    for name, data in got:
        schema = {**described[name], "components": document["components"]}
        jsonschema.validate(data, schema, jsonschema.Draft202012Validator)


async def test_every_route_is_in_a_named_group(start: Start) -> None:
    paths = (await document_of(await start()))["paths"]
    groups = {path: one["tags"] for path, methods in paths.items() for one in methods.values()}
    assert groups.pop("/segment") == groups.pop("/refine") == ["Segmentation"]
    assert {*map(tuple, groups.values())} == {("Server",)}


async def test_every_route_documents_the_errors_that_any_request_can_get(start: Start) -> None:
    document = await document_of(await start())
    for path, methods in document["paths"].items():
        for operation in methods.values():
            responses = operation["responses"]
            assert set(responses) >= ANYWHERE, path
            assert all("X-Request-Id" in response["headers"] for response in responses.values())
            assert all(response["content"] for response in responses.values()), path
    segment = document["paths"]["/segment"]["post"]["responses"]
    assert set(segment) == {"200"} | {str(status) for status in STATUS.values()}
    for status, name in (
        ("429", "Retry-After"),
        ("503", "Retry-After"),
        ("401", "WWW-Authenticate"),
    ):
        assert segment[status]["headers"][name]["required"]


async def test_the_key_is_named_where_one_is_asked_for(start: Start, keys: str) -> None:
    for settings in ({}, {"api_key_file": keys}):
        document = await document_of(await start(**settings))
        keyed = {path for path, one in document["paths"].items() if "security" in str(one)}
        assert keyed == ({"/segment", "/refine", "/info"} if settings else set())
        assert ("securitySchemes" in document["components"]) is bool(settings)


async def test_info_is_as_described(start: Start) -> None:
    server = await start()
    document = await document_of(server)
    info = (await server.client.get("/info")).json()
    schema = {"$ref": "#/components/schemas/Info", "components": document["components"]}
    jsonschema.validate(info, schema, jsonschema.Draft202012Validator)
    described = document["components"]["schemas"]["Info"]["properties"]
    assert set(info) == set(described)
