"""`POST /segment`."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from wise_serve.contract import errors
from wise_serve.contract.schemas import SegmentOptions, SegmentResult, SegmentResults
from wise_serve.http.answers import Presenter
from wise_serve.http.bodies import BodyReader, ReadBody
from wise_serve.http.openapi import STREAM_EXAMPLE, event_schema, segment_body
from wise_serve.http.problems import Reporter, documented, leaves
from wise_serve.http.sse import EventStream, Send
from wise_serve.observe.context import admitted_request, current_request
from wise_serve.pipeline.deadlines import until
from wise_serve.pipeline.events import Event
from wise_serve.pipeline.job import Job
from wise_serve.pipeline.runtime import Runtime
from wise_serve.pipeline.segment import Pipeline
from wise_serve.reasoner.strategies import Strategy


def _responses() -> dict[int | str, dict[str, Any]]:
    stream = {"text/event-stream": {"schema": event_schema(), "example": STREAM_EXAMPLE}}
    found = {"description": "The answer, whatever its `status`.", "content": stream}
    return {200: found, **documented(*leaves(errors.WiseError))}


def segment_router(
    runtime: Runtime, bodies: BodyReader[SegmentOptions], reporter: Reporter
) -> APIRouter:
    """The route, bound to its parts. `middleware.Gate` has admitted the request before."""
    router = APIRouter(tags=["Segmentation"])

    def run(body: ReadBody[SegmentOptions]) -> "_Run":
        options = body.options
        strategy = _strategy(runtime, options.strategy)
        context = current_request()
        context.strategy = strategy.name
        queries = tuple(options.queries or [options.query or ""])
        for query in queries:
            runtime.pipeline.check_query(query, strategy)
        names = runtime.reasoner.name, runtime.segmenter.name
        return _Run(
            runtime.pipeline,
            Job(context, body.image, queries, strategy, options.max_instances),
            Presenter(options.mask_format, runtime.threads, *names),
            many=options.queries is not None,
        )

    @router.post(
        "/segment",
        summary="Which pixels does this sentence mean?",
        response_model=SegmentResult | SegmentResults,
        responses=_responses(),
        openapi_extra={"requestBody": segment_body(runtime.settings, runtime.strategies)},
    )
    async def segment(request: Request) -> Response:
        async with until(admitted_request().deadline):
            body = await bodies.read(request)
        work = run(body)
        if body.options.stream:
            return EventStream(work, reporter)
        result = await work(_discard)
        current_request().stage = "respond"
        return Response(result.model_dump_json(), media_type="application/json")

    return router


def _strategy(runtime: Runtime, name: str | None) -> Strategy:
    known = runtime.strategies
    strategy = known.get(name or runtime.settings.strategy)
    if strategy is None:
        raise errors.InvalidField(
            f"strategy: this server knows {', '.join(known)}.", field="strategy"
        )
    return strategy


class _Run:
    """One request's work, for a plain and a streamed answer. Called once."""

    def __init__(self, pipeline: Pipeline, job: Job, presenter: Presenter, *, many: bool) -> None:
        self._pipeline, self._job, self._presenter, self._many = pipeline, job, presenter, many

    async def __call__(self, send: Send) -> SegmentResult | SegmentResults:
        async def emit(event: Event) -> None:
            await send(event.name, await self._presenter.event(event))

        found = await self._pipeline.segment(self._job, emit)
        results = [self._presenter.result(query, result) for query, result in enumerate(found)]
        return SegmentResults(results=results) if self._many else results[0]


async def _discard(name: str, data: dict[str, Any]) -> None:
    """Drop an event: the caller did not ask for a stream."""
