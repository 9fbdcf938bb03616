"""The fields of a strategy. The schema and the documentation show their descriptions."""

import json
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from wise_serve.contract.names import REFINE, STRATEGY_NAME_PATTERN
from wise_serve.reasoner.reading.keys import Keys

QUESTION: Final = "{question}"
EXAMPLE: Final = "{example}"
SQUARE, ASPECT = "square image", "image that keeps its aspect"
_MOST_SIDE_PIXELS: Final = 4096
_ROUNDINGS: Final[dict[str, Callable[[float], int]]] = {
    "half_even": round,
    "half_up": lambda value: int(value + 0.5),
}


class _Part(BaseModel):
    """Base of a strategy's parts. Unknown fields are errors, so that misspelt ones are found."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_example(text: str) -> Any:
    """The value of an example: JSON, or JSON with single quotes instead of double ones.

    Raises ValueError."""
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(text.replace("'", '"'))


def _one_question(template: str) -> str:
    if template.count(QUESTION) != 1:
        raise ValueError(
            f"must contain {QUESTION} exactly once, not {template.count(QUESTION)} times"
        )
    return template


class Turn(_Part):
    """The text of the user's turn. A checkpoint understands only the prompt it was trained with."""

    template: Annotated[str, AfterValidator(_one_question)] = Field(
        description="The text. {question} is replaced by the query, {example} by the example "
        "below. Nothing else is replaced."
    )
    example: str = Field(
        "",
        description="An answer in the checkpoint's format. With --structured-answers all answers "
        "must have this form. Without an example, any text is allowed.",
    )
    strip: str = Field("", description="Characters removed from both ends of the query.")
    lower_case: bool = Field(True, description="Whether the query is written in lower case.")
    system: str | None = Field(
        None, description="The system turn. Default: the one in the chat template."
    )

    @model_validator(mode="after")
    def _shows_its_example(self) -> Self:
        try:
            read_example(self.example or "{}")
        except ValueError:
            raise ValueError("the example is not JSON (single quotes are allowed)") from None
        if EXAMPLE in self.template and not self.example:
            raise ValueError(f"the template contains {EXAMPLE}, but there is no example")
        return self


class SquareImage(_Part):
    """The image is stretched to a square, whatever its aspect."""

    square_pixels: int = Field(ge=28, le=_MOST_SIDE_PIXELS, description="Side of the square.")


class AspectImage(_Part):
    """The image keeps its aspect, as the processors of Qwen2.5-VL and Qwen3-VL keep it."""

    least_pixels: int = Field(ge=1, description="Smallest width x height.")
    most_pixels: int = Field(
        ge=1,
        le=_MOST_SIDE_PIXELS**2,
        description="Largest width x height; larger images are shrunk.",
    )
    multiple_pixels: int = Field(
        28,
        ge=1,
        le=256,
        description="Width and height are multiples of this: 28 for Qwen2.5-VL, 32 for Qwen3-VL.",
    )

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.multiple_pixels**2 <= self.most_pixels >= self.least_pixels:
            raise ValueError(
                "most_pixels must be at least least_pixels, and at least multiple_pixels squared"
            )
        return self


def _form_of_image(value: object) -> str:
    """Which of the two forms `value` has, so that only mistakes in that form are reported."""
    given = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return SQUARE if "square_pixels" in given else ASPECT


_Image = Annotated[
    Annotated[SquareImage, Tag(SQUARE)] | Annotated[AspectImage, Tag(ASPECT)],
    Discriminator(_form_of_image),
]


class Coordinates(_Part):
    """The unit of the numbers in an answer, and how they are rounded."""

    frame: Literal["square", "image", "normalized"] = Field(
        description="square: pixels of the stretched square. image: pixels of the image that the "
        "checkpoint sees, which keeps its aspect. normalized: both axes from 0 to `range`."
    )
    range: float = Field(1000, gt=0, description="The largest normalized coordinate.")
    rounding: Literal["half_even", "half_up"] = Field(
        "half_even", description="How coordinates become whole pixels of the original image."
    )


_Names = tuple[Annotated[str, Field(min_length=1, max_length=64)], ...]


class AnswerForm(_Part):
    """Additional names in an answer.

    `bbox`, `bbox_2d`, `box`, `point_2d`, `points_1` and similar names are always understood.
    """

    boxes: _Names = Field((), description="Other keys of boxes.")
    points: _Names = Field((), description="Other keys of points.")
    labels: _Names = Field((), description="Keys of text about an object.")
    point_labels: _Names = Field(
        (),
        description="Keys of a label for each point: 1 on the object, 0 off it. If the number of "
        "labels differs from that of points, the points are dropped.",
    )
    lone_points: bool = Field(
        False,
        description="Whether points without a box are an object. If so, SAM 2 gets the points "
        "alone; if not, such an answer is `unparsed`.",
    )
    tags: Literal["think_answer", "think_keys", "none"] = Field(
        "think_answer",
        description="think_answer: <think>...</think><answer>...</answer>. think_keys: "
        "<think>...</think>, then each key as a tag, <bbox>...</bbox>. none: the whole text is the "
        "answer.",
    )


class Strategy(_Part):
    """How to ask one kind of checkpoint, and how to read its answer."""

    name: str = Field(pattern=STRATEGY_NAME_PATTERN, description="Its name in requests.")
    description: str = Field(
        "", max_length=200, description="One line that helps to choose a strategy."
    )
    source: str = Field("", description="Where the prompt was published.")
    lora: str | None = Field(
        None,
        pattern=STRATEGY_NAME_PATTERN,
        description="The LoRA adapter to use: a name given to --reasoner-lora. Default: the "
        "checkpoint alone.",
    )
    turn: Turn
    image: _Image = Field(
        description="How the checkpoint sees the image: `square_pixels`, or `least_pixels` and "
        "`most_pixels`."
    )
    coordinates: Coordinates
    answer: AnswerForm = AnswerForm()
    max_tokens: int = Field(ge=1, le=16_384, description="Token limit of one answer.")
    max_points: int = Field(
        2, ge=0, le=64, description="Points of one object that SAM 2 gets; the others are dropped."
    )
    mask_choice: Literal["best", "single"] = Field(
        "best",
        description="Which of SAM 2's masks is kept. best: of several, the one with the highest "
        "predicted IoU. single: that of its single-mask output.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.name in ("none", REFINE):
            raise ValueError(f"the name {self.name!r} is reserved for requests without a strategy")
        if self.coordinates.frame == "square" and not isinstance(self.image, SquareImage):
            raise ValueError("the frame 'square' needs an image of square_pixels")
        if self.answer.lone_points and not self.max_points:
            raise ValueError("with answer.lone_points, max_points must be at least 1")
        if self.answer.tags == "think_keys" and self.example:
            raise ValueError("with answer.tags 'think_keys', turn.example must be empty")
        return self

    @property
    def keys(self) -> Keys:
        """The strategy's names of boxes, points and labels, and which objects they make."""
        form = self.answer
        return Keys(
            form.boxes,
            form.points,
            form.labels,
            form.point_labels,
            form.lone_points,
            as_tags=form.tags == "think_keys",
        )

    @property
    def example(self) -> str:
        """The example answer in the prompt; may be empty."""
        return self.turn.example

    @property
    def tagged(self) -> bool:
        """Whether the thinking has tags; otherwise the whole text is the answer."""
        return self.answer.tags != "none"

    @property
    def round(self) -> Callable[[float], int]:
        """A coordinate of the original image, rounded to whole pixels."""
        return _ROUNDINGS[self.coordinates.rounding]

    def question(self, query: str) -> str:
        """The query as it stands in the prompt: lower-cased, outer `strip` characters removed.

        May be empty. May contain a special token that the raw query did not contain, because
        lower-casing can create one: check this text, not only the query.
        """
        text = query.lower() if self.turn.lower_case else query
        return text.strip(self.turn.strip) if self.turn.strip else text

    def prompt(self, query: str) -> str:
        """The user turn's text with this query. Braces in the query have no meaning."""
        around = [
            part.replace(EXAMPLE, self.example) for part in self.turn.template.split(QUESTION)
        ]
        return self.question(query).join(around)
