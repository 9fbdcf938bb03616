"""`POST /refine`."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from wise_serve.contract import errors
from wise_serve.contract.names import REFINE, MaskChoice
from wise_serve.contract.prompts import Prompt
from wise_serve.contract.refining import RefineOptions, RefinePrompt, RefineResult
from wise_serve.http.answers import refine_result
from wise_serve.http.bodies import BodyReader
from wise_serve.http.openapi import refine_body
from wise_serve.http.problems import documented, leaves
from wise_serve.observe.context import admitted_request
from wise_serve.pipeline.deadlines import until
from wise_serve.pipeline.refine import Asked, RefineJob
from wise_serve.pipeline.runtime import Runtime


def _responses() -> dict[int | str, dict[str, Any]]:
    kinds = [kind for kind in leaves(errors.WiseError) if kind is not errors.ReasonerLost]
    return {200: {"description": "A mask for each prompt."}, **documented(*kinds)}


def refine_router(runtime: Runtime, bodies: BodyReader[RefineOptions]) -> APIRouter:
    """The route, bound to its parts. `middleware.Gate` has admitted the request before."""
    router = APIRouter(tags=["Segmentation"])

    @router.post(
        "/refine",
        summary="Masks of boxes, points and earlier masks",
        response_model=RefineResult,
        responses=_responses(),
        openapi_extra={"requestBody": refine_body(runtime.settings)},
    )
    async def refine(request: Request) -> Response:
        context = admitted_request()
        context.strategy = REFINE
        async with until(context.deadline):
            body = await bodies.read(request)
        options = body.options
        asked = tuple(_asked(prompt, options.multimask) for prompt in options.prompts)
        found = await runtime.refiner.refine(RefineJob(context, body.image, asked))
        context.stage = "respond"
        name = runtime.segmenter.name
        result = await refine_result(found, options.mask_format, runtime.threads, name)
        return Response(result.model_dump_json(), media_type="application/json")

    return router


def _asked(prompt: RefinePrompt, multimask: bool | None) -> Asked:
    inner = Prompt(
        prompt.box,
        tuple((point.x, point.y) for point in prompt.points),
        tuple(point.label for point in prompt.points),
        choice=_choice(prompt, multimask),
    )
    if prompt.mask is None:
        return Asked(inner)
    return Asked(inner, prompt.mask.size, prompt.mask.counts)


def _choice(prompt: RefinePrompt, multimask: bool | None) -> MaskChoice:
    """As SAM 2's authors advise: several masks where one point may mean several things."""
    if multimask is not None:
        return "all" if multimask else "single"
    lone = len(prompt.points) == 1 and prompt.box is None and prompt.mask is None
    return "best" if lone else "single"
