"""`/docs`: the OpenAPI document as one plain page, without scripts and from this server alone."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from wise_serve.http.page import content_security_policy

_STYLE: Final = """
:root { color-scheme: light dark; }
body { max-width: 60rem; margin: 1rem auto; padding: 0 1rem; line-height: 1.45;
  font-family: system-ui, sans-serif; }
h2, h3 { margin: 1.6rem 0 .3rem; }
h2 code { font-size: 1.1rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #8886; padding: .3rem .8rem .3rem 0; text-align: left;
  vertical-align: top; }
"""
_CODED: Final = "`"  # as Markdown marks code


def docs_router(document: Callable[[], Mapping[str, Any]]) -> APIRouter:
    """`/docs`, of the OpenAPI `document`."""
    router = APIRouter()

    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        html = render(document())
        return HTMLResponse(
            html, headers={"Content-Security-Policy": content_security_policy(html)}
        )

    return router


def render(document: Mapping[str, Any]) -> str:
    """The whole page."""
    title = escape(document["info"]["title"])
    head = f'<meta charset="utf-8"><title>{title} API</title><style>{_STYLE}</style>'
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><head>{head}</head><body>',
            f"<h1>{title} {escape(document['info']['version'])}</h1>",
            f"<p>{_text(document['info'].get('description', ''))}</p>",
            '<p>As a file for tools: <a href="/openapi.json">/openapi.json</a></p>',
            *_operations(document),
            *_schemas(document),
            "</body></html>",
        ]
    )


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            yield f"<p>{_text(operation.get('summary', ''))}</p>"
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                yield f"<h3>Body, {escape(media_type)}</h3>"
                yield _fields(content["schema"])
            yield "<h3>Answers</h3>"
            yield _table(
                ("Status", "Meaning", "Content"),
                [
                    (status, _text(answer["description"]), ", ".join(_contents(answer)))
                    for status, answer in operation["responses"].items()
                ],
            )


def _contents(answer: Mapping[str, Any]) -> Iterator[str]:
    for media_type, content in answer.get("content", {}).items():
        kind = _kind(content.get("schema", {}))
        yield escape(media_type) + (f" ({kind})" if "<a " in kind else "")


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        yield f'<h2 id="{escape(name)}">{escape(name)}</h2>'
        yield f"<p>{_text(schema.get('description', ''))}</p>"
        yield _fields(schema)


def _fields(schema: Mapping[str, Any]) -> str:
    needed = schema.get("required", ())
    rows = [
        (
            f"<code>{escape(name)}</code>{' *' if name in needed else ''}",
            _kind(field),
            f"<code>{escape(json.dumps(field['default']))}</code>" if "default" in field else "",
            _text(field.get("description", "")),
        )
        for name, field in schema.get("properties", {}).items()
    ]
    return _table(("Field (* needed)", "Type", "Default", ""), rows) if rows else ""


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return " ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "prefixItems" in schema:
        return "[" + ", ".join(_kind(one) for one in schema["prefixItems"]) + "]"
    if "items" in schema:
        return f"list of {_kind(schema['items'])}"
    return escape(str(schema.get("const", schema.get("type", ""))))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [("th", head), *(("td", row) for row in rows)]
    cells = ("".join(f"<{tag}>{cell}</{tag}>" for cell in line) for tag, line in lines)
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in cells) + "</table>"


def _text(text: str) -> str:
    """Escaped, with what Markdown marks as code."""
    parts = escape(text).split(_CODED)
    if len(parts) % 2 == 0:
        return escape(text)
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
