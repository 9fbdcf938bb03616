"""The rows of a batch in Parquet, one a pair, and their way back to records of `AnswerFile`.

| column                                    | holds                                              |
|-------------------------------------------|----------------------------------------------------|
| `index`, `image`, `query`, `label`        | the pair: its place among the inputs, its names    |
| `status`                                  | found, no_target, unparsed, truncated, or error    |
| `width`, `height`                         | pixels of the image as displayed                   |
| `instances`                               | a list of box, points, labels, score, area, mask   |
| `reasoning`                               | the rationale                                      |
| `text`                                    | the whole generated text, where it was unparsed    |
| `image_digest`                            | names the image at the server                      |
| `*_tokens`                                | prompt, cached, thinking, answer, completion       |
| `*_ms`                                    | decode, reason, encode, segment, total             |
| `reasoner`, `segmenter`, `strategy`, `id` | who answered; the request                          |
| `error_code`, `error_detail`, ...         | of a pair that failed; null otherwise              |

Boxes are x1, y1, x2, y2 and points x, y, in pixels of the image as displayed; a point's label is 1
on the object, 0 beside it. A mask is COCO's compressed RLE: `size` is height, width. Columns that a
failed pair cannot have are null.
"""

from collections.abc import Mapping
from typing import Any

from wise_client.extras import pyarrow

ERROR = "error"
TOKENS = ("prompt_tokens", "cached_tokens", "thinking_tokens", "answer_tokens", "completion_tokens")
STAGES = ("decode", "reason", "encode", "segment", "total")
_ANSWER = ("id", "status", "instances", "reasoning", "text", "image_digest")
_MODELS = ("reasoner", "segmenter", "strategy")
_ERROR = ("code", "detail", "status", "request_id")


def schema() -> Any:
    """The `pyarrow.Schema` of all rows; raises InputError without pyarrow."""
    pa = pyarrow()
    text, number, real = pa.string(), pa.int64(), pa.float64()
    mask = pa.struct({"size": pa.list_(pa.int32()), "counts": text})
    points = {"points": pa.list_(pa.list_(real)), "labels": pa.list_(pa.int32())}
    instance = {"box": pa.list_(real), **points, "score": real, "area": number, "mask": mask}
    instances = pa.list_(pa.struct(instance))
    columns = {
        "index": number,
        **dict.fromkeys(("image", "query", "label", "status"), text),
        **dict.fromkeys(("width", "height"), pa.int32()),
        "instances": instances,
        **dict.fromkeys(("reasoning", "text", "image_digest"), text),
        **dict.fromkeys(TOKENS, number),
        **{f"{stage}_ms": real for stage in STAGES},
        **dict.fromkeys((*_MODELS, "id"), text),
        **dict.fromkeys(("error_code", "error_detail"), text),
        "error_status": pa.int32(),
        "error_request_id": text,
    }
    return pa.schema(columns)


def row_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of `AnswerFile` as a row; what it lacks is null."""
    row = {name: record.get(name) for name in ("index", "image", "query", "label")}
    if "error" in record:
        error = {f"error_{name}": record["error"].get(name) for name in _ERROR}
        return {**row, "status": ERROR, **error}
    answer = record["response"]
    usage, timing, model = (answer.get(name) or {} for name in ("usage", "timing_ms", "model"))
    return {
        **row,
        **{name: answer.get(name) for name in _ANSWER},
        "width": answer["image"]["width"],
        "height": answer["image"]["height"],
        **{name: usage.get(name) for name in TOKENS},
        **{f"{stage}_ms": timing.get(stage) for stage in STAGES},
        **{name: model.get(name) for name in _MODELS},
    }


def record_of(row: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The record that a row was made of, of a batch with these `options`."""
    pair = {name: row[name] for name in ("index", "image", "query", "label")}
    record = {name: value for name, value in pair.items() if value is not None}
    record["options"] = dict(options)
    if row["status"] == ERROR:
        return {**record, "error": {name: row[f"error_{name}"] for name in _ERROR}}
    answer = {name: row[name] for name in _ANSWER}
    answer["image"] = {"width": row["width"], "height": row["height"]}
    answer["usage"] = {name: row[name] for name in TOKENS if row[name] is not None}
    stages = {stage: row[f"{stage}_ms"] for stage in STAGES}
    answer["timing_ms"] = {stage: value for stage, value in stages.items() if value is not None}
    answer["model"] = {name: row[name] for name in _MODELS if row[name] is not None}
    return {**record, "response": answer}
