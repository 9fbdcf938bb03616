"""Answers -> the formats other tools read: COCO, LabelMe, GeoJSON, supervision."""

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wise_client import masks
from wise_client.inputs import Source
from wise_client.polygons import Ring, without_holes

if TYPE_CHECKING:
    import supervision

    from wise_client.results import Segmentation


def file_name(source: Source | None) -> str:
    """A path's own name; "image" for what has none."""
    return source.name if isinstance(source, Path) else "image"


def coco(results: "Iterable[tuple[str, Segmentation]]") -> dict[str, Any]:
    """(file name, answer) pairs -> a COCO instances document (https://cocodataset.org/#format-data).

    Several answers about one file share its image entry. A category is a query. `bbox` is the
    mask's own (x, y, width, height); `prompt_box` is the reasoner's (x1, y1, x2, y2).
    """
    images: dict[str, dict[str, Any]] = {}
    categories: dict[str, int] = {}
    annotations: list[dict[str, Any]] = []
    for name, result in results:
        width, height = result.size
        blank = {"id": len(images) + 1, "file_name": name, "width": width, "height": height}
        image = images.setdefault(name, blank)
        category = categories.setdefault(result.query or "object", len(categories) + 1)
        for one in result.instances:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": category,
                    "segmentation": masks.encode(one.mask),
                    "bbox": list(masks.tight_box(one.mask)),
                    "area": int(np.count_nonzero(one.mask)),
                    "iscrowd": 0,
                    "score": one.score,
                    "prompt_box": list(one.box),
                }
            )
    return {
        "images": list(images.values()),
        "annotations": annotations,
        "categories": [{"id": number, "name": query} for query, number in categories.items()],
    }


def labelme(result: "Segmentation", name: str) -> dict[str, Any]:
    """A LabelMe annotation document (https://github.com/wkentaro/labelme).

    A LabelMe polygon knows no holes: a part that has some is cut into several, which together
    enclose exactly the mask. The polygons of one instance share a `group_id`.
    """
    width, height = result.size
    shapes = [
        {
            "label": result.query or "object",
            "points": [[float(x), float(y)] for x, y in ring],
            "group_id": number,
            "shape_type": "polygon",
            "flags": {},
            "description": "",
        }
        for number, one in enumerate(result.instances)
        for ring in without_holes(one.mask)
    ]
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def geojson(result: "Segmentation") -> dict[str, Any]:
    """A FeatureCollection after RFC 7946, in pixels in place of degrees, y down."""
    features = [
        {
            "type": "Feature",
            "properties": {"query": result.query, "score": one.score, "box": list(one.box)},
            "geometry": {
                "type": "MultiPolygon",
                "coordinates": [
                    [_closed(ring) for ring in (part.exterior, *part.holes)]
                    for part in one.to_polygons()
                ],
            },
        }
        for one in result.instances
    ]
    return {"type": "FeatureCollection", "features": features}


def supervision_detections(result: "Segmentation") -> "supervision.Detections":
    """`xyxy` is the answer's boxes, `confidence` the scores, `class_name` the query."""
    try:
        # Imported here: it is optional, and importing it takes seconds.
        sv: Any = importlib.import_module("supervision")
    except ImportError as error:
        raise ImportError("to_supervision() needs: pip install wise-client[supervision]") from error
    if not result.instances:
        empty: supervision.Detections = sv.Detections.empty()
        return empty
    detections: supervision.Detections = sv.Detections(
        xyxy=np.array([one.box for one in result.instances], dtype=np.float64),
        mask=np.stack([one.mask for one in result.instances]),
        confidence=np.array([one.score for one in result.instances], dtype=np.float64),
        class_id=np.zeros(len(result.instances), dtype=int),
        data={"class_name": np.array([result.query or "object"] * len(result.instances))},
    )
    return detections


def _closed(ring: Ring) -> list[list[int]]:
    return [[int(x), int(y)] for x, y in [*ring, ring[0]]]
