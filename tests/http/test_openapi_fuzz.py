"""What the OpenAPI document allows, and what it does not, made by schemathesis: no 500, no answer
that it does not have.

SCHEMA_FUZZ_EXAMPLES: inputs for each operation, others each time; by default some hundred, always
the same.
"""

import base64
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from fakes import FakeReasoner, FakeSegmenter
from pictures import picture
from wise_serve.app import build_app
from wise_serve.gateway import build_gateway
from wise_serve.metrics import Metrics
from wise_serve.settings import Settings

EXAMPLES = int(os.environ.get("SCHEMA_FUZZ_EXAMPLES", "0"))
KEYS = Path(__file__).with_name("fuzz.keys")
IMAGES = (picture(), picture(kind="JPEG"), picture(8, 300, "WEBP"))
IMAGES_IN_JSON = tuple(base64.b64encode(image).decode() for image in IMAGES)

seen: Counter[tuple[str, str, int]] = Counter()


def _schema() -> Any:
    """The document of a gateway on the fakes. A key is asked for; limits that are soon reached."""
    settings = Settings(api_key_file=str(KEYS), max_query_characters=40, max_queries=3)
    app = build_app(build_gateway(settings, FakeReasoner(), FakeSegmenter(), Metrics()))
    noise = st.binary(min_size=1)
    schemathesis.openapi.format("binary", st.sampled_from(IMAGES) | noise)
    in_json = noise.map(lambda data: base64.b64encode(data).decode())
    schemathesis.openapi.format("byte", st.sampled_from(IMAGES_IN_JSON) | in_json)
    config = schemathesis.Config.from_dict(
        {
            **({} if EXAMPLES else {"seed": 1}),
            "generation": {"max-examples": EXAMPLES or 400, "deterministic": not EXAMPLES},
            "auth": {"openapi": {"key": {"bearer": "fuzz-key"}}},
            "checks": {
                # Noise is no image, whatever its schema says; `test_...` asks more of images.
                "positive_data_acceptance": {"expected-statuses": ["200", "415"]},
                # Too long is 413.
                "negative_data_rejection": {
                    "expected-statuses": ["400", "401", "405", "413", "415", "422"]
                },
            },
        }
    )
    schema = schemathesis.openapi.from_dict(app.openapi(), config=config)
    schema.app = app
    return schema


schema = _schema()


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    asgi.shutdown_lifespans()


def _beside_the_schema(case: schemathesis.Case) -> list[Any]:
    """Checks that would go wrong, since the case is not what schemathesis takes it for."""
    body = case.body
    if not isinstance(body, dict) or "queries" not in body:
        return []
    both = body.get("query") is not None and body["queries"] is not None
    # Its systematic cases are put together field by field, past `oneOf`: they ask both questions.
    wrong = [positive_data_acceptance] if both else []
    # In a form whatever `queries` holds is sent as texts, and these are queries.
    return wrong + [negative_data_rejection] * (case.media_type == "multipart/form-data")


@schema.parametrize()
def test_every_answer_is_one_of_the_document(case: schemathesis.Case) -> None:
    """Under all checks of schemathesis."""
    response = case.call()
    seen[case.method, case.media_type or "", response.status_code] += 1
    case.validate_response(response, excluded_checks=_beside_the_schema(case))


def test_x():
    for k,v in sorted(seen.items()): print(k,v)
