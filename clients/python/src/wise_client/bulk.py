"""A large batch: the questions of a source that are not answered yet, and the answers as they come.

Memory does not grow with the number of inputs: a source is read as far as its images are needed,
and answers go to the disk.
"""

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from wise_client.answers import Answers
from wise_client.batch import Question, asked_as
from wise_client.errors import InputError
from wise_client.progress import Pace, ProgressBar
from wise_client.requests import Options
from wise_client.sources.entries import Entry
from wise_client.sources.inputs import Inputs

_UPDATE_EVERY = 1000  # questions that an earlier run answered


class Questions:
    """The questions for `segment_many`. `sent`: those that it has read, the oldest first; the
    reader of the outcomes removes them. `count`: the entries read up to now, all of them at the
    end."""

    def __init__(
        self, inputs: Inputs, answers: Answers, options: Options, pace: Pace, bar: ProgressBar
    ) -> None:
        self._inputs = inputs
        self._answers = answers
        self._options = options
        self._pace = pace
        self._bar = bar
        self.sent: deque[tuple[int, str, str]] = deque()
        self.count = 0

    def __iter__(self) -> Iterator[Question]:
        for index, entry in enumerate(self._inputs.entries()):
            self.count = index + 1
            asked = asked_as(index, entry.name, entry.query, entry.label, self._options)
            if self._answers.answered(asked):
                self._pace.resumed()
                if self.count % _UPDATE_EVERY == 0:
                    self.update()
                continue
            self.sent.append((index, asked["image"], asked["query"]))
            yield Question(index, entry.name, entry.query, _image(entry), entry.label)

    def update(self) -> None:
        """Show the progress; the number of inputs may be known more exactly by now."""
        self._pace.total = self._inputs.count()
        self._bar.update()


def _image(entry: Entry) -> Path | bytes | InputError:
    try:
        return entry.read()
    except InputError as error:
        return error
