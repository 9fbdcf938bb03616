"""Coverage-guided fuzz of the answer parser: `make fuzz`, or test_fuzz.py for seconds."""

import sys
from typing import Final

import atheris

with atheris.instrument_imports(include=["wise_serve.reasoner"]):
    from wise_serve.reasoner import FinishReason
    from wise_serve.reasoner.answer import AnswerReader, Frame, read_answer
    from wise_serve.reasoner.strategies.files import read_shipped, shipped_names

STRATEGIES: Final = [read_shipped(name) for name in shipped_names()]
FINISHES: Final[tuple[FinishReason, ...]] = ("stop", "length")
SIZES = ((840, 840), (1, 1), (8000, 30), (640, 480))


def one(data: bytes) -> None:
    """Whatever the text, and however it is cut, the answer is the same and lies in the image."""
    choice, cut, text = data[:1], data[1:2], data[2:].decode("utf-8", "replace")
    number = choice[0] if choice else 0
    strategy = STRATEGIES[number % len(STRATEGIES)]
    width, height = SIZES[number // 8 % len(SIZES)]
    frame, finish = Frame(width, height, 840), FINISHES[number // 64 % 2]
    whole = read_answer(text, finish, strategy, frame)
    reader = AnswerReader(strategy, frame)
    at = (cut[0] if cut else 0) % (len(text) + 1)
    progress = [reader.feed(text[:at]), reader.feed(text[at:])]
    answer, last = reader.finish(finish)
    assert answer == whole
    given = [instance for part in (*progress, last) for instance in part.instances]
    assert set(given) >= set(whole.instances)
    # Without tags the answer begins with the text, with keys as tags behind the thinking.
    answers = text.count("<answer>") + (strategy.keys.as_tags or not strategy.tagged)
    if answers < 2:  # else a later answer may replace an earlier one
        assert tuple(given) == whole.instances
    for instance in whole.instances:
        assert all(0 <= x < width and 0 <= y < height for x, y in instance.points)
        assert len(instance.labels) in (0, len(instance.points))
        if instance.box is None:
            assert strategy.answer.lone_points
            assert 1 in (instance.labels or [1] * len(instance.points))
        else:
            x1, y1, x2, y2 = instance.box
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
