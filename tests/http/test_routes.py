"""Every route: which need a key, which are for operators, which other origins may reach."""

import asyncio
import re
from typing import Any

import httpx
import pytest
from starlette.routing import BaseRoute, Mount, Route

from fakes import FakeReasoner
from gateways import Start, eventually
from refusals import problem
from wise_serve.http.app import build_ops_app

KEYED = {("POST", "/segment"), ("POST", "/refine"), ("GET", "/info")}
OPS = {("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics")}
# The same for everybody: the documentation, and a page that has no key of its own.
PUBLIC = {
    (method, path)
    for path in ("/docs", "/docs/assets/swagger-ui.css", "/openapi.json", "/", "/example.jpg")
    for method in ("GET", "HEAD")
}


def walk(routes: list[BaseRoute]) -> set[tuple[str, str]]:
    """Every method and path that is served."""
    found: set[tuple[str, str]] = set()
    for route in routes:
        if isinstance(route, Route):
            found |= {(method, route.path) for method in route.methods or ()}
        elif isinstance(route, Mount):
            found.add(("GET", f"{route.path}/swagger-ui.css"))
        else:
            found |= walk(list(route.original_router.routes))  # type: ignore[attr-defined]
    return found


async def test_every_route_is_either_keyed_or_meant_to_be_open(start: Start, keys: str) -> None:
    server = await start(api_key_file=keys)
    served = walk(server.app.router.routes)
    open_to_all = OPS | {one for one in PUBLIC if one in served}
    assert served == KEYED | open_to_all, "decide whether a new route needs a key"
    for method, path in served:
        for key in (None, "wrong"):
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            answer = await server.client.request(method, path, headers=headers)
            assert (answer.status_code == 401) is ((method, path) in KEYED), (method, path)
            if answer.status_code == 401:
                assert answer.json()["code"] == "unauthorized"
                assert answer.headers["www-authenticate"] == "Bearer"
            else:
                assert answer.status_code == 200
        answer = await server.client.request(method, path, headers={"Authorization": "Bearer one"})
        assert answer.status_code != 401
    assert server.reasoner.requests == []


async def test_other_spellings_of_the_path_need_a_key_too(start: Start, keys: str) -> None:
    server = await start(api_key_file=keys)
    for path in ("/segment/", "//segment", "/segment?x", "/%73egment", "/SEGMENT"):
        answer = await server.client.post(path, content=b"{}")
        assert answer.status_code in (401, 404, 405), path


async def test_no_other_spelling_of_a_path_is_redirected(start: Start) -> None:
    server = await start()
    for path in ("/segment/", "/info/", "/docs/", "/docs/assets", "/livez/"):
        for method in ("GET", "POST"):
            problem(await server.client.request(method, path), 404, "not_found")
    transport = httpx.ASGITransport(build_ops_app(server.runtime))
    async with httpx.AsyncClient(transport=transport, base_url="http://ops") as client:
        problem(await client.get("/livez/"), 404, "not_found")


async def test_operators_have_a_port_of_their_own(start: Start) -> None:
    server = await start(ops_port=0)
    assert not walk(server.app.router.routes) & OPS
    for _, path in OPS:
        assert (await server.client.get(path)).status_code == 404
    ops = build_ops_app(server.runtime)
    assert walk(ops.router.routes) == OPS
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(ops), base_url="http://ops"
    ) as client:
        for _, path in OPS:
            answer = await client.get(path)
            assert answer.status_code == 200
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await client.get("/info")).json()["code"] == "not_found"
        server.runtime.admission.drain()
        assert (await client.get("/readyz")).json()["code"] == "draining"
    assert "/metrics" not in (await server.client.get("/openapi.json")).text


async def test_one_greedy_key_does_not_starve_another(start: Start, keys: str) -> None:
    server = await start(
        FakeReasoner(delay_s=0.005),
        api_key_file=keys,
        max_inflight_requests=2,
        max_queued_requests=6,
    )
    admission, ended = server.runtime.admission, list[str]()

    async def ask(key: str) -> int:
        files = {"image": ("a.png", (await server.client.get("/example.jpg")).content)}
        headers = {"Authorization": f"Bearer {key}"}
        answer: httpx.Response = await server.client.post(
            "/segment", files=files, data={"query": "x"}, headers=headers
        )
        if answer.status_code == 200:
            ended.append(key)
        return answer.status_code

    greedy = [asyncio.create_task(ask("one")) for _ in range(20)]
    await eventually(lambda: admission.waiting == 6)
    small = [asyncio.create_task(ask("two")) for _ in range(2)]
    statuses = await asyncio.gather(*small)
    assert statuses == [200, 200]
    assert ended.index("two") <= 4  # before what waited, if not before what was inside
    refused = [status for status in await asyncio.gather(*greedy) if status == 429]
    assert len(refused) == 14  # 12 at the door, and 2 that made room
    assert server.sample("wise_rejected_total", reason="overloaded") == 14


async def test_the_callers_name_is_logged_and_its_key_is_not(
    start: Start, keys: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "wise_serve")
    server = await start(api_key_file=keys)
    for key in ("one", "unknown-key"):
        server.client.headers["Authorization"] = f"Bearer {key}"
        await server.form()
    fields: list[dict[str, Any]] = [
        record.fields for record in caplog.records if record.message == "request"  # type: ignore[attr-defined]
    ]  # fmt: skip
    assert [one.get("caller") for one in fields] == ["a", None]
    assert "unknown-key" not in str(fields)


ORIGIN = "https://app.example"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


async def test_no_other_origin_is_let_in_by_default(start: Start) -> None:
    server = await start()
    for answer in (
        await server.client.options("/segment", headers=PREFLIGHT),
        await server.client.get("/info", headers={"Origin": ORIGIN}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_named_origins_are_let_in_and_no_other(start: Start, keys: str) -> None:
    server = await start(cors_origins=f"{ORIGIN}, http://localhost:3000", api_key_file=keys)
    client = server.client
    asked = await client.options("/segment", headers=PREFLIGHT)
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "access-control-allow-credentials" not in asked.headers
    for key, status in (("one", 200), ("wrong", 401)):  # a refusal can be read by the page, too
        headers = {"Origin": "http://localhost:3000", "Authorization": f"Bearer {key}"}
        answer = await client.get("/info", headers=headers)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
    other = await client.options(
        "/segment", headers={**PREFLIGHT, "Origin": "https://evil.example"}
    )
    assert other.status_code == 400
    answer = await client.get("/livez", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in {*other.headers, *answer.headers}


def policy(answer: httpx.Response) -> dict[str, str]:
    parts = answer.headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (part.partition(" ") for part in parts)}


async def test_pages_and_answers_have_a_policy(start: Start) -> None:
    server = await start()
    page = await server.client.get("/")
    assert "'unsafe" not in page.headers["content-security-policy"]
    assert policy(page)["script-src"].startswith("'sha256-")
    for answer in (await server.client.get("/info"), await server.client.get("/nowhere")):
        assert policy(answer) == {"default-src": "'none'", "frame-ancestors": "'none'"}
    docs = policy(await server.client.get("/docs"))
    assert docs["default-src"] == "'none'"
    assert re.fullmatch(r"'self'( 'sha256-[\w+/]+=*')+", docs["script-src"])


async def test_the_docs_load_everything_from_this_server(start: Start) -> None:
    server = await start()
    html = (await server.client.get("/docs")).text
    links = re.findall(r"""(?:href|src)="([^"]+)"|url: '([^']+)'""", html)
    assert len(links) == 4
    for path in (one or other for one, other in links):
        assert path.startswith("/")
        answer = await server.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "://" not in html.replace("http://www.w3.org", "")
    assert (await server.client.get("/docs/assets/../page.py")).status_code == 404


async def test_no_other_documentation_page_is_served(start: Start) -> None:
    server = await start()
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert (await server.client.get(path)).status_code == 404
