"""Errors -> HTTP."""

import pytest

from wise_serve.contract import errors
from wise_serve.http.problems import STATUS, as_wise_error, leaves, problem_of, status_of

EXPECTED = {
    "malformed_request": 400,
    "unsupported_media_type": 415,
    "invalid_field": 422,
    "unauthorized": 401,
    "too_large": 413,
    "request_timeout": 408,
    "unsupported_image": 415,
    "image_unknown": 404,
    "overloaded": 429,
    "not_ready": 503,
    "draining": 503,
    "reasoner_lost": 503,
    "segmenter_lost": 503,
    "deadline_exceeded": 504,
    "internal_error": 500,
}


def test_every_error_of_the_tree_has_a_status() -> None:
    assert {kind.code: status_of(kind) for kind in leaves()} == EXPECTED


def test_every_bottom_class_has_a_code_and_a_title() -> None:
    def bottoms(kind: type[errors.WiseError]) -> list[type[errors.WiseError]]:
        children = kind.__subclasses__()
        return [leaf for child in children for leaf in bottoms(child)] if children else [kind]

    for kind in bottoms(errors.WiseError):
        assert kind in leaves()
        assert kind.title


def test_no_class_is_in_the_table_twice() -> None:
    for kind in STATUS:
        assert any(issubclass(leaf, kind) for leaf in leaves())


def test_unknown_errors_reveal_nothing() -> None:
    shown = as_wise_error(RuntimeError("/etc/secret at 0x7f"))
    assert isinstance(shown, errors.InternalError)
    assert "secret" not in problem_of(shown).model_dump_json()


def test_groups_show_the_error_that_is_known() -> None:
    lost = errors.SegmenterLost("lost")
    group = ExceptionGroup("a", [KeyError("x"), ExceptionGroup("b", [lost])])
    assert as_wise_error(group) is lost


@pytest.mark.parametrize("kind", leaves())
def test_documents_are_complete(kind: type[errors.WiseError]) -> None:
    problem = problem_of(kind("what to do"))
    assert problem.type == f"urn:wise-serve:problem:{kind.code}"
    assert (problem.detail, problem.code, problem.title) == ("what to do", kind.code, kind.title)
    assert problem.request_id
