"""Clicks from the client, on the real gateway with fakes."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from both_clients import Both
from fakes import DAB
from gateway_thread import GatewayThread
from wise_client import (
    AsyncClient,
    Client,
    InputError,
    InvalidFieldError,
    Prompt,
    Segmentation,
)
from wise_client.cli.main import main
from wise_client.masks import BoolMask, encode
from wise_client.parts import Frame, instance
from wise_client.prompts import Change

WIDTH, HEIGHT = 120, 90
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def rectangle(x1: int, y1: int, x2: int, y2: int) -> BoolMask:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def dab(x: int, y: int) -> BoolMask:
    return rectangle(x - DAB, y - DAB, x + DAB, y + DAB)


# Prompts


def test_a_box_and_points(both: Both, gateway: GatewayThread, image: Pixels) -> None:
    result = both.call(
        gateway.url, "refine", image, box=(10, 20, 60, 70), points=[(80, 40), (20, 30, 0)]
    )
    assert (result.mask == (rectangle(10, 20, 60, 70) | dab(80, 40)) & ~dab(20, 30)).all()
    [instance] = result.instances
    assert (instance.points, instance.labels) == (((80, 40), (20, 30)), (1, 0))
    assert (result.status, result.query, result.reasoning) == ("found", "", "")
    assert result.overlay().size == (WIDTH, HEIGHT)


def test_an_earlier_mask_as_pixels_or_as_rle(gateway: GatewayThread, image: Pixels) -> None:
    before = rectangle(30, 15, 90, 60)
    with Client(gateway.url) as client:
        for mask in (before, encode(before)):
            found = client.refine(image, mask=mask).mask
            assert (found & before).sum() / (found | before).sum() > 0.9


def test_several_prompts_and_several_masks(
    both: Both, gateway: GatewayThread, image: Pixels
) -> None:
    prompts = [Prompt(box=(1, 2, 30, 40)), Prompt(points=[(60, 50)])]
    result = both.call(gateway.url, "refine", image, prompts=prompts, multimask=True)
    assert (result.instances[0].mask == rectangle(1, 2, 30, 40)).all()
    assert (result.instances[1].mask == dab(60, 50)).all()
    assert [one.score for one in result.instances[1].alternatives] == [0.8, 0.7]
    assert (result.instances[1].alternatives[0].mask == dab(60, 50)).all()


def test_a_shrunk_image_is_answered_in_the_originals_pixels(
    gateway: GatewayThread, image: Pixels
) -> None:
    with Client(gateway.url) as client:
        for _ in range(2):  # the second time by its digest
            result = client.refine(image, box=(40, 20, 80, 60), max_side_pixels=WIDTH // 2)
            assert result.size == (WIDTH, HEIGHT)
            assert result.instances[0].box == (40, 20, 80, 60)
            assert result.mask.shape == (HEIGHT, WIDTH)
            assert (result.mask ^ rectangle(40, 20, 80, 60)).sum() < 0.1 * result.mask.sum()
            again = result.refine(add=[(100, 30)])
            assert again.mask[30, 100]
    assert gateway.segmenter.prompts[0].box == (20, 10, 40, 30)


def test_the_alternatives_of_a_shrunk_image_are_written_in_the_originals_pixels(
    gateway: GatewayThread, image: Pixels
) -> None:
    clicks = [(40, 40), (100, 20, 0)]
    with Client(gateway.url) as client:
        result = client.refine(image, points=clicks, multimask=True, max_side_pixels=WIDTH // 2)
    others = result.instances[0].alternatives
    written = result.to_dict()["instances"][0]["alternatives"]
    assert [one.labels for one in others] == [(1, 0)] * 2
    assert [set(one) for one in written] == [{"score", "area", "mask"}] * 2
    assert [one["score"] for one in written] == [0.8, 0.7]
    assert [one["area"] for one in written] == [int(one.mask.sum()) for one in others]
    again = Segmentation.from_dict(result.to_dict()).instances[0].alternatives
    for one, read in zip(others, again, strict=True):
        assert (read.mask == one.mask).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"box": (1, 2, 3)},
        {"box": (1, 2, 3, float("nan"))},
        {"points": [(1, 2, 3, 4)]},
        {"points": [(1, 2, 7)]},
        {"points": ["ab"]},
        {"mask": np.zeros((3, 4), bool)},
        {"mask": {"size": [HEIGHT, WIDTH], "counts": "zz"}},
        {"box": (1, 2, 3, 4), "prompts": [Prompt(box=(1, 2, 3, 4))]},
        {"prompts": []},
    ],
)
def test_an_invalid_prompt_is_not_sent(
    gateway: GatewayThread, image: Pixels, wrong: dict[str, Any]
) -> None:
    with Client(gateway.url) as client, pytest.raises(InputError):
        client.refine(image, **wrong)
    assert (gateway.segmenter.opened, gateway.segmenter.reopened) == (0, 0)


def test_a_refusal_of_the_server_is_raised(gateway: GatewayThread, image: Pixels) -> None:
    with Client(gateway.url) as client, pytest.raises(InvalidFieldError, match="outside"):
        client.refine(image, points=[(WIDTH + 1, 3)])


# Clicks on a result


def test_clicks_change_one_instance(gateway: GatewayThread, image: Pixels) -> None:
    with Client(gateway.url) as client:
        first = client.segment(image, "the red circle")
        before = first.mask.copy()
        x1, y1, x2, y2 = (round(value) for value in first.instances[0].box)
        second = first.refine(0, add=[(100, 80)])
        third = second.refine(remove=[(x1 + DAB, y1 + DAB)])
    assert (first.mask == before).all()
    assert second.mask[75:85, 95:105].all()
    assert not third.mask[y1 : y1 + 2 * DAB, x1 : x1 + 2 * DAB].any()
    assert third.instances[0].labels == (1, 1, 1, 0)
    assert third.instances[0].box == (x1, y1, max(x2, 100), max(y2, 80))
    assert (third.query, third.reasoning) == (first.query, first.reasoning)
    assert third.to_dict()["instances"][0]["labels"] == [1, 1, 1, 0]
    assert third.id != first.id
    assert (gateway.segmenter.opened, gateway.segmenter.reopened) == (1, 2)


async def test_clicks_of_the_asynchronous_client(gateway: GatewayThread, image: Pixels) -> None:
    async with AsyncClient(gateway.url) as client:
        first = await client.segment(image, "the red circle")
        second = await client.refine_instance(first, add=[(100, 80)])
        assert second.mask[80, 100]
        with pytest.raises(InputError, match=r"client\.refine_instance"):
            first.refine(add=[(100, 80)])


def test_a_change_without_clicks_or_box_is_refused(gateway: GatewayThread, image: Pixels) -> None:
    with Client(gateway.url) as client:
        result = client.segment(image, "the red circle")
        with pytest.raises(InputError, match="what to change"):
            result.refine()
        alone = Segmentation.from_dict(result.payload)
        with pytest.raises(InputError, match="Client"):
            alone.refine(add=[(1, 2)])
        with pytest.raises(InputError, match="image"):
            client.refine_instance(alone, add=[(1, 2)])
        copy = pickle.loads(pickle.dumps(result))
        assert (copy.mask == result.mask).all()


def test_the_command(
    gateway: GatewayThread, image: Pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(image).save(tmp_path / "a.png")
    words = ["refine", str(tmp_path / "a.png"), "--url", gateway.url, "--mask", f"{tmp_path}/m.png"]
    assert main([*words, "--box", "10,20,60,70", "--remove", "20,30", "--add", "80,40"]) == 0
    assert "score 0.90" in capsys.readouterr().out
    found = np.asarray(Image.open(tmp_path / "m.png")) > 0
    assert (found == (rectangle(10, 20, 60, 70) | dab(80, 40)) & ~dab(20, 30)).all()
    assert main(words) == 2


def test_an_object_with_no_mask_and_no_box_of_its_own_is_refined_by_its_points() -> None:
    place = {"box": [0, 0, 0, 0], "points": [[5, 5]], "score": 0.1, "area": 0, "mask": {}}
    found = instance(place, Frame((60, 40), (60, 40)))
    changed = Change(add=[(7, 8)]).prompt(found)
    assert (changed.box, changed.mask) == (None, None)
    assert changed.points == [(5.0, 5.0, 1), (7.0, 8.0, 1)]
