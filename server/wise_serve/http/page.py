"""The playground: a static page at `/` under a strict content security policy, and its example."""

import base64
import hashlib
import re
from importlib import resources

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

_INLINE = re.compile(r"<(script|style)\b[^>]*>(.*?)</\1\s*>", re.S | re.I)


def read_page() -> str | None:
    """The packaged page, or None if it is not in the package."""
    file = resources.files("wise_serve").joinpath("playground", "index.html")
    return file.read_text(encoding="utf-8") if file.is_file() else None


def read_example() -> bytes | None:
    """The page's packaged example image (JPEG), or None if it is not in the package."""
    file = resources.files("wise_serve").joinpath("playground", "example.jpg")
    return file.read_bytes() if file.is_file() else None


def content_security_policy(html: str, *, assets: bool = False) -> str:
    """The page's own inline scripts and styles (by hash), its own server, its own images; nothing
    else. `assets`: scripts and styles that this server serves as files, too."""
    own = ["'self'"] if assets else []
    hashes: dict[str, list[str]] = {"script": [*own], "style": [*own]}
    for tag, text in _INLINE.findall(html):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[tag.lower()].append(f"'sha256-{digest}'")
    return "; ".join(
        [
            "default-src 'none'",
            "script-src " + (" ".join(hashes["script"]) or "'none'"),
            "style-src " + (" ".join(hashes["style"]) or "'none'"),
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def page_router(html: str | None, example: bytes | None) -> APIRouter:
    """`/`, answered with `html`, and `/example.jpg`; 404 for one that is None."""
    router = APIRouter()
    headers = {"Content-Security-Policy": content_security_policy(html or "")}

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        if html is None:
            raise HTTPException(404)
        return HTMLResponse(html, headers=headers)

    @router.get("/example.jpg", include_in_schema=False)
    async def example_image() -> Response:
        if example is None:
            raise HTTPException(404)
        return Response(example, media_type="image/jpeg")

    return router
