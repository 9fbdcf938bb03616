"""Requests of POST /refine to the application on the fakes, and the expected answers."""

import base64
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from gateways import Server
from pictures import picture
from wise_serve.imaging import masks

WIDTH, HEIGHT = 64, 48  # of picture()
BOX = [10, 12, 40, 30]
CLICK = {"x": 20, "y": 20, "label": 1}


def asked(*prompts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A JSON body; with `image_digest` it has no image."""
    image = {} if "image_digest" in fields else {"image": base64.b64encode(picture()).decode()}
    return {**image, "prompts": list(prompts), **fields}


async def refine(server: Server, *prompts: dict[str, Any], **fields: Any) -> httpx.Response:
    headers = fields.pop("headers", None)
    return await server.client.post("/refine", json=asked(*prompts, **fields), headers=headers)


def decoded(instance: dict[str, Any]) -> NDArray[np.bool_]:
    mask = instance["mask"]
    return masks.decode_rle(tuple(mask["size"]), mask["counts"])


def rectangle(x1: int, y1: int, x2: int, y2: int) -> NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    columns = np.concatenate([[False], mask.T.ravel(), [False]])
    places = np.flatnonzero(columns[1:] != columns[:-1])
    runs = np.diff(places[places < mask.size], prepend=0, append=mask.size)
    return {"size": list(mask.shape), "counts": masks.compress(mask.shape, runs)}


def refused(response: httpx.Response, status: int, code: str, text: str = "") -> None:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert text in response.json()["detail"]


# Prompts to masks
