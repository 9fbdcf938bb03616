"""The parts of requests that must be refused, and the checks of their problem documents."""

import base64

import httpx

from gateways import Server
from pictures import picture

B64 = base64.b64encode(picture()).decode()
GOOD = {"image": B64, "query": "x"}


def problem(response: httpx.Response, status: int, code: str, field: str | None = None) -> str:
    """Check the document; returns its detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert set(document) - {"field"} == {"type", "title", "status", "detail", "code", "request_id"}
    assert (document["status"], document["code"]) == (status, code)
    assert document.get("field") == field
    assert document["request_id"] == response.headers["x-request-id"]
    assert ("retry-after" in response.headers) == (status in (429, 503))
    for leak in ("Traceback", "/work", "/site-packages", "0x", ".py"):
        assert leak not in response.text
    return str(document["detail"])


async def still_right(server: Server) -> None:
    assert (await server.form()).json()["status"] == "found"
    assert server.runtime.admission.inflight == 0


JSON = {"content-type": "application/json"}
