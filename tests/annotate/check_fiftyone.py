"""FiftyOne with its own database, and a real wise-serve. Run by `make annotate-test`."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WISE_URL = os.environ["WISE_URL"]
EXAMPLE = Path(os.environ["WISE_EXAMPLE"])
os.environ["FIFTYONE_DATABASE_DIR"] = str(Path.cwd() / "database")
os.environ["FIFTYONE_DO_NOT_TRACK"] = "1"
os.environ["FIFTYONE_DATABASE_VALIDATION"] = "false"  # its wheel's database is one version old

import fiftyone as fo  # noqa: E402  reads its settings when it is imported

from wise_client import Client, RetryPolicy  # noqa: E402
from wise_client.errors import ConnectFailedError, InputError  # noqa: E402
from wise_client.integrations.fiftyone import apply, shares_of_image  # noqa: E402


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(WISE_URL) as made:
        yield made


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Any]:
    made = fo.Dataset()
    for number, query in enumerate(["the red circle", "the blue square", None]):
        path = tmp_path / f"{number}.jpg"
        shutil.copy(EXAMPLE, path)
        made.add_sample(fo.Sample(filepath=str(path), caption=query))
    yield made
    made.delete()


def whole(detection: Any, width: int = 640, height: int = 480) -> np.ndarray:
    """The mask on the image, as FiftyOne itself makes it."""
    return np.asarray(detection.to_segmentation(frame_size=(width, height)).mask) > 0


def test_masks_are_ours_to_the_pixel(dataset: Any, client: Client) -> None:
    done = apply(dataset, "the red circle", "found", client=client, label="circle")
    assert (done.answered, done.skipped, done.failures) == (3, 0, {})
    answer = client.segment(EXAMPLE, "the red circle")
    for sample in dataset:
        (detection,) = sample.found.detections
        assert detection.label == "circle"
        assert np.array_equal(whole(detection), answer.mask)
        assert detection.confidence == pytest.approx(answer.score)
        assert detection.query == "the red circle"
        assert detection.reasoning == answer.reasoning != ""
        assert detection.thinking_tokens == answer.usage.thinking_tokens > 0
        assert detection.completion_tokens == answer.usage.completion_tokens


def test_a_mask_keeps_its_place_wherever_it_is() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        x, y = int(random.integers(0, 600)), int(random.integers(0, 440))
        mask = np.zeros((480, 640), bool)
        part = mask[
            y : y + int(random.integers(1, 481 - y)), x : x + int(random.integers(1, 641 - x))
        ]
        part[:] = True
        high, wide = part.shape
        box = shares_of_image((x, y, wide, high), (640, 480))
        assert np.array_equal(whole(fo.Detection(label="a", bounding_box=box, mask=part)), mask)


def test_a_field_holds_the_queries(dataset: Any, client: Client) -> None:
    done = apply(dataset, "caption", "found", client=client)
    assert (done.answered, done.skipped) == (2, 1)
    labels = [sample.found and [one.label for one in sample.found.detections] for sample in dataset]
    assert labels == [["the red circle"], ["the blue square"], None]


def test_several_queries_of_one_sample(dataset: Any, client: Client) -> None:
    apply(dataset.limit(1), ["the red circle", "the blue square"], "found", client=client)
    labels = [one.label for one in dataset.first().found.detections]
    assert labels == ["the red circle", "the blue square"]


def test_a_second_run_asks_what_is_missing(dataset: Any, client: Client) -> None:
    apply(dataset.limit(1), "the red circle", "found", client=client)
    kept = dataset.first().found.detections[0].id
    assert apply(dataset, "the red circle", "found", client=client).answered == 2
    assert dataset.first().found.detections[0].id == kept
    assert apply(dataset, "the red circle", "found", client=client).answered == 0
    assert apply(dataset, "the largest shape", "found", client=client, overwrite=True).answered == 3
    assert dataset.first().found.detections[0].label == "the largest shape"


def test_a_bad_image_fails_alone_and_stays_empty(dataset: Any, client: Client) -> None:
    bad = dataset.first()
    Path(bad.filepath).write_bytes(b"no image")
    done = apply(dataset, "the red circle", "found", client=client)
    assert done.answered == 2
    assert isinstance(done.failures[bad.id], InputError)
    bad.reload()
    assert bad.found is None


def test_a_server_that_is_away_leaves_the_field_empty(dataset: Any) -> None:
    with (
        Client("http://127.0.0.1:9", retry=RetryPolicy(max_retries=0)) as away,
        pytest.raises(ConnectFailedError),
    ):
        apply(dataset, "the red circle", "found", client=away)
    assert not dataset.has_field("found") or len(dataset.exists("found")) == 0


def test_arguments_that_are_wrong_are_refused(dataset: Any, client: Client) -> None:
    with pytest.raises(InputError):
        apply(dataset, "", "found", client=client)
    with pytest.raises(InputError):
        apply(dataset, "the red circle", "filepath", client=client)
