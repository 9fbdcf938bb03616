"""The soak finds the errors of a fake server that makes them on purpose."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from pycocotools import mask as coco

from soak import Run, _account, _growth
from soak_traffic import Case, Sent, Traffic, draw_cases

Change = Callable[[dict[str, Any]], dict[str, Any]]


def answer_to(case: Case, identity: str) -> dict[str, Any]:
    pixels = np.zeros(case.size, np.uint8, order="F")
    pixels[: case.size[0] // 2] = 1
    counts = coco.encode(pixels)["counts"].decode()
    mask = {"size": list(case.size), "counts": counts}
    image = {"height": case.size[0], "width": case.size[1]}
    return {"id": identity, "status": "found", "image": image, "instances": [{"mask": mask}]}


async def judged(change: Change, status: int = 200, name: str | None = None) -> Sent:
    """What the soak says of one good request whose answer was changed."""
    cases = draw_cases(2, 0)
    learnt = 0

    def serve(request: httpx.Request) -> httpx.Response:
        nonlocal learnt
        index = next(i for i, case in enumerate(cases) if case.image in request.content)
        answer = answer_to(cases[index], f"seg-{learnt}")
        headers = {"X-Request-Id": request.headers["X-Request-Id"]}
        if learnt < len(cases):
            learnt += 1
            return httpx.Response(200, json=answer, headers=headers)
        other = answer_to(cases[1 - index], "seg-9")
        changed = change({"own": answer, "other": other})
        return httpx.Response(
            status, json=changed, headers={"X-Request-Id": name} if name else headers
        )

    transport = httpx.MockTransport(serve)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        traffic = Traffic(client, cases, 0)
        await traffic.learn()
        sent = await traffic.kinds["good"]("soak-1-good")
    assert isinstance(sent, Sent)
    return sent


async def test_a_right_answer_is_right() -> None:
    sent = await judged(lambda answers: answers["own"])
    assert (sent.end, sent.problem) == ("answered", "")


async def test_the_answer_of_another_request_is_noticed() -> None:
    assert "another's image" in (await judged(lambda answers: answers["other"])).problem


async def test_the_mask_of_another_request_is_noticed() -> None:
    def swap(answers: dict[str, Any]) -> dict[str, Any]:
        return {**answers["own"], "instances": answers["other"]["instances"]}

    assert "IoU 0.000" in (await judged(swap)).problem


async def test_an_answer_with_a_wrong_id_is_lost() -> None:
    assert (await judged(lambda answers: answers["own"], name="soak-2")).end == "lost"


@pytest.mark.parametrize(
    ("status", "wrong"), [(503, ""), (429, ""), (500, "500 x"), (504, "504 x")]
)
async def test_undocumented_refusals_are_problems(status: int, wrong: str) -> None:
    sent = await judged(lambda _: {"code": "x"}, status)
    assert (sent.end, sent.problem) == ("refused", wrong)


def test_the_soak_finds_requests_that_are_missing_or_logged_twice(tmp_path: Any) -> None:
    log = tmp_path / "log"
    logged = ["soak-1-good", "soak-2-good", "soak-2-good"]
    log.write_text("".join(f'{{"request_id":"{name}"}}\n' for name in logged))

    server: Any = SimpleNamespace(log=log)
    sent = [
        Sent("soak-1-good", "answered", ids=("a",)),
        Sent("soak-2-good", "answered", ids=("a",)),
        Sent("soak-3-good", "answered"),
        Sent("soak-4-cancelled", "cancelled"),
    ]
    run = Run(sent=sent)
    _account(run, server)
    assert run.violations == [
        "soak-2-good is 2 times in the log",
        "soak-3-good is 0 times in the log",
        "the answer a came 2 times",
    ]


def test_growth_is_measured_after_the_warm_up() -> None:
    rising = [(float(second), 100 + 0.5 * second) for second in range(0, 101)]
    assert _growth(rising) == pytest.approx(37.5)
    assert _growth([(0.0, 10.0), *((float(s), 400.0) for s in range(1, 100))]) == pytest.approx(
        0, abs=1
    )
