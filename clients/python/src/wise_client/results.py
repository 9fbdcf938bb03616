"""What the server answers, typed. Everything is in pixels of the original image, as displayed."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from PIL import Image

from wise_client import export, overlays
from wise_client.errors import InputError, UnexpectedAnswerError
from wise_client.inputs import ImageInput, Source, keep, load_rgb
from wise_client.masks import BoolMask
from wise_client.parts import Box, Frame, Instance, Models, Point, Timing, Usage, filled, instance
from wise_client.polygons import Polygon
from wise_client.prompts import Click

if TYPE_CHECKING:  # an extra: `pip install wise-client[supervision]`
    import supervision

Status = Literal["found", "no_target", "unparsed", "truncated"]


class Refines(Protocol):
    """The client that a result came from."""

    def refine_instance(
        self,
        result: "Segmentation",
        index: int = 0,
        *,
        add: Sequence[Click] = (),
        remove: Sequence[Click] = (),
        box: Sequence[float] | None = None,
    ) -> "Segmentation":
        """As `Client.refine_instance`."""


@dataclass(frozen=True, repr=False, eq=False)
class Segmentation:
    """The answer to one query about one image.

    `status` is "found", "no_target" (the image has no such object), "unparsed" (the model gave no
    valid answer; see `reasoning`) or "truncated" (the model reached its token limit). `size` is the
    image's (width, height) in pixels, as displayed; all coordinates and masks are in its frame.
    `query`: what was asked. `source`: the image, where it is known. `payload`: the server's answer.
    """

    id: str
    status: Status
    size: tuple[int, int]
    instances: tuple[Instance, ...]
    reasoning: str
    usage: Usage
    timing: Timing
    model: Models
    query: str
    source: Source | None
    payload: Mapping[str, Any]
    client: "Refines | None" = None

    @classmethod
    def from_dict(
        cls,
        payload: Mapping[str, Any],
        *,
        query: str = "",
        image: ImageInput | None = None,
        frame: Frame | None = None,
    ) -> "Segmentation":
        """Read one answer of the contract; `image` is what `overlay()` draws on.

        Raises UnexpectedAnswerError when it is not one.
        """
        try:
            told = (int(payload["image"]["width"]), int(payload["image"]["height"]))
            frame = Frame(told, frame.size) if frame and not frame.same else Frame(told, told)
            return cls(
                id=str(payload["id"]),
                status=payload["status"],
                size=frame.size,
                instances=tuple(instance(one, frame) for one in payload["instances"]),
                reasoning=str(payload.get("reasoning") or ""),
                usage=filled(Usage, payload.get("usage")),
                timing=filled(Timing, payload.get("timing_ms"), "_ms"),
                model=filled(Models, payload.get("model")),
                query=query,
                source=None if image is None else keep(image),
                payload=payload,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnexpectedAnswerError(
                f"The answer is not of this client's contract ({type(error).__name__}: {error}); "
                "the server may be of another version"
            ) from error

    @property
    def image_digest(self) -> str | None:
        """The server's digest of the image that was sent."""
        digest = self.payload.get("image_digest")
        return digest if isinstance(digest, str) else None

    def refine(
        self,
        index: int = 0,
        *,
        add: Sequence[Click] = (),
        remove: Sequence[Click] = (),
        box: Sequence[float] | None = None,
    ) -> "Segmentation":
        """A new result in which instance `index` is changed by a person's clicks.

        add: points (x, y) on the object; remove: points off the object; box: another box for it.
        The instance's own points, box and mask are still used. For a result of `AsyncClient`:
        `await client.refine_instance(result, ...)`. Raises InputError, and what `Client.refine`
        raises.
        """
        if self.client is None:
            raise InputError("This result has no open Client; use client.refine_instance(result)")
        return self.client.refine_instance(self, index, add=add, remove=remove, box=box)

    def with_instance(self, index: int, refined: "Segmentation") -> "Segmentation":
        """This result with the only instance of `refined` in place of its own at `index`."""
        instances, payloads = list(self.instances), list(self.payload["instances"])
        instances[index], payloads[index] = refined.instances[0], refined.payload["instances"][0]
        changed = {"id": refined.id, "instances": payloads}
        return replace(
            self,
            id=refined.id,
            instances=tuple(instances),
            timing=refined.timing,
            payload={**self.payload, **changed},
        )

    @cached_property
    def mask(self) -> BoolMask:
        """bool [height, width]: the union of all instances."""
        union = np.zeros((self.size[1], self.size[0]), dtype=bool)
        for one in self.instances:
            union |= one.mask
        return union

    @property
    def best(self) -> Instance | None:
        """The instance of the highest score, or None when there is none."""
        return max(self.instances, key=lambda one: one.score, default=None)

    @property
    def box(self) -> Box | None:
        """The best instance's (x1, y1, x2, y2), or None."""
        return self.best.box if self.best else None

    @property
    def points(self) -> tuple[Point, ...]:
        """The best instance's points."""
        return self.best.points if self.best else ()

    @property
    def score(self) -> float | None:
        """The best instance's predicted IoU, or None."""
        return self.best.score if self.best else None

    def overlay(self, image: ImageInput | None = None, *, opacity: float = 0.5) -> Image.Image:
        """The image (RGB) with masks, boxes and points drawn on it.

        `image` replaces the image of the request, if that is no longer available.
        Raises InputError when there is none, or it is of another size.
        """
        source = keep(image) if image is not None else self.source
        if source is None:
            raise InputError("This result does not know its image; use overlay(image)")
        picture = load_rgb(source)
        if picture.size != self.size:
            raise InputError(f"The result is of {self.size}, the image is {picture.size} pixels")
        shapes = [
            overlays.Shape(one.mask, one.box, one.points, one.labels) for one in self.instances
        ]
        return overlays.draw(picture, shapes, opacity)

    def save(self, path: str | Path, image: ImageInput | None = None) -> Path:
        """Write the answer (`.json`) or the overlay (`.png`, `.jpg`, `.webp`); gives the path."""
        path = Path(path)
        if path.suffix.lower() == ".json":
            path.write_text(json.dumps(self.to_dict()), "utf-8")
        elif path.suffix.lower() in Image.registered_extensions():
            self.overlay(image).save(path)
        else:
            raise InputError(f"{path.name}: the name should end in .png, .jpg, .webp or .json")
        return path

    def save_mask(self, path: str | Path) -> Path:
        """Write the union mask as a one-channel image, 255 on the objects; returns the path."""
        Image.fromarray(self.mask.astype(np.uint8) * 255).save(path)
        return Path(path)

    def to_dict(self) -> dict[str, Any]:
        """The answer as in the contract, in the original image's pixels; JSON-ready."""
        width, height = self.size
        instances = [one.to_dict() for one in self.instances]
        return {**self.payload, "image": {"width": width, "height": height}, "instances": instances}

    def to_coco(self, file_name: str | None = None) -> dict[str, Any]:
        """A COCO instances document with this one image."""
        return export.coco([(file_name or export.file_name(self.source), self)])

    def to_labelme(self, file_name: str | None = None) -> dict[str, Any]:
        """A LabelMe document: polygons without holes; those of one instance share a group_id."""
        return export.labelme(self, file_name or export.file_name(self.source))

    def to_geojson(self) -> dict[str, Any]:
        """A GeoJSON FeatureCollection in pixel coordinates, y down: one MultiPolygon each."""
        return export.geojson(self)

    def to_polygons(self) -> list[list[Polygon]]:
        """Per instance, its parts; see `Instance.to_polygons`."""
        return [one.to_polygons() for one in self.instances]

    def to_supervision(self) -> "supervision.Detections":
        """`supervision.Detections` with masks; needs `pip install wise-client[supervision]`."""
        return export.supervision_detections(self)

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process has no client."""
        return {**self.__dict__, "client": None}

    def __repr__(self) -> str:
        objects = "1 instance" if len(self.instances) == 1 else f"{len(self.instances)} instances"
        width, height = self.size
        return (
            f"Segmentation({self.status}, {objects}, {width}x{height}, "
            f"{self.usage.thinking_tokens} thinking tokens, {self.timing.total_ms:.0f} ms)"
        )

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the overlay, or the mask alone when the image is not at hand."""
        out = io.BytesIO()
        try:
            picture = self.overlay()
        except InputError:
            picture = Image.fromarray(self.mask.astype(np.uint8) * 255)
        picture.save(out, "PNG")
        return out.getvalue()
