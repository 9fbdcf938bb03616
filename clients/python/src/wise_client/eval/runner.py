"""One strategy over one dataset, through the SDK's `segment_many`."""

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from wise_client.batch import Outcome
from wise_client.client import Client
from wise_client.errors import InputError, WiseClientError
from wise_client.eval.samples import Dataset, Sample, Truth
from wise_client.eval.scores import Scored, Summary, score, summarise
from wise_client.masks import Rle, encode
from wise_client.requests import Strategy


@dataclass(frozen=True)
class Failure:
    """A pair without a score, and why."""

    index: int
    name: str
    error: WiseClientError


@dataclass(frozen=True, eq=False)
class Shown:
    """An answer kept to be drawn. The masks are COCO RLE, which is small."""

    scored: Scored
    image: Path | bytes
    truth: Rle
    answer: Rle


@dataclass(frozen=True)
class Options:
    """How the dataset is asked; `output` is a folder, `worst` the answers kept to be drawn."""

    concurrency: int = 8
    output: Path | None = None
    progress: bool = False
    max_instances: int | None = None
    max_side_pixels: int | None = None
    worst: int = 0


@dataclass
class StrategyRun:
    """The outcome of one strategy."""

    strategy: str
    scored: list[Scored] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    worst: list[Shown] = field(default_factory=list)
    models: set[tuple[str, str]] = field(default_factory=set)
    fresh: int = 0
    elapsed_s: float = 0.0

    @property
    def summary(self) -> Summary:
        """The figures of the answers scored so far."""
        throughput = self.fresh / self.elapsed_s if self.fresh and self.elapsed_s else None
        return summarise(self.strategy, self.scored, len(self.failures), throughput)


class _Pairs:
    """The samples as (image, query) pairs, read as they are needed.

    waiting: those that were sent and not answered yet, the oldest first.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.waiting: deque[Sample] = deque()

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[tuple[Path | bytes, str]]:
        for sample in self._dataset:
            self.waiting.append(sample)
            yield sample.image, sample.query


def run(
    client: Client,
    dataset: Dataset,
    strategy: Strategy,
    options: Options,
    on_outcome: Callable[[str, WiseClientError | None], None] = lambda name, error: None,
) -> StrategyRun:
    """Ask every sample under `strategy` and score the answers.

    With `options.output`, answers go to `<output>/<strategy>.jsonl`, and a second run reads them
    from there. `on_outcome` is called with each pair's name and error; what it raises ends the run.
    Raises InputError when the output file is of another dataset or other options.
    """
    made = StrategyRun(strategy)
    pairs = _Pairs(dataset)
    worst: list[tuple[float, int, Shown]] = []  # a heap: the best of the worst is on top
    started_s = time.monotonic()
    outcomes = client.segment_many(
        pairs,
        concurrency=options.concurrency,
        output=options.output / f"{strategy}.jsonl" if options.output else None,
        progress=options.progress,
        strategy=strategy,
        max_instances=options.max_instances,
        max_side_pixels=options.max_side_pixels,
    )
    with closing(outcomes):  # an error ends the requests under way, not the garbage collector
        for outcome in outcomes:
            sample = pairs.waiting.popleft()
            try:
                shown = _take(made, outcome, sample, keep=options.worst > 0)
            except WiseClientError as error:
                made.failures.append(Failure(outcome.index, sample.name, error))
                on_outcome(sample.name, error)
                continue
            on_outcome(sample.name, None)
            if shown is not None:
                _keep_worst(worst, shown, options.worst)
    made.elapsed_s = time.monotonic() - started_s
    made.worst = [shown for _, _, shown in sorted(worst, key=lambda one: one[:2], reverse=True)]
    return made


def _take(made: StrategyRun, outcome: Outcome, sample: Sample, keep: bool) -> Shown | None:
    """Score one outcome into `made`; raises the outcome's error, or the truth's."""
    if sample.problem is not None:
        raise sample.problem
    result = outcome.unwrap()
    try:
        truth: Truth = sample.truth(result.size)
    except WiseClientError:
        raise
    except Exception as error:  # one bad record must not end a run whose answers have come
        raise InputError(
            f"{sample.name}: its truth cannot be read ({type(error).__name__}: {error})"
        ) from error
    scored = score(outcome.index, sample.name, result, truth)
    made.scored.append(scored)
    made.models.add((result.model.reasoner, result.model.segmenter))
    made.fresh += not outcome.resumed
    if not keep:
        return None
    return Shown(scored, sample.image, encode(truth.mask), encode(result.mask))


def _keep_worst(worst: list[tuple[float, int, Shown]], shown: Shown, most: int) -> None:
    entry = (-shown.scored.iou, -shown.scored.index, shown)
    if len(worst) < most:
        heapq.heappush(worst, entry)
    else:
        heapq.heappushpop(worst, entry)
