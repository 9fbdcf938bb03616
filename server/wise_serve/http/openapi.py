"""The OpenAPI document: FastAPI's own, completed with errors, limits, headers and stream events."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from wise_serve.contract import errors
from wise_serve.contract.refining import RefineOptions, RefineRequest
from wise_serve.contract.schemas import EXAMPLE_IMAGE, Problem, SegmentOptions, SegmentRequest
from wise_serve.http.problems import documented
from wise_serve.settings import Settings

# Errors that any request can get, on every route: while its head is read, during a drain, and at
# the time limit.
_ANYWHERE: Final = (
    errors.MalformedRequest,
    errors.RequestTimeout,
    errors.InternalError,
    errors.Draining,
    errors.DeadlineExceeded,
)
_REQUEST_ID: Final = {
    "description": "The request's name in the log: the caller's `X-Request-Id`, or one made here.",
    "required": True,
    "schema": {"type": "string"},
}
_KEY: Final = "key"
_KEYED: Final = {("/segment", "post"), ("/refine", "post"), ("/info", "get")}
_FILE: Final = {"type": "string", "format": "binary", "description": "JPEG, PNG or WebP, a file."}
_EVENTS: Final = {
    "thinking": "More text of the rationale.",
    "instance": "An object's box (null where the text has points alone) and points, as soon as "
    "they are complete in the generated text.",
    "mask": "The same object with its mask.",
    "done": "The whole answer, as it comes without `stream`. The last event.",
    "error": "The request failed after the stream had begun. The last event.",
}
STREAM_EXAMPLE: Final = (
    'event: thinking\ndata: {"query_index":0,"text":"round, so it rolls"}\n\n'
    'event: instance\ndata: {"query_index":0,"index":0,"box":[120,80,310,402],'
    '"points":[[200,190],[220,300]],"labels":[1,1]}\n\n: keep-alive\n\n'
    'event: mask\ndata: {"query_index":0,"index":0, ...}\n\nevent: done\ndata: {...}\n\n'
)
_ONE_IMAGE: Final = [
    {"required": ["image"]},
    {"required": ["image_digest"], "properties": {"image_digest": {"type": "string"}}},
]
_SOME_PROMPT: Final = [
    {"required": ["box"], "properties": {"box": {"type": "array"}}},
    {"required": ["points"], "properties": {"points": {"minItems": 1}}},
    {"required": ["mask"], "properties": {"mask": {"type": "object"}}},
]
_ONE_QUESTION: Final = [
    {"required": ["query"], "properties": {"query": {"type": "string"}}},
    {"required": ["queries"], "properties": {"queries": {"type": "array"}}},
]


def completed(document: dict[str, Any], *, needs_key: bool) -> dict[str, Any]:
    """`document` with the problem document, the failures and headers that all routes share, and, if
    keys are required, the routes that require one."""
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
    if needs_key:
        components["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
    for path, method, operation in _operations(document):
        responses = operation["responses"]
        for status, response in documented(*_ANYWHERE).items():
            responses.setdefault(str(status), response)
        for response in responses.values():
            response.setdefault("headers", {})["X-Request-Id"] = _REQUEST_ID
        operation["responses"] = dict(sorted(responses.items()))
        if needs_key and (path, method) in _KEYED:
            operation["security"] = [{_KEY: []}]
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def segment_body(settings: Settings, strategies: Iterable[str]) -> dict[str, Any]:
    """The two bodies of `POST /segment`, with this server's own limits and strategies."""
    names = list(strategies)
    as_json = _limited(SegmentRequest.model_json_schema(), settings, names)
    as_form = _limited(SegmentOptions.model_json_schema(), settings, names)
    example = {"image": EXAMPLE_IMAGE, "query": "the cup she could drink from"}
    return _body(as_json, as_form, "SegmentForm", example)


def refine_body(settings: Settings) -> dict[str, Any]:
    """The two bodies of `POST /refine`, with this server's own limits."""
    as_json, as_form = (
        _of_either_image(_inlined(model.model_json_schema()))
        for model in (RefineRequest, RefineOptions)
    )
    for schema in (as_json, as_form):
        prompts = schema["properties"]["prompts"]
        prompts["maxItems"] = settings.max_prompts
        prompts["items"]["properties"]["points"]["maxItems"] = settings.max_points
        prompts["items"]["anyOf"] = _SOME_PROMPT
    prompts = as_form["properties"]["prompts"]
    as_form["properties"]["prompts"] = {
        "type": "string",
        "format": "json",
        "contentMediaType": "application/json",
        "contentSchema": prompts,
        "description": f"JSON, as `prompts` of the JSON body. {prompts['description']}",
    }
    example = {"image": EXAMPLE_IMAGE, "prompts": [{"points": [{"x": 0, "y": 0, "label": 1}]}]}
    return _body(as_json, as_form, "RefineForm", example)


def _body(
    as_json: dict[str, Any], as_form: dict[str, Any], title: str, example: dict[str, Any]
) -> dict[str, Any]:
    fields = {name: _without_null(field) for name, field in as_form["properties"].items()}
    as_form |= {"title": title, "properties": {"image": _FILE, **fields}}
    content = {
        "multipart/form-data": {"schema": as_form},
        "application/json": {"schema": as_json, "example": example},
    }
    return {"required": True, "content": content}


def _of_either_image(schema: dict[str, Any]) -> dict[str, Any]:
    properties = dict(schema["properties"])
    if "image" in properties:
        properties["image"] = _without_null(properties["image"])
    return {**schema, "properties": properties, "allOf": [{"oneOf": _ONE_IMAGE}]}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` without `$defs`: in a request's body nothing would find them."""
    definitions = schema.pop("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, list):
            return [resolved(one) for one in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            rest = {name: value for name, value in node.items() if name != "$ref"}
            return {**resolved(definitions[node["$ref"].rsplit("/", 1)[1]]), **rest}
        return {name: resolved(value) for name, value in node.items()}

    found: dict[str, Any] = resolved(schema)
    return found


def event_schema() -> dict[str, Any]:
    """One server-sent event of a streamed answer (see sse.py), its data as JSON."""
    index = {"type": "integer", "minimum": 0}
    place = _fields(query_index=index, index=index)
    corner = {"type": ["array", "null"], "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}
    point = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    points = {"type": "array", "items": point}
    labels = {"type": "array", "items": {"enum": [0, 1]}}
    data = {
        "thinking": _fields(query_index=index, text={"type": "string"}),
        "instance": {"allOf": [place, _fields(box=corner, points=points, labels=labels)]},
        "mask": {"allOf": [place, _schema_of("InstanceResult")]},
        "done": {"anyOf": [_schema_of("SegmentResult"), _schema_of("SegmentResults")]},
        "error": _schema_of("Problem"),
    }
    return {
        "description": "With `stream`. One event; the last one is `done` or `error`. Comments "
        "(`: keep-alive`) may stand between events.",
        "oneOf": [_event(name, content) for name, content in data.items()],
    }


def _event(name: str, data: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    about = {"title": name, "description": _EVENTS[name]}
    return {**about, **_fields(event={"const": name}, data=text)}


def _fields(**fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(fields), "properties": fields}


def _schema_of(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _limited(schema: dict[str, Any], settings: Settings, strategies: list[str]) -> dict[str, Any]:
    schema["properties"]["strategy"]["anyOf"][0] = {"type": "string", "enum": strategies}
    query, queries = (schema["properties"][name]["anyOf"][0] for name in ("query", "queries"))
    query["maxLength"] = queries["items"]["maxLength"] = settings.max_query_characters
    queries["maxItems"] = settings.max_queries
    return {**_of_either_image(schema), "oneOf": _ONE_QUESTION}


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """Without null: a form cannot send null, it omits the field."""
    if "anyOf" not in field:
        return field
    rest = {name: value for name, value in field.items() if name not in ("anyOf", "default")}
    return {**field["anyOf"][0], **rest}
