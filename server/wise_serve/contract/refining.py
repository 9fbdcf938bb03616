"""The bodies of `POST /refine`, in and out, as the contract (docs/api.md) has them."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from wise_serve.contract.schemas import (
    AnswerOptions,
    Base64Image,
    ImageDigest,
    ImageSize,
    PngMask,
    PolygonMask,
    Refusing,
    RleMask,
)

Coordinate = Annotated[float, Field(allow_inf_nan=False)]


def _not_truth(value: object) -> object:
    if isinstance(value, bool):  # Python treats them as 1 and 0
        raise ValueError("must be 0 or 1")
    return value


_FROM_LIST = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
_BoxIn = Annotated[tuple[Coordinate, Coordinate, Coordinate, Coordinate], _FROM_LIST]
_SizeIn = Annotated[tuple[int, int], _FROM_LIST]


class PointPrompt(Refusing):
    """A click; pixels of the image as displayed, origin at the top left."""

    x: Coordinate = Field(examples=[200])
    y: Coordinate = Field(examples=[190])
    label: Annotated[Literal[0, 1], BeforeValidator(_not_truth)] = Field(
        1, description="1: the object is here; 0: what is here is not the object."
    )


class EarlierMask(Refusing):
    """A mask of an earlier answer: COCO compressed RLE. `size` is height, width: the image's."""

    size: _SizeIn = Field(examples=[(480, 640)])
    counts: str = Field(min_length=1, examples=["PPYo1?a=6I7J4M2N1O1N2O1N2O0O2N1O"])


class RefinePrompt(Refusing):
    """One object, by at least one of a box, points and an earlier mask."""

    box: _BoxIn | None = Field(
        None, description="x1, y1, x2, y2; pixels.", examples=[(120, 80, 310, 402)]
    )
    points: list[PointPrompt] = Field(default=[], description="Clicks, in any order.")
    mask: EarlierMask | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> "RefinePrompt":
        if self.box is None and not self.points and self.mask is None:
            raise ValueError("a prompt needs a box, points or a mask")
        if self.box is not None and (self.box[0] >= self.box[2] or self.box[1] >= self.box[3]):
            raise ValueError("a box needs x1 < x2 and y1 < y2")
        return self


class RefineOptions(AnswerOptions):
    """The prompts, and the form of the answer."""

    prompts: list[RefinePrompt] = Field(
        min_length=1, description="One for each object; the answer's `instances` are in this order."
    )
    multimask: bool | None = Field(
        None,
        description="`true`: all three of SAM 2's masks for each prompt, the best first and the "
        "others in its `alternatives`; `false`: its single mask. Default: the best of the three "
        "for one point alone, which may mean several things, and else the single mask.",
    )


class RefineRequest(RefineOptions):
    """`application/json` body of POST /refine."""

    image: Base64Image | None = None


class AlternativeMask(BaseModel):
    """Another mask for the same prompt."""

    score: float = Field(description="Predicted IoU of the mask, 0 to 1.", examples=[0.71])
    area: int = Field(description="Pixels of the mask.", examples=[3120])
    mask: RleMask | PngMask | PolygonMask


class RefinedInstance(BaseModel):
    """One object. Coordinates are pixels of the image as displayed, origin at the top left."""

    box: tuple[float, float, float, float] = Field(
        description="x1, y1, x2, y2: the prompt's, or without one the mask's own (zeros if it is "
        "empty).",
        examples=[(120, 80, 310, 402)],
    )
    points: list[tuple[float, float]] = Field(
        description="x, y each: the prompt's", examples=[[(200, 190)]]
    )
    labels: list[int] = Field(description="Of the points: 1 or 0 each.", examples=[[1]])
    score: float = Field(description="Predicted IoU of the mask, 0 to 1.", examples=[0.94])
    area: int = Field(description="Pixels of the mask.", examples=[41250])
    mask: RleMask | PngMask | PolygonMask
    alternatives: list[AlternativeMask] = Field(
        description="With `multimask: true`, the other masks by descending score; else empty.",
        examples=[[]],
    )


class RefineTimingMs(BaseModel):
    """Where the time went, milliseconds."""

    decode: float = Field(description="Bytes to pixels; 0 for a known image.", examples=[3.1])
    encode: float = Field(
        description="SAM 2's image encoder, its queue included; 0 for a known image.",
        examples=[95.0],
    )
    segment: float = Field(description="Queue, mask decoder and RLE.", examples=[8.2])
    total: float = Field(description="From the decoding of the image on.", examples=[106.9])


class SegmenterName(BaseModel):
    """What answered."""

    segmenter: str = Field(examples=["miniature"])


class RefineResult(BaseModel):
    """The masks of `prompts`, in their order."""

    id: str = Field(examples=["seg-2f1c9a7be04d4c1e8b35"])
    status: Literal["found"] = "found"
    image: ImageSize
    image_digest: ImageDigest
    instances: list[RefinedInstance]
    timing_ms: RefineTimingMs
    model: SegmenterName
