"""`POST /segment`."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from wise_serve.contract import errors
from wise_serve.contract.schemas import SegmentResult, SegmentResults
from wise_serve.http.forms import SegmentForm
from wise_serve.http.gateway import Gateway
from wise_serve.http.openapi import event_schema, request_body
from wise_serve.http.problems import documented, leaves
from wise_serve.http.sse import EventStream
from wise_serve.observe.context import current_request
from wise_serve.pipeline.deadlines import until
from wise_serve.pipeline.events import Emit, discard
from wise_serve.pipeline.segment import Job
from wise_serve.reasoner.strategies import STRATEGIES


def _responses() -> dict[int | str, dict[str, Any]]:
    stream = {"text/event-stream": {"schema": event_schema()}}
    found = {"description": "The answer, whatever its `status`.", "content": stream}
    return {200: found, **documented(*leaves(errors.WiseError))}


def segment_router(gateway: Gateway) -> APIRouter:
    """The route, bound to its parts. The gate (see middleware) has let the request in."""
    router = APIRouter()

    def run(form: SegmentForm) -> "Segmentation":
        options = form.options
        strategy = STRATEGIES[options.strategy or gateway.settings.strategy]
        context = current_request()
        context.strategy = strategy.name
        queries = tuple(options.queries or [options.query or ""])
        for query in queries:
            gateway.pipeline.check_query(query, strategy)
        limit = options.max_instances
        job = Job(context, form.image, queries, strategy, options.mask_format, limit)
        return Segmentation(gateway, job, many=options.queries is not None)

    @router.post(
        "/segment",
        summary="Which pixels does this sentence mean?",
        response_model=SegmentResult | SegmentResults,
        responses=_responses(),
        openapi_extra={"requestBody": request_body(gateway.settings)},
    )
    async def segment(request: Request) -> Response:
        async with until(current_request().deadline):
            form = await gateway.forms.read(request)
        segmentation = run(form)
        if form.options.stream:
            return EventStream(segmentation, gateway.reporter)
        result = await segmentation(discard)
        current_request().stage = "respond"
        return Response(result.model_dump_json(), media_type="application/json")

    return router


class Segmentation:
    """A job that can be run once, for the plain and for the streamed answer alike."""

    def __init__(self, gateway: Gateway, job: Job, *, many: bool) -> None:
        self._gateway = gateway
        self._job = job
        self._many = many

    async def __call__(self, emit: Emit) -> SegmentResult | SegmentResults:
        results = await self._gateway.pipeline.segment(self._job, emit)
        return SegmentResults(results=results) if self._many else results[0]
