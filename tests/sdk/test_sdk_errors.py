"""The tree of errors is as drawn, and every problem document becomes the right one."""

import pickle
import re
from typing import Any

import pytest

from scripted import ScriptedServer
from steps import Problem, Raw
from wise_client import Client, RetryPolicy, WiseClientError, errors
from wise_client.problems import from_answer, from_problem, retry_after_s
from wise_serve.contract import errors as served
from wise_serve.http.problems import status_of


def below(kind: type[Any]) -> list[type[Any]]:
    return [one for child in kind.__subclasses__() for one in (child, *below(child))]


# The server's own list: (HTTP status, code, may be sent again).
CONTRACT = sorted(
    (status_of(kind), kind.code, issubclass(kind, served.Retryable))
    for kind in below(served.WiseError)
    if "code" in vars(kind)
)
OF_THE_CLIENT_ALONE = {"bad_request", "retryable", "unavailable", "unexpected_answer"}


def test_the_client_knows_the_servers_codes_and_no_others() -> None:
    known = {kind.default_code for kind in below(errors.APIError)}
    assert known - OF_THE_CLIENT_ALONE == {code for _, code, _ in CONTRACT}


def test_the_drawing_is_the_tree() -> None:
    def drawn(kind: type[Any], depth: int = 0) -> list[tuple[int, str]]:
        # An integration may have an error of its own; the drawing is of this module.
        children = [one for one in kind.__subclasses__() if one.__module__ == errors.__name__]
        below = [line for one in children for line in drawn(one, depth + 1)]
        return [(depth, kind.__name__), *below]

    lines = re.findall(r"^    ([│├└─ ]*)(\w+Error)\b", errors.__doc__ or "", re.M)
    picture = [(len(indent) // 4, name) for indent, name in lines]
    assert picture == drawn(WiseClientError)


def test_the_codes_in_the_drawing_are_the_classes_codes() -> None:
    told = re.findall(r"(\w+Error)\b.*  (\w+_\w+|unavailable|overloaded|draining|unauthorized)$",
                      errors.__doc__ or "", re.M)  # fmt: skip
    assert len(told) >= 19
    for name, code in told:
        assert getattr(errors, name).default_code == code


@pytest.mark.parametrize(("status", "code", "retryable"), CONTRACT)
def test_every_code_of_the_contract(
    server: ScriptedServer, photo: str, status: int, code: str, retryable: bool
) -> None:
    server.script.append(Problem(status, code, "2", {"field": "query"}))
    policy = RetryPolicy(max_retries=0)
    with Client(server.url, retry=policy) as client, pytest.raises(errors.APIError) as caught:
        client.segment(photo, "q")
    assert type(caught.value).default_code == code
    assert isinstance(caught.value, errors.RetryableError) == retryable
    error = caught.value
    assert (error.code, error.status) == (code, status)
    assert (error.request_id, error.detail) == ("srv-7", "A detail")
    assert str(error) == f"A detail ({code}, HTTP {status}, request srv-7)"
    if isinstance(error, errors.InvalidFieldError):
        assert error.field == "query"
    if isinstance(error, errors.RetryableError):
        assert error.retry_after_s == 2.0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.UnauthorizedError),
        (413, errors.TooLargeError),
        (429, errors.OverloadedError),
        (502, errors.UnavailableError),
        (503, errors.UnavailableError),
        (504, errors.DeadlineExceededError),
        (404, errors.UnexpectedAnswerError),
        (301, errors.UnexpectedAnswerError),
    ],
)
def test_a_proxys_page_is_known_by_its_status(
    status: int, kind: type[WiseClientError], server: ScriptedServer, photo: str
) -> None:
    server.script.append(Raw(status, b"<html>no</html>"))
    policy = RetryPolicy(max_retries=0)
    with Client(server.url, retry=policy) as client, pytest.raises(kind) as caught:
        client.segment(photo, "q")
    assert f"HTTP {status}" in str(caught.value)
    assert type(caught.value) is kind
    assert caught.value.status == status


def test_a_code_of_a_later_server_is_kept_and_classed_by_its_status() -> None:
    error = from_problem({"status": 429, "code": "quota_used", "title": "Quota"})
    assert (type(error), error.code, error.detail) == (
        errors.OverloadedError,
        "quota_used",
        "Quota",
    )


@pytest.mark.parametrize("body", [b"", b"[1]", b"null", b"\xff", b'"text"', b"{}"])
def test_no_body_breaks_the_reading_of_an_error(body: bytes) -> None:
    error = from_answer(500, {}, body, "mine")
    assert type(error) is errors.InternalServerError
    assert error.request_id == "mine"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("0.5", 0.5),
        ("-4", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("inf", None),
        ("nan", None),
    ],
)
def test_retry_after_is_read(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=lambda: 60.0) == seconds


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(from_problem({"code": "invalid_field", "field": "query"})))
    assert (type(error), error.field, error.code) == (
        errors.InvalidFieldError,
        "query",
        "invalid_field",
    )
