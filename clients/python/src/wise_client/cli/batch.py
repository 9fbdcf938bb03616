"""`wise-segment batch`: images by the thousand or the million, into a file or folder of answers."""

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import closing

from wise_client.answers import AnswerFile
from wise_client.bulk import Questions
from wise_client.cli.batch_arguments import (
    export_folders,
    inputs_of,
    parse,
    writes_parquet,
)
from wise_client.cli.common import (
    FOUND,
    PARTIAL,
    add_hint,
    check_strategies,
    check_writable,
    client_of,
    say,
)
from wise_client.cli.failures import BadRecords, Failures
from wise_client.errors import InputError, WiseClientError
from wise_client.export import coco
from wise_client.exports import dataset
from wise_client.exports.samples import recorded
from wise_client.parquet.folder import ParquetAnswers
from wise_client.progress import Pace, ProgressBar
from wise_client.requests import Options
from wise_client.results import Segmentation
from wise_client.retry import RetryPolicy
from wise_client.sources.entries import Entry
from wise_client.sources.inputs import Inputs

# The run waits about two minutes for a server that restarts.
_PATIENT = RetryPolicy(max_retries=12, cap_s=30.0)


def main(arguments: Sequence[str]) -> int:
    """Run `wise-segment batch`; gives the exit status. Raises WiseClientError."""
    words = parse(arguments)
    parquet = writes_parquet(words)
    check_writable(None if parquet else words.output, words.bad, words.coco)
    options = Options(words.strategy, words.max_instances, None, words.max_side_pixels)
    with inputs_of(words) as inputs, _answers(words, options, parquet) as answers:
        count, failures = _run(inputs, answers, options, words)
        if words.coco is not None:
            words.coco.write_text(json.dumps(coco(_answered(inputs, answers))), "utf-8")
        for form, folder in export_folders(words).items():
            written = dataset.write(form, folder, inputs, answers, words.val_share)
            rest = f", {written.left_out} left out" if written.left_out else ""
            classes = len(written.classes)
            kinds = "1 class" if classes == 1 else f"{classes} classes"
            say(f"{written.images} images, {kinds}{rest}: {folder}")
    say(f"{count - failures} of {count} pairs answered: {words.output}")
    if failures:
        say(
            f"{failures} pairs failed: {words.bad} has the reasons; run the command again to "
            "repeat them"
        )
    return PARTIAL if failures else FOUND


def _answers(
    words: argparse.Namespace, options: Options, parquet: bool
) -> ParquetAnswers | AnswerFile:
    if parquet:
        return ParquetAnswers(words.output, options.given(), words.rows_per_part)
    return AnswerFile(words.output)


def _run(
    inputs: Inputs,
    answers: ParquetAnswers | AnswerFile,
    options: Options,
    words: argparse.Namespace,
) -> tuple[int, int]:
    """Ask; returns the number of pairs and of failures. Stops if the server is gone, because all
    pairs would fail; the next run continues with the answers so far."""
    _check_server(words)
    pace = Pace(inputs.count())
    with (
        client_of(words, words.concurrency, _PATIENT) as client,
        BadRecords(words.bad) as bad,
        ProgressBar(pace, shown=not words.no_progress) as bar,
    ):
        limit = min(words.concurrency, pace.total or words.concurrency)
        failures = Failures(limit, client.base_url, str(words.bad))
        questions = Questions(inputs, answers, options, pace, bar)
        outcomes = client.segment_many(
            questions,
            concurrency=words.concurrency,
            output=answers,
            strategy=options.strategy,
            max_instances=options.max_instances,
            max_side_pixels=options.max_side_pixels,
        )
        with closing(outcomes):
            for outcome in outcomes:
                index, name, query = questions.sent.popleft()
                pace.answered(outcome.result.usage if outcome.result else None)
                questions.update()
                if outcome.error is not None:
                    bad.add(index, name, query, outcome.error)
                failures.saw(f"pair {index}, {name}", outcome.error)
    if len(answers) != questions.count:
        raise InputError(
            f"{words.output} has {len(answers)} rows, for {questions.count} inputs: it belongs to "
            "other inputs, or some were removed since; choose another output"
        )
    return questions.count, failures.count


def _check_server(words: argparse.Namespace) -> None:
    """Fail at once for a wrong address, key or strategy; the run itself retries for minutes."""
    with client_of(words) as client:
        try:
            check_strategies(client.info(), [words.strategy] if words.strategy else [])
        except WiseClientError as error:
            add_hint(error, client.base_url)
            raise


def _answered(
    inputs: Inputs, answers: ParquetAnswers | AnswerFile
) -> Iterator[tuple[str, Segmentation]]:
    images: dict[str, str] = {}
    for _, entry, record in recorded(inputs, answers):
        if "response" in record:
            file = _free(entry, images)
            yield file, Segmentation.from_dict(record["response"], query=entry.query)


def _free(entry: Entry, images: dict[str, str]) -> str:
    """The entry's `file`, or its `name` if another image has that file name.

    `images`: which image has a file name, by these names.
    """
    numbered = (f"{entry.name}-{number}" for number in itertools.count(2))
    names = itertools.chain((entry.file, entry.name), numbered)
    return next(name for name in names if images.setdefault(name, entry.name) == entry.name)
