"""Masks as Label Studio has them, and its labelling configs and clicks as we have them."""

import numpy as np
import pytest

from label_studio_forms import BRUSH, unpacked
from wise_client import InputError
from wise_client.integrations.label_studio.labelling import Labelling
from wise_client.integrations.label_studio.regions import brush_rle, clicks
from wise_client.polygons import polygons, simplified


@pytest.mark.parametrize("seed", range(4))
def test_brush_rle_holds_every_pixel(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((random.integers(1, 90), random.integers(1, 300))) < (0.5, 0.01)[seed % 2]
    mask[:, :20] = seed == 3
    values = unpacked(brush_rle(mask)).reshape(*mask.shape, 4)
    assert np.array_equal(values, np.repeat(mask[..., None], 4, axis=2) * 255)


def test_brush_rle_of_runs_longer_than_its_longest() -> None:
    mask = np.zeros((300, 400), bool)
    mask[299, 399] = True
    assert np.array_equal(unpacked(brush_rle(mask))[3::4].reshape(mask.shape) > 0, mask)


def test_a_simplified_outline_stays_within_its_tolerance() -> None:
    rows, columns = np.mgrid[0:200, 0:200]
    disc = (rows - 100) ** 2 + (columns - 100) ** 2 < 80**2
    ring = polygons(disc)[0].exterior
    fewer = simplified(ring, 1.0)
    assert len(fewer) < len(ring) / 5
    ends = zip(fewer, np.roll(fewer, -1, axis=0), strict=True)
    lines = [np.linspace(one, other, 200) for one, other in ends]
    away = np.abs(np.concatenate(lines)[None] - ring[:, None]).astype(float)
    assert np.hypot(away[..., 0], away[..., 1]).min(axis=1).max() <= 1.1
    assert np.array_equal(simplified(ring, 0), ring)


def test_a_label_of_several_controls_is_written_in_the_most_exact() -> None:
    both = BRUSH.replace(
        "</View>", '<RectangleLabels name="r" toName="img"><Label value="cup"/><Label value="b"/>'
        "</RectangleLabels></View>",
    )  # fmt: skip
    labelling = Labelling.parse(both)
    assert labelling.labels() == ["cup", "nothing", "b"]
    assert [labelling.control_of(one).kind for one in ("cup", "b")] == [
        "brushlabels",
        "rectanglelabels",
    ]
    with pytest.raises(InputError, match="has a Label 'dog'"):
        labelling.control_of("dog")


def test_clicks_are_in_pixels_and_know_their_label() -> None:
    size = {"original_width": 600, "original_height": 400}
    drawn = [
        {"type": "keypointlabels", "is_positive": True, **size,
         "value": {"x": 50, "y": 25, "width": 1, "labels": ["cup"]}},
        {"type": "keypointlabels", "is_positive": False, **size,
         "value": {"x": 10, "y": 10, "keypointlabels": ["cup"]}},
        {"type": "rectanglelabels", **size,
         "value": {"x": 0, "y": 50, "width": 50, "height": 25, "rectanglelabels": ["cup"]}},
    ]  # fmt: skip
    got = clicks(drawn)
    assert got is not None
    assert got.label == "cup"
    assert got.points == ((300, 100, 1), (60, 40, 0))
    assert got.box == (0, 200, 300, 300)
    assert clicks([]) is None
    with pytest.raises(InputError):
        clicks([{"type": "keypointlabels", "value": {}}])
