"""Keys written as tags, and points with labels: Seg-R1's answers and their variants."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_serve.contract.prompts import Prompt
from wise_serve.reasoner.answer import Answer, AnswerReader, Frame, read_answer
from wise_serve.reasoner.reading.tags import TagKeys
from wise_serve.reasoner.strategies import StrategyError
from wise_serve.reasoner.strategies.files import read_shipped, read_strategy
from wise_serve.reasoner.tokens import count_tokens

SEG_R1 = read_shipped("seg-r1")
FRAME = Frame(1024, 1024, 1024)  # coordinates pass unchanged
BOX = "<bbox>[100,200,300,400]</bbox>"
POINTS, LABELS = "<points>[[110,210],[120,220]]</points>", "<labels>[1,0]</labels>"
WHOLE = Prompt((100, 200, 300, 400), ((110, 210), (120, 220)), (1, 0), choice="single")
BOX_ALONE = Prompt((100, 200, 300, 400), choice="single")
LONE = Prompt(None, ((110, 210), (120, 220)), (1, 0), choice="single")


def read(behind_the_thinking: str) -> Answer:
    text = f"<think> a <bbox>[1,2,3,4]</bbox> </think> {behind_the_thinking}"
    return read_answer(text, "stop", SEG_R1, FRAME)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (f"{BOX}, {POINTS}, {LABELS}", WHOLE),
        (f"{BOX}{POINTS}{LABELS}", WHOLE),
        (f"{LABELS}\n{POINTS}\n{BOX}", WHOLE),
        (f"<answer>{BOX}, {POINTS}, {LABELS}</answer>", WHOLE),
        (f"{BOX}, {POINTS}, <labels>[1,0]", WHOLE),
        (BOX, BOX_ALONE),
        (f"{BOX}, <points></points>, <labels></labels>", BOX_ALONE),
        (f"{BOX}, {POINTS}", BOX_ALONE),
        (f"{BOX}, {POINTS}, <labels>[1]</labels>", BOX_ALONE),
        (f"{POINTS}, {LABELS}", LONE),
        (f"<bbox></bbox>, {POINTS}, {LABELS}", LONE),
    ],
)
def test_tags_are_read_as_the_keys_that_they_are(text: str, meant: Prompt) -> None:
    answer = read(text)
    assert (answer.status, answer.instances) == ("found", (meant,))
    assert answer.rationale == "a <bbox>[1,2,3,4]</bbox>"


@pytest.mark.parametrize(
    "text",
    [
        POINTS,  # no labels, so no points, and no box
        f"{POINTS}, <labels>[0,0]</labels>",
        f"{BOX}, {POINTS}, <labels>[1,2]</labels>",
        f"{BOX}, <bbox>[500,500,600,600]</bbox>, {POINTS}, {LABELS}",
        "<bbox>[100,200,300]</bbox>",
        "<bbox>[100,200,300,left]</bbox>",
        "I see no such thing.",
        "",
    ],
)
def test_a_malformed_answer_with_labels_is_refused(text: str) -> None:
    answer = read(text)
    assert (answer.status, answer.instances) == ("unparsed", ())


def test_empty_tags_name_nothing() -> None:
    text = "<bbox></bbox>, <points></points>, <labels></labels>"
    assert read(text).status == "no_target"
    assert read("<bbox>[]</bbox>").status == "no_target"


def test_an_answer_that_the_limit_cuts_is_truncated() -> None:
    answer = read_answer(f"<think>a</think> {BOX}, <poi", "length", SEG_R1, FRAME)
    assert (answer.status, answer.instances) == ("truncated", ())


@given(st.lists(st.integers(0, 140), max_size=12))
def test_an_answer_in_pieces_is_read_as_a_whole_one(cuts: list[int]) -> None:
    text = f"<think> round </think> {BOX}, {POINTS}, {LABELS}"
    reader = AnswerReader(SEG_R1, FRAME)
    for start, end in pairwise(sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})):
        reader.feed(text[start:end])
    assert reader.finish("stop")[0] == read_answer(text, "stop", SEG_R1, FRAME)


@given(st.lists(st.sampled_from(["<", ">", "/", "bbox", "<bbox>", "1", "</b", " "])))
def test_no_text_is_lost_between_tags(pieces: list[str]) -> None:
    keys, whole = TagKeys(), TagKeys()
    given_apart = "".join(map(keys.feed, pieces)) + keys.close()
    assert given_apart == whole.feed("".join(pieces)) + whole.close()


def test_tokens_of_thinking_and_answer_are_distinguished() -> None:
    text = f"<think>ab</think>{BOX}"
    counts = count_tokens([bytes([byte]) for byte in text.encode()], SEG_R1)
    assert (counts.thinking_tokens, counts.answer_tokens) == (2, len(BOX))


def test_a_strategy_may_name_labels_in_json() -> None:
    form = SEG_R1.answer.model_copy(update={"tags": "none", "point_labels": ("point_labels",)})
    strategy = SEG_R1.model_copy(update={"answer": form})
    text = '{"bbox": [100,200,300,400], "points": [[110,210],[120,220]], "point_labels": [1,0]}'
    assert read_answer(text, "stop", strategy, FRAME).instances == (WHOLE,)


def test_labels_stay_with_their_points_where_some_are_dropped() -> None:
    strategy = SEG_R1.model_copy(update={"max_points": 2})
    text = "<think>a</think><points>[[2000,5],[110,210],[120,220],[3,4]]</points><labels>[1,1,0,1]"
    (one,) = read_answer(text, "stop", strategy, FRAME).instances
    assert (one.points, one.labels) == (((110, 210), (120, 220)), (1, 0))


def test_tags_of_keys_have_no_example_for_a_grammar() -> None:
    record = SEG_R1.model_copy(
        update={"turn": SEG_R1.turn.model_copy(update={"example": '{"bbox": [1, 2, 3, 4]}'})}
    )
    with pytest.raises(StrategyError, match=r"turn\.example must be empty"):
        read_strategy(record.model_dump_json(), "mine.json")
