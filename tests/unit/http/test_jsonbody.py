"""JSON bodies: fields found as slices, the image decoded piece by piece."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wise_serve.contract.errors import InvalidField, MalformedRequest, TooLarge
from wise_serve.contract.schemas import SegmentOptions
from wise_serve.http.jsonbody import read_json, slices_of

SLICES = slices_of(SegmentOptions.model_fields)
LINES = st.sampled_from(["", " ", "\n", "\r\n", "\t"])


def read(body: bytes, most_bytes: int) -> tuple[bytes | None, dict[str, Any]]:
    return read_json(body, SLICES, most_bytes)


@given(st.binary(min_size=1, max_size=200), st.data())
def test_base64_is_read_whatever_its_spaces_and_escapes(image: bytes, data: st.DataObject) -> None:
    text = base64.b64encode(image).decode()
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(LINES) + text[at:]
    body = json.dumps({"image": text, "query": "é"})
    body = body.replace("+", r"\u002b").replace("/", r"\/")
    size = data.draw(st.integers(7, 40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wise_serve.http.jsonbody._PIECE_BYTES", size)
        assert read(body.encode(), 100) == (image, {"query": "é"})


@pytest.mark.parametrize(
    "text", ["QUI=QUI=", "QUI=" * 20, "Q", "QUJ", "Q===", "é", "Q\\u0000==", "\\\\"]
)
@pytest.mark.parametrize("piece", [8, 1 << 18])
def test_text_that_is_not_base64_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str, piece: int
) -> None:
    monkeypatch.setattr("wise_serve.http.jsonbody._PIECE_BYTES", piece)
    with pytest.raises(InvalidField):
        read(b'{"image": "%b"}' % text.encode(), 100)


def test_a_missing_image_is_not_null() -> None:
    assert read(b'\xef\xbb\xbf {"query": null}', 100) == (None, {"query": None})
    assert read(b'{"image": null}', 100) == (None, {})
    assert read(b"{}", 100) == (None, {})


def test_of_an_image_given_twice_the_last_one_counts() -> None:
    assert read(b'{"query": 1, "query": [2]}', 100) == (None, {"query": [2]})


def test_the_rest_is_made_into_objects_only_where_it_is_short() -> None:
    read(b'{"query": "%b"}' % (b"x" * 98), 100)
    with pytest.raises(TooLarge):
        read(b'{"query": "%b"}' % (b"x" * 99), 100)
    with pytest.raises(InvalidField, match="there is no such field"):
        read(b'{"queri`es": [[]]}', 100)


@pytest.mark.parametrize("text", [r"\ud800", r"\uDFFFa", r"\ud83d\ud83d", r"a\udc00\ud800b"])
def test_half_a_surrogate_pair(text: str) -> None:
    with pytest.raises(InvalidField, match="half of a surrogate pair"):
        read(b'{"query": "%b"}' % text.encode(), 100)
    assert read(rb'{"query": "\ud83d\ude00"}', 100)[1] == {"query": "😀"}


@given(st.binary(max_size=60) | st.text('{}[]":,\\u0image quers', max_size=60).map(str.encode))
def test_anything_at_all_is_read_or_refused(body: bytes) -> None:
    for data in (body, b'{"image": "%b"}' % body, b'{"query": %b}' % body):
        try:
            read(data, 100)
        except (MalformedRequest, InvalidField, TooLarge):
            continue


def test_of_a_field_given_twice_the_last_one_counts() -> None:
    body = b'{"query": "a", "image": "?", "query": "b", "image": "QUJD"}'
    assert read(body, 100) == (b"ABC", {"query": "b"})


@pytest.mark.parametrize(("text", "value"), [("16", 16), ("16.0", 16), ("1e1", 10), ("1.5", 1.5)])
def test_a_whole_number_is_an_int_however_it_is_written(text: str, value: float) -> None:
    _, fields = read(b'{"max_instances": %b}' % text.encode(), 100)
    assert fields["max_instances"] == value
    assert type(fields["max_instances"]) is type(value)
