"""The HTTP application: routes inside, the gate around them, the boundary around all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from wise_serve import __version__
from wise_serve.gateway import Gateway, build_gateway
from wise_serve.health import health_router
from wise_serve.metrics import Metrics
from wise_serve.middleware import Boundary, Gate
from wise_serve.page import page_router, read_example, read_page
from wise_serve.problems import router_response
from wise_serve.reasoner import Reasoner
from wise_serve.routes import segment_router
from wise_serve.schemas import Problem
from wise_serve.segmenter import Segmenter
from wise_serve.settings import Settings

_DESCRIPTION = """Given an image and a sentence, which pixels are meant?

Every failure is an RFC 9457 problem document with a stable `code`."""


class Application(FastAPI):
    """FastAPI, with the problem document among the schemas of its OpenAPI description."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema()
        return super().openapi()


def create_app(settings: Settings, reasoner: Reasoner, segmenter: Segmenter) -> FastAPI:
    """An application that owns both models: its lifespan starts and stops them."""
    return build_app(build_gateway(settings, reasoner, segmenter, Metrics()))


def build_app(gateway: Gateway) -> FastAPI:
    """An application on parts that are already put together."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gateway.lifecycle.start()
        try:
            yield
        finally:
            await gateway.lifecycle.stop()
            gateway.threads.close()
            await asyncio.to_thread(gateway.tracer.close)

    app = Application(
        title="wise-serve", version=__version__, description=_DESCRIPTION, lifespan=lifespan
    )
    app.include_router(segment_router(gateway))
    app.include_router(health_router(gateway))
    app.include_router(page_router(read_page(), read_example()))
    app.add_middleware(Gate, gateway=gateway)
    app.add_middleware(Boundary, gateway=gateway)  # added last, so outermost

    @app.exception_handler(HTTPException)
    async def unserved(_: Request, error: HTTPException) -> Response:
        return router_response(error)

    return app
