"""Functions for CVAT's auto-annotation: `cvat-cli task auto-annotate`, its SDK, and its agents.

    cvat-cli task auto-annotate 7 --function-module wise_client.integrations.cvat \\
        -p "cup=str:the cup she could drink from" -p spoon=str:

A parameter that is not an option of `create` is a label, and its value is the query for it; the
label itself, if that is empty. Each failure raises: CVAT then uploads nothing, so that a server
that cannot be reached never looks like an image without objects.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import cvat_sdk.auto_annotation as cvataa
import PIL.Image
from cvat_sdk.masks import encode_mask
from cvat_sdk.models import AttributeValRequest

from wise_client.client import Client
from wise_client.errors import InputError, UnexpectedAnswerError
from wise_client.masks import BoolMask, tight_box
from wise_client.parts import Instance
from wise_client.polygons import simplified, without_holes
from wise_client.results import Segmentation

MOST_QUERIES: Final = 64  # of one request, by the server's contract
_SHAPES = ("mask", "polygon", "rectangle")


class Detector:
    """A detection function: queries -> masks, polygons or rectangles."""

    def __init__(
        self,
        client: Client,
        queries: Mapping[str, str],
        shape: str = "mask",
        max_instances: int | None = None,
        polygon_tolerance_pixels: float = 1.0,
    ) -> None:
        """`queries`: from a label of the task to its query. Raises InputError."""
        if not queries:
            raise InputError("No label to ask for; give one such as: -p cup=str:the red cup")
        if shape not in _SHAPES:
            raise InputError(f"shape is one of {', '.join(_SHAPES)}, not {shape!r}")
        self._client = client
        self._queries = list(queries.values())
        self._shape = shape
        self._max_instances = max_instances
        self._tolerance_pixels = polygon_tolerance_pixels
        # A label of the task may have any type, or exactly the one that is declared here. Masks
        # become polygons at the caller's wish, so that their type stays open.
        kind = "any" if shape == "mask" else shape
        labels = [cvataa.label_spec(name, number, type=kind) for number, name in enumerate(queries)]
        self.spec = cvataa.DetectionFunctionSpec(labels=labels)

    def detect(self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image) -> list[Any]:
        """`LabeledShapeRequest`s for one image, each with a score of at least the threshold."""
        found = []
        for number, answer in enumerate(self._ask(image, context.frame_name)):
            for one in answer.instances:
                if one.score >= (context.conf_threshold or 0.0) and one.mask.any():
                    found += self._shapes(context.conv_mask_to_poly, number, one)
        return found

    def _ask(self, image: PIL.Image.Image, name: str) -> Sequence[Segmentation]:
        answers: list[Segmentation] = []
        for start in range(0, len(self._queries), MOST_QUERIES):
            some = self._queries[start : start + MOST_QUERIES]
            answers += self._client.segment_queries(image, some, max_instances=self._max_instances)
        for query, answer in zip(self._queries, answers, strict=True):
            if answer.status in ("unparsed", "truncated"):
                raise UnexpectedAnswerError(
                    f"{name}: the model gave no answer to {query!r} that could be read "
                    f"({answer.status})"
                )
        return answers

    def _shapes(self, as_polygons: bool, label: int, one: Instance) -> list[Any]:
        if self._shape == "rectangle":
            return [cvataa.rectangle(label, _tight(one.mask))]
        if self._shape == "mask" and not as_polygons:
            return [cvataa.mask(label, encode_mask(one.mask))]
        rings = without_holes(one.mask)
        return [
            cvataa.polygon(label, simplified(ring, self._tolerance_pixels).ravel().tolist())
            for ring in rings
        ]


class Interactor:
    """An interaction function, for agents: an annotator's clicks and box -> a mask."""

    spec = cvataa.InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)

    def __init__(self, client: Client) -> None:
        self._client = client

    def detect(
        self,
        context: cvataa.InteractionFunctionContext,
        pp_image: PIL.Image.Image,
        prompts: cvataa.InteractionPrompts,
    ) -> list[Any]:
        """One mask as an `InteractionResultShape`, with its score as the confidence."""
        points = [(x, y, 1) for x, y in prompts.pos_points]
        points += [(x, y, 0) for x, y in prompts.neg_points]
        corners = prompts.bounding_box
        box = (*corners[0], *corners[1]) if corners else None
        (one,) = self._client.refine(pp_image, box=box, points=points).instances
        confidence = AttributeValRequest(
            spec_id=cvataa.InteractionResultAttributes.CONFIDENCE,
            value=f"{min(max(one.score, 0.0), 1.0):.4f}",
        )
        points = encode_mask(one.mask)
        return [cvataa.InteractionResultShape(type="mask", points=points, attributes=[confidence])]


def create(
    query: str = "",
    label: str = "",
    url: str | None = None,
    api_key: str | None = None,
    shape: str = "mask",
    max_instances: int | None = None,
    polygon_tolerance_pixels: float = 1.0,
    interactive: bool = False,
    **queries: str,
) -> Detector | Interactor:
    """What `--function-module wise_client.integrations.cvat` calls with each `-p NAME=TYPE:VALUE`.

    `query` is asked for `label`, or for a label of the same words. Every other name is a label
    with its query. `url` and `api_key` fall back to WISE_URL and WISE_API_KEY. `shape`: mask,
    polygon or rectangle. `interactive`: a function of clicks in place of queries, for an agent.
    Raises InputError.
    """
    if interactive:
        if query or label or queries:
            raise InputError("interactive is for clicks; it asks no query")
        return Interactor(Client(url, api_key))
    asked = {label or query: query or label} if query or label else {}
    asked |= {name: sentence or name for name, sentence in queries.items()}
    return Detector(Client(url, api_key), asked, shape, max_instances, polygon_tolerance_pixels)


def _tight(mask: BoolMask) -> list[float]:
    """CVAT's [x1, y1, x2, y2] around the mask."""
    x, y, width, height = tight_box(mask)
    return [x, y, x + width, y + height]
