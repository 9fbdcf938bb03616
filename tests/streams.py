"""A text that names two objects, and how a streamed answer is read."""

import json
from typing import Any

import httpx

TWO = (
    '<think>both of them</think><answer>[{"bbox_2d": [0,0,420,420], "point_2d": [5,6]}, '
    '{"bbox_2d": [420,420,840,840], "point_2d": [500,600]}]</answer>'
)


def events(response: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    parsed = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        parsed.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return parsed
