"""No path leads around the gate: neither its key nor its limits."""

from typing import Any

import httpx
import pytest

from gateways import Start
from pictures import picture
from refusals import problem
from wise_serve.http.middleware import Gate

FIELDS = {"/segment": {"query": "x"}, "/refine": {"prompts": '[{"box": [1, 1, 9, 9]}]'}}


async def posted(client: httpx.AsyncClient, route: str, ending: str = "") -> httpx.Response:
    image = {"image": ("a.png", picture())}
    return await client.post(route + ending, files=image, data=FIELDS[route])


@pytest.mark.parametrize("needs_key", [False, True])
@pytest.mark.parametrize("route", FIELDS)
@pytest.mark.parametrize("ending", ["%0A", "%0D", "%0D%0A", "%00", "%C2%85", "%E2%80%A8"])
async def test_a_path_with_a_control_character_is_not_served(
    start: Start, keys: str, needs_key: bool, route: str, ending: str
) -> None:
    server = await start(api_key_file=keys if needs_key else None)
    problem(await posted(server.client, route, ending), 404, "not_found")
    server.client.headers["Authorization"] = "Bearer one"
    problem(await posted(server.client, route, ending), 404, "not_found")
    assert server.segmenter.opened == 0
    assert (await posted(server.client, route)).status_code == 200


@pytest.mark.parametrize("path", ["/info", "/livez", "/metrics", "/docs", "/openapi.json", "/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_other_routes_end_where_their_paths_end(
    start: Start, keys: str, path: str, method: str
) -> None:
    client = (await start(api_key_file=keys)).client
    response = await client.request(method, f"{path}%0A")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("route", FIELDS)
async def test_a_route_refuses_what_the_gate_has_not_admitted(
    start: Start, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    async def around(self: Gate, *request: Any) -> None:
        await self._app(*request)

    server = await start()
    monkeypatch.setattr(Gate, "__call__", around)
    problem(await posted(server.client, route), 500, "internal_error")
    assert server.segmenter.opened == 0
