"""What the OpenAPI document allows, and what it does not, made by schemathesis: no 500, no answer
that it does not have. What was found so far is in test_openapi.py, by name.

SCHEMA_FUZZ_EXAMPLES: inputs for each operation, others each time; by default some hundred, always
the same.
"""

import base64
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from starlette.types import Receive, Scope, Send

from fakes import FakeReasoner, FakeSegmenter
from pictures import picture
from wise_serve.http.app import build_app
from wise_serve.http.middleware import WORK_PATHS
from wise_serve.observe.metrics import Metrics
from wise_serve.pipeline.runtime import build_runtime
from wise_serve.reasoner.strategies import STRATEGIES
from wise_serve.settings import Settings

EXAMPLES = int(os.environ.get("SCHEMA_FUZZ_EXAMPLES", "0"))
KEYS = Path(__file__).with_name("fuzz.keys")
IMAGES = [picture(), picture(kind="JPEG"), picture(8, 300, "WEBP")]
IMAGES_IN_JSON = [base64.b64encode(image).decode() for image in IMAGES]
FORM = "multipart/form-data"
PROMPTS = ['[{"box": [0, 0, 9, 7]}]', '[{"points": [{"x": 1, "y": 2, "label": 0}]}]']
SPECIAL_TOKENS = FakeReasoner().special_tokens()

# Statuses of the models' routes, by path and media type.
seen: dict[tuple[str, str | None], set[int]] = defaultdict(set)


def configuration() -> schemathesis.Config:
    """All of schemathesis' checks. Those of stored resources find none here: nothing is kept."""
    seed = {} if EXAMPLES else {"seed": 1}
    return schemathesis.Config.from_dict(
        {
            **seed,
            "generation": {"max-examples": EXAMPLES or 400, "deterministic": not EXAMPLES},
            "auth": {"openapi": {"key": {"bearer": "fuzz-key"}}},
            "checks": {
                # Noise is no image, and no digest is known, which no schema can say.
                "positive_data_acceptance": {"expected-statuses": ["200", "404", "415"]},
                "negative_data_rejection": {
                    "expected-statuses": ["400", "401", "405", "413", "415", "422"]
                },
            },
        }
    )


def make_app() -> FastAPI:
    """A gateway on the fakes, with a key, and with limits that are soon reached."""
    settings = Settings(
        api_key_file=str(KEYS), max_query_characters=40, max_queries=3, max_prompts=3, max_points=3
    )
    parts = FakeReasoner(), FakeSegmenter(), Metrics()
    return build_app(build_runtime(settings, STRATEGIES, *parts))


class Restarted:
    """schemathesis stops the application after each operation; ours starts only once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self.app = make_app()
        await self.app(scope, receive, send)


def load() -> Any:
    noise = st.binary(min_size=1)
    schemathesis.openapi.format("binary", st.sampled_from(IMAGES) | noise)
    noise_in_json = noise.map(lambda data: base64.b64encode(data).decode())
    schemathesis.openapi.format("byte", st.sampled_from(IMAGES_IN_JSON) | noise_in_json)
    schemathesis.openapi.format("json", st.sampled_from(PROMPTS) | st.text())
    loaded = schemathesis.openapi.from_dict(make_app().openapi(), config=configuration())
    loaded.app = Restarted()
    return loaded


schema = load()


def misjudged(case: schemathesis.Case[Any]) -> list[Any]:
    """Checks that would go wrong, since the case is not what schemathesis takes it for."""
    # In a form whatever a field holds is sent as text, and most texts are queries: what forms must
    # refuse is in test_openapi.py, by name.
    checks: list[Any] = [negative_data_rejection] if case.media_type == FORM else []
    body = case.body
    # Its systematic cases are put together field by field, past `oneOf`: they ask both questions,
    # or name the image twice.
    for both in (("query", "queries"), ("image", "image_digest")):
        if isinstance(body, dict) and None not in map(body.get, both):
            checks.append(positive_data_acceptance)
    # What no schema can say: special tokens, and what lies within the image.
    if case.path == "/refine" or any(token in str(body) for token in SPECIAL_TOKENS):
        checks.append(positive_data_acceptance)
    return checks


def holds_an_image(case: schemathesis.Case[Any]) -> bool:
    image = case.body.get("image") if isinstance(case.body, dict) else None
    return image in IMAGES_IN_JSON or getattr(image, "data", image) in IMAGES


@pytest.mark.slow
@schema.parametrize()  # type: ignore[untyped-decorator]
def test_every_answer_is_one_of_the_document(case: schemathesis.Case[Any]) -> None:
    response = case.call()
    if case.path in WORK_PATHS and case.method == "POST":
        seen[case.path, case.media_type].add(response.status_code)
    case.validate_response(response, excluded_checks=misjudged(case))
    if response.status_code == 415 and response.json()["code"] == "unsupported_image":
        assert not holds_an_image(case)


def test_the_fuzzer_reached_every_route() -> None:
    """Into the depths, and to each refusal that a body can get."""
    if not seen:
        pytest.skip("the models' routes were left out")
    for media_type in (FORM, "application/json"):
        assert seen["/segment", media_type] >= {200, 400, 401, 404, 413, 415, 422}, media_type
        assert seen["/refine", media_type] >= {200, 400, 401, 404, 422}, media_type
