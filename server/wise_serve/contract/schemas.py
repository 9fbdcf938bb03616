"""The bodies of `POST /segment`, in and out, as the contract (docs/api.md) has them."""

import re
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from wise_serve.contract.names import STRATEGY_NAME_PATTERN, MaskFormat, Status

MOST_INSTANCES = 256
# A PNG of one pixel, so that the example in the documentation is a valid image.
EXAMPLE_IMAGE: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
# A query must contain at least one character that is neither white space nor stripped by a
# strategy, and no NUL. `\s` differs between regex dialects, so Python's set is written out.
_ASKS_NOTHING: Final = (
    r"\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000.\u0022?!"
)
QUERY_PATTERN: Final = rf"^[^\u0000]*[^\u0000{_ASKS_NOTHING}][^\u0000]*$"
_ASKS: Final = re.compile(f"[^{_ASKS_NOTHING}]")


def _plain_text(text: str) -> str:
    if "\0" in text:
        raise ValueError("contains a NUL character")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("contains half of a surrogate pair, which is not text")
    if not text.strip():
        raise ValueError("is empty")
    if not _ASKS.search(text):
        raise ValueError("contains only punctuation")
    return text


_QUERY_SCHEMA: Final = {"type": "string", "pattern": QUERY_PATTERN}
Query = Annotated[str, AfterValidator(_plain_text), WithJsonSchema(_QUERY_SCHEMA)]


class Refusing(BaseModel):
    """Unknown fields are refused: a misspelt option must not pass unnoticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AnswerOptions(Refusing):
    """The digest of a known image, and the form of the answer."""

    image_digest: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{32}$",
        description="In place of `image`: the `image_digest` of an earlier answer about it. If the "
        "server does not have the image any more: 404 `image_unknown`; then send it again.",
    )
    mask_format: MaskFormat = Field(
        "rle",
        description="`rle` (COCO compressed RLE), `png` (base64, one bit a pixel) or `polygon`.",
    )


class SegmentOptions(AnswerOptions):
    """The queries, and the form of the answer. Exactly one of `query` and `queries`."""

    query: Query | None = Field(
        None, description="What to find, in words.", examples=["the cup she could drink from"]
    )
    queries: list[Query] | None = Field(
        None,
        min_length=1,
        description="Several things to find in the same image; the answer is then `results`, in "
        "this order. In a form, repeat the field.",
    )
    strategy: str | None = Field(
        None,
        pattern=STRATEGY_NAME_PATTERN,
        description="How the reasoner is asked: one of `strategies` of GET /info. Default: the "
        "server's.",
    )
    max_instances: int = Field(
        16, ge=1, le=MOST_INSTANCES, description="Most instances to segment for each query."
    )
    stream: bool = Field(False, description="Answer as server-sent events, while it comes.")

    @model_validator(mode="after")
    def _one_question(self) -> "SegmentOptions":
        if (self.query is None) == (self.queries is None):
            raise ValueError("exactly one of 'query' and 'queries' is needed")
        return self


Base64Image = Annotated[
    str,
    Field(
        description="JPEG, PNG or WebP, base64.",
        examples=[EXAMPLE_IMAGE],
        min_length=1,
        json_schema_extra={"format": "byte", "contentEncoding": "base64"},
    ),
]
ImageDigest = Annotated[
    str,
    Field(
        description="Names the image: `image_digest` of a further request about it.",
        examples=["6f1f4d9a0e2f4f0a9d7c3b5a1e8d2c40"],
    ),
]


class SegmentRequest(SegmentOptions):
    """`application/json` body of POST /segment."""

    image: Base64Image | None = None


class ImageSize(BaseModel):
    """Size of the image as displayed (EXIF orientation applied), pixels."""

    width: int = Field(examples=[640])
    height: int = Field(examples=[480])


class RleMask(BaseModel):
    """COCO compressed RLE. `size` is height, width."""

    size: tuple[int, int] = Field(examples=[(480, 640)])
    counts: str = Field(examples=["PPYo1?a=6I7J4M2N1O1N2O1N2O0O2N1O"])


class PngMask(BaseModel):
    """A greyscale PNG of one bit a pixel, base64. `size` is height, width."""

    size: tuple[int, int] = Field(examples=[(480, 640)])
    png: str = Field(examples=["iVBORw0KGgoAAAANSUhEUg..."])


class PolygonMask(BaseModel):
    """Outlines in pixels. `size` is height, width."""

    size: tuple[int, int] = Field(examples=[(480, 640)])
    polygons: list[list[tuple[float, float]]] = Field(
        description="Closed rings of x, y; what they cover under the even-odd rule.",
        examples=[[[(10, 20), (200, 20), (105, 210)]]],
    )


class InstanceResult(BaseModel):
    """One object. Coordinates are pixels of the image as displayed, origin at the top left."""

    box: tuple[int, int, int, int] = Field(
        description="x1, y1, x2, y2: the generated answer's, or, where that has points alone, the "
        "mask's own (zeros if it is empty).",
        examples=[(120, 80, 310, 402)],
    )
    points: list[tuple[int, int]] = Field(description="x, y each", examples=[[(200, 190)]])
    labels: list[int] = Field(
        description="Of the points: 1 on the object, 0 beside it.", examples=[[1]]
    )
    score: float = Field(description="Predicted IoU of the mask, 0 to 1.", examples=[0.94])
    area: int = Field(description="Pixels of the mask.", examples=[41250])
    mask: RleMask | PngMask | PolygonMask


class Usage(BaseModel):
    """Tokens. `thinking_tokens` counts what WISE's paper counts: the text inside `<think>`."""

    prompt_tokens: int = Field(examples=[1043])
    cached_tokens: int = Field(
        description="Those of the prompt found in the prefix cache.", examples=[900]
    )
    thinking_tokens: int = Field(examples=[6])
    answer_tokens: int = Field(examples=[41])
    completion_tokens: int = Field(description="Everything generated.", examples=[58])


class TimingMs(BaseModel):
    """Where the time went, milliseconds. Reasoning and encoding run in parallel."""

    decode: float = Field(description="Bytes to pixels.", examples=[3.1])
    reason: float = Field(description="Generation, first to last token.", examples=[210.0])
    encode: float = Field(
        description="SAM 2's image encoder, its queue included; 0 if no mask was needed.",
        examples=[95.0],
    )
    segment: float = Field(
        description="The slowest mask: queue, mask decoder and RLE.", examples=[8.2]
    )
    total: float = Field(description="From the decoding of the image on.", examples=[221.9])


class ModelNames(BaseModel):
    """What answered."""

    reasoner: str = Field(examples=["miniature"])
    segmenter: str = Field(examples=["miniature"])
    strategy: str


class SegmentResult(BaseModel):
    """The answer to one query."""

    id: str = Field(examples=["seg-2f1c9a7be04d4c1e8b35"])
    status: Status = Field(
        description="`found`; `no_target`: a valid answer that names nothing; `unparsed`: no valid "
        "answer in the text; `truncated`: the token limit came before the answer's end (the "
        "instances complete by then are returned)."
    )
    image: ImageSize
    image_digest: ImageDigest
    instances: list[InstanceResult]
    reasoning: str = Field(description="The model's rationale.", examples=["round, so it rolls"])
    text: str | None = Field(
        None, description="The whole generated text, if `status` is `unparsed` or `truncated`."
    )
    usage: Usage
    timing_ms: TimingMs
    model: ModelNames


class SegmentResults(BaseModel):
    """The answers to `queries`, in their order."""

    results: list[SegmentResult]


class Problem(BaseModel):
    """RFC 9457 problem details, with `code`, `request_id` and, if one field is wrong, `field`."""

    type: str = Field(examples=["urn:wise-serve:problem:overloaded"])
    title: str = Field(examples=["The server is full"])
    status: int = Field(examples=[429])
    detail: str = Field(examples=["All 64 slots are in use and 64 requests wait."])
    code: str = Field(examples=["overloaded"])
    request_id: str = Field(examples=["seg-2f1c9a7be04d4c1e8b35"])
    field: str | None = Field(None, examples=["query"])
