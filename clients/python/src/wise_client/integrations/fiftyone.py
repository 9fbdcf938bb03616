"""FiftyOne: objects that a sentence describes, as `fo.Detections` with masks.

    import fiftyone as fo
    from wise_client.integrations.fiftyone import apply

    apply(fo.load_dataset("photos"), "the cup she could drink from", "cup")

Each detection has `query`, `reasoning`, `thinking_tokens` and `completion_tokens` as attributes.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import fiftyone as fo

from wise_client.batch import Outcome
from wise_client.client import Client
from wise_client.errors import InputError, TransportError, UnexpectedAnswerError, WiseClientError
from wise_client.masks import tight_box
from wise_client.results import Segmentation

_NO_ANSWER: Final = ("unparsed", "truncated")


@dataclass
class Applied:
    """What `apply` did. `failures`: from a sample's id to why its field is still empty.

    `skipped`: samples that have no query in the field of queries.
    """

    answered: int = 0
    skipped: int = 0
    failures: dict[str, WiseClientError] = field(default_factory=dict)


def apply(
    samples: Any,
    query_or_field: str | Sequence[str],
    label_field: str,
    *,
    client: Client | None = None,
    label: str | None = None,
    concurrency: int = 8,
    max_instances: int | None = None,
    overwrite: bool = False,
) -> Applied:
    """Ask about each sample of a dataset or a view, and write `fo.Detections` to `label_field`.

    `query_or_field`: a sentence, several, or the name of a field that holds them for each sample.
    `label`: the detections' label; default: the query. Samples whose `label_field` is set are
    skipped, so an interrupted run continues when it is called again;
    `overwrite` asks about them too. A sample that fails keeps its field as it is.

    Raises InputError for wrong arguments, and TransportError when the server is not reached any
    more; what was answered until then is saved.
    """
    asking = _Asking(samples, query_or_field, label_field)
    todo = samples if overwrite or not samples.has_field(label_field) else samples.exists(
        label_field, False
    )  # fmt: skip
    done = Applied()
    own = Client() if client is None else client
    outcomes = own.segment_many(
        asking.pairs(todo, done), concurrency=concurrency, max_instances=max_instances
    )
    try:
        for sample, answered in asking.by_sample(outcomes):
            _keep(sample, answered, label_field, label, done)
    finally:
        outcomes.close()
        if client is None:
            own.close()
    return done


class _Asking:
    """Which sample each question is about; samples are read as far as they are asked about."""

    def __init__(self, samples: Any, query_or_field: str | Sequence[str], label_field: str) -> None:
        if samples.media_type not in (None, "image"):
            raise InputError(f"The samples are of type {samples.media_type}, not images")
        if not query_or_field or label_field in ("id", "filepath", "metadata", "tags"):
            raise InputError("A query or a field of queries, and a field for the answers is needed")
        self._field = None
        self._queries = [query_or_field] if isinstance(query_or_field, str) else query_or_field
        if isinstance(query_or_field, str) and samples.has_field(query_or_field):
            self._field = query_or_field
        self._waiting: deque[tuple[Any, int]] = deque()

    def pairs(self, samples: Any, done: Applied) -> Iterator[tuple[str, str]]:
        for sample in samples.iter_samples():
            queries = self._of(sample)
            if not queries:
                done.skipped += 1
                continue
            self._waiting.append((sample, len(queries)))
            for query in queries:
                yield sample.filepath, query

    def by_sample(self, outcomes: Iterator[Outcome]) -> Iterator[tuple[Any, list[Outcome]]]:
        some: list[Outcome] = []
        for outcome in outcomes:
            some.append(outcome)
            sample, count = self._waiting[0]
            if len(some) == count:
                self._waiting.popleft()
                yield sample, some
                some = []

    def _of(self, sample: Any) -> Sequence[str]:
        if self._field is None:
            return self._queries
        value = sample[self._field]
        value = getattr(value, "label", value)  # of a fo.Classification
        return [value] if isinstance(value, str) else [one for one in value or () if one]


def _keep(
    sample: Any, outcomes: Sequence[Outcome], label_field: str, label: str | None, done: Applied
) -> None:
    try:
        answers = [outcome.unwrap() for outcome in outcomes]
        for one in answers:
            if one.status in _NO_ANSWER:
                raise UnexpectedAnswerError(f"No answer that could be read ({one.status})")
    except TransportError:
        raise
    except WiseClientError as error:
        done.failures[sample.id] = error
        return
    found = [
        detection
        for outcome, answer in zip(outcomes, answers, strict=True)
        for detection in _detections(answer, outcome.query, label)
    ]
    sample[label_field] = fo.Detections(
        detections=found,
        thinking_tokens=sum(one.usage.thinking_tokens for one in answers),
        completion_tokens=sum(one.usage.completion_tokens for one in answers),
        reasoning="\n".join(one.reasoning for one in answers),
    )
    sample.save()
    done.answered += 1


def shares_of_image(box: tuple[int, int, int, int], size: tuple[int, int]) -> list[float]:
    """x, y, width, height in pixels -> shares of the image's (width, height).

    FiftyOne cuts x and y down to whole pixels when it draws a mask. A millionth of a pixel more, so
    that 91 does not come out of the division as 90.99, and the mask a pixel off its place.
    """
    (x, y, wide, high), (width, height) = box, size
    return [(x + 1e-6) / width, (y + 1e-6) / height, wide / width, high / height]


def _detections(answer: Segmentation, query: str, label: str | None) -> Iterator[Any]:
    """FiftyOne's boxes are shares of the image, its masks lie within their box."""
    for one in answer.instances:
        x, y, wide, high = tight_box(one.mask)
        if not wide:
            continue
        yield fo.Detection(
            label=label or query,
            bounding_box=shares_of_image((x, y, wide, high), answer.size),
            mask=one.mask[y : y + high, x : x + wide],
            confidence=one.score,
            query=query,
            reasoning=answer.reasoning,
            thinking_tokens=answer.usage.thinking_tokens,
            completion_tokens=answer.usage.completion_tokens,
        )
