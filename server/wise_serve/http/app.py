"""The HTTP application: routes, inside the gate (admission), inside the boundary (errors, logs)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, Request
from opentelemetry.trace import Tracer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Lifespan

from wise_serve.http.access import Access, make_access
from wise_serve.http.bodies import refine_bodies, segment_bodies
from wise_serve.http.docs import add_docs
from wise_serve.http.health import info_router, ops_router
from wise_serve.http.middleware import Boundary, Gate, Head
from wise_serve.http.openapi import completed
from wise_serve.http.page import page_router, read_example, read_page
from wise_serve.http.problems import Reporter, router_response
from wise_serve.http.refine import refine_router
from wise_serve.http.routes import segment_router
from wise_serve.http.unread_body import Lingering
from wise_serve.observe.traces import NO_TRACER
from wise_serve.pipeline.runtime import Runtime
from wise_serve.settings import NO_REASONER, split_origins
from wise_serve.versions import VERSION

_DESCRIPTION = """Given an image and a sentence, which pixels are meant?

Every failure is an RFC 9457 problem document with a stable `code`."""

_NO_SEGMENT: Final = (
    "This server runs without a reasoner (--reasoner none), so it cannot answer queries: it serves "
    "POST /refine alone."
)

# API keys travel in a header, never as cookies, so CORS credentials are not allowed.
_TRACE: Final = ("Traceparent", "Tracestate")
_CORS: Final[dict[str, Any]] = {
    "allow_methods": ["GET", "HEAD", "POST"],
    "allow_headers": ["Authorization", "X-Request-Id", "X-Image-Digest", *_TRACE],
    "expose_headers": ["X-Request-Id", "Retry-After"],
}


class Application(FastAPI):
    """FastAPI with a complete OpenAPI document (see openapi.py)."""

    def __init__(self, *, needs_key: bool, **options: Any) -> None:
        super().__init__(**options)
        self._needs_key = needs_key

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, completed by `openapi.py` and made once."""
        if self.openapi_schema is None:
            self.openapi_schema = completed(super().openapi(), needs_key=self._needs_key)
        return self.openapi_schema


def build_app(
    runtime: Runtime, access: Access | None = None, tracer: Tracer = NO_TRACER
) -> FastAPI:
    """An application on a runtime. `access`: who may send requests; default: by the settings.
    `tracer`: records the requests' spans; default: none are recorded.

    Raises AccessError.
    """
    access = access or make_access(runtime.settings)
    reporter = Reporter(runtime.metrics)
    app = Application(
        needs_key=access.needs_key,
        title="wise-serve",
        version=VERSION,
        description=_DESCRIPTION,
        lifespan=_lifespan_of(runtime),
        docs_url=None,  # see docs.py: its assets are served from here
        redoc_url=None,
        redirect_slashes=False,  # by a request's Host, and before a key is asked for
        exception_handlers={HTTPException: _unserved},
    )
    _add_routes(app, runtime, access, reporter)
    # The last one added is the outermost.
    app.add_middleware(Gate, runtime=runtime, access=access)
    app.add_middleware(Head)
    app.add_middleware(Boundary, reporter=reporter, tracer=tracer)
    if origins := split_origins(runtime.settings.cors_origins):
        app.add_middleware(CORSMiddleware, allow_origins=origins, **_CORS)
    app.add_middleware(Lingering, limit_bytes=runtime.settings.max_body_bytes)
    return app


def _lifespan_of(runtime: Runtime) -> Lifespan[FastAPI]:
    """Starts the models with the application, and stops them."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        runtime.lifecycle.start()
        try:
            yield
        finally:
            await runtime.lifecycle.stop()
            runtime.threads.close()

    return lifespan


def _add_routes(app: FastAPI, runtime: Runtime, access: Access, reporter: Reporter) -> None:
    settings = runtime.settings
    if runtime.reasoner.name != NO_REASONER:
        bodies = segment_bodies(settings, runtime.threads)
        app.include_router(segment_router(runtime, bodies, reporter))
    else:
        app.add_route("/segment", _without_reasoner, methods=["POST"], include_in_schema=False)
    app.include_router(refine_router(runtime, refine_bodies(settings, runtime.threads)))
    app.include_router(info_router(runtime, access))
    if settings.ops_port is None:
        app.include_router(ops_router(runtime.lifecycle, runtime.metrics))
    app.include_router(page_router(read_page(), read_example()))
    add_docs(app)


def build_ops_app(runtime: Runtime) -> FastAPI:
    """What `--ops-port` serves: probes and metrics, without a lifespan of its own."""
    app = FastAPI(
        openapi_url=None, redirect_slashes=False, exception_handlers={HTTPException: _unserved}
    )
    app.include_router(ops_router(runtime.lifecycle, runtime.metrics))
    app.add_middleware(Head)
    app.add_middleware(Boundary, reporter=Reporter(runtime.metrics), tracer=NO_TRACER)
    app.add_middleware(Lingering, limit_bytes=runtime.settings.max_body_bytes)
    return app


async def _without_reasoner(_: Request) -> Response:
    return router_response(HTTPException(404), _NO_SEGMENT)


async def _unserved(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return router_response(error)
