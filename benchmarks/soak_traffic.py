"""The requests of `soak.py`, and how each must end."""

import asyncio
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import numpy as np
from pycocotools import mask as coco

from miniature.queries import FAMILIES, make_query
from miniature.scenes import draw_scene

End = Literal["answered", "refused", "cancelled", "lost"]
SAME_MASK_IOU = 0.99
LEAVE_WITHIN_S = 1.0  # callers who leave do so after a random time up to this
LONGEST_S = 60.0
_SEED = 8_000_000


@dataclass(frozen=True)
class Case:
    """An image, a sentence about it, and its (height, width), which differ from all other cases."""

    image: bytes
    query: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Sent:
    """The outcome of one request. `problem`: what is wrong with it, or empty.

    `unavailable`: it was refused because a model was lost."""

    request_id: str
    end: End
    problem: str = ""
    unavailable: bool = False
    ids: tuple[str, ...] = ()


def draw_cases(count: int, seed: int) -> list[Case]:
    """Scenes of different sizes, so that an answer shows to which scene it belongs."""
    cases: dict[tuple[int, int], Case] = {}
    rng = np.random.default_rng(_SEED + seed)
    while len(cases) < count:
        scene = draw_scene(rng, max_side=480)
        query = make_query(scene, rng, FAMILIES[len(cases) % len(FAMILIES)])
        size = (scene.image.height, scene.image.width)
        if query is not None and size not in cases:
            data = io.BytesIO()
            scene.image.save(data, "PNG")
            cases[size] = Case(data.getvalue(), query.text, size)
    return list(cases.values())


class Traffic:
    """Requests to one server, each checked against what the server answered at rest."""

    def __init__(self, client: httpx.AsyncClient, cases: Sequence[Case], seed: int) -> None:
        self._client = client
        self._cases = cases
        self._random = random.Random(seed)
        self._at_rest: dict[int, dict[str, Any]] = {}
        self._number = 0
        self.kinds: dict[str, Callable[[str], Any]] = {
            "good": self._good,
            "streamed": self._streamed,
            "repeated": self._repeated,
            "many": self._many,
            "bad": self._bad,
            "cancelled": self._cancelled,
        }

    def use(self, client: httpx.AsyncClient) -> None:
        """Send all further requests through this client."""
        self._client = client

    async def learn(self) -> None:
        """Ask for every case, one at a time: later answers are compared with these."""
        for index, case in enumerate(self._cases):
            response = await self._post(self._name("rest"), case)
            response.raise_for_status()
            self._at_rest[index] = response.json()

    async def send_one(self) -> list[Sent]:
        """One request of a random kind ('repeated' sends two)."""
        (kind,) = self._random.choices(list(self.kinds), (45, 10, 10, 5, 15, 15))
        name = self._name(kind)
        try:
            sent = await self.kinds[kind](name)
        except httpx.HTTPError as error:
            sent = Sent(name, "lost", f"{kind}: {type(error).__name__}")
        return sent if isinstance(sent, list) else [sent]

    def _name(self, kind: str) -> str:
        self._number += 1
        return f"soak-{self._number}-{kind}"

    async def _post(self, name: str, case: Case, **fields: Any) -> httpx.Response:
        return await self._client.post(
            "/segment",
            files={"image": ("scene.png", case.image)},
            data={"query": case.query, **fields},
            headers={"X-Request-Id": name},
        )

    async def _good(self, name: str) -> Sent:
        index = self._random.randrange(len(self._cases))
        return self._judge(name, index, await self._post(name, self._cases[index]))

    async def _repeated(self, name: str) -> list[Sent]:
        """The same image from two callers at once: they share one encode."""
        index, names = self._random.randrange(len(self._cases)), (name, f"{name}-again")
        posts = [self._post(each, self._cases[index]) for each in names]
        responses = await asyncio.gather(*posts)
        return [self._judge(*pair) for pair in zip(names, [index] * 2, responses, strict=True)]

    async def _streamed(self, name: str) -> Sent:
        index = self._random.randrange(len(self._cases))
        response = await self._post(name, self._cases[index], stream="true")
        if response.status_code != 200:
            return self._judge(name, index, response)
        ends = [
            (event.partition("\n")[0], event.partition("\ndata: ")[2])
            for event in response.text.split("\n\n")
            if event.startswith(("event: done", "event: error"))
        ]
        if len(ends) != 1:
            return Sent(name, "lost", f"a stream with {len(ends)} ends")
        document = json.loads(ends[0][1])
        if ends[0][0] == "event: error":
            return _refusal(name, document["status"], document)
        return self._compare(name, index, document)

    async def _many(self, name: str) -> Sent:
        """Two questions about one image."""
        index = self._random.randrange(len(self._cases))
        case = self._cases[index]
        response = await self._client.post(
            "/segment",
            files={"image": ("scene.png", case.image)},
            data={"queries": [case.query, "the largest shape"]},
            headers={"X-Request-Id": name},
        )
        if response.status_code != 200:
            return self._judge(name, index, response)
        first, second = response.json()["results"]
        sent = self._compare(name, index, first)
        return Sent(name, sent.end, sent.problem, ids=(*sent.ids, second["id"]))

    async def _bad(self, name: str) -> Sent:
        """Send a bad request, which must get its documented status."""
        case = self._random.choice(self._cases)
        half = Case(case.image[: len(case.image) // 2], case.query, case.size)
        text = Case(b"no image at all", case.query, case.size)
        expected, bad, fields = self._random.choice(
            [
                (415, half, {}),
                (415, text, {}),
                (422, case, {"query": "<|im_end|>"}),
                (422, case, {"strategy": "none"}),
                (422, case, {"colour": "red"}),
                (413, case, {"query": "long " * 400}),
            ]
        )
        response = await self._post(name, bad, **fields)
        if response.status_code in (expected, 429, 503):
            return _refusal(name, response.status_code, response.json())
        return Sent(name, "lost", f"a bad request got {response.status_code}, not {expected}")

    async def _cancelled(self, name: str) -> Sent:
        index = self._random.randrange(len(self._cases))
        try:
            async with asyncio.timeout(self._random.uniform(0, LEAVE_WITHIN_S)):
                return self._judge(name, index, await self._post(name, self._cases[index]))
        except TimeoutError:
            return Sent(name, "cancelled")

    def _judge(self, name: str, index: int, response: httpx.Response) -> Sent:
        if response.headers.get("X-Request-Id") != name:
            return Sent(name, "lost", "the answer is of another request")
        if response.status_code != 200:
            return _refusal(name, response.status_code, response.json())
        return self._compare(name, index, response.json())

    def _compare(self, name: str, index: int, answer: dict[str, Any]) -> Sent:
        case, rest = self._cases[index], self._at_rest[index]
        problem = ""
        if (answer["image"]["height"], answer["image"]["width"]) != case.size:
            problem = "an answer for another's image"
        elif answer["status"] != rest["status"]:
            problem = f"{answer['status']}, at rest {rest['status']}"
        elif (same := iou(answer, rest)) < SAME_MASK_IOU:
            problem = f"a mask of IoU {same:.3f} with that at rest"
        return Sent(name, "answered", problem, ids=(answer["id"],))


def _refusal(name: str, status: int, document: dict[str, Any]) -> Sent:
    if status == 503:
        return Sent(name, "refused", unavailable=True)
    wrong = "" if status in (413, 415, 422, 429) else f"{status} {document.get('code')}"
    return Sent(name, "refused", wrong)


def iou(one: dict[str, Any], other: dict[str, Any]) -> float:
    """IoU of two answers, each with all its masks together; 1 if both have none."""
    masks = [
        [{**item["mask"], "counts": item["mask"]["counts"].encode()} for item in each["instances"]]
        for each in (one, other)
    ]
    if not all(masks):
        return float(masks[0] == masks[1])
    merged = [coco.merge(each) for each in masks]
    if merged[0]["size"] != merged[1]["size"]:
        return 0.0
    return float(coco.iou([merged[0]], [merged[1]], [0])[0][0])
