"""API keys: who may send requests, and under which name."""

import hashlib
import json
import logging
from pathlib import Path

import pytest

from wise_serve.contract.errors import Unauthorized
from wise_serve.http.access import ANYONE, Access, AccessError, make_access
from wise_serve.settings import Settings


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(
        f"# ours\n{digest('one')}  -\n\n{digest('two')}  team.b\n{digest('three')} *team.b\n"
        f"{digest('four')}\n{digest('fünf')}  five"
    )
    return path


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Bearer one", "line-2"),
        ("bearer two", "team.b"),
        ("Bearer  three ", "team.b"),
        ("Bearer four", "line-6"),
        ("Bearer " + "fünf".encode().decode("latin-1"), "five"),  # as headers are decoded
    ],
)
def test_a_known_key_is_let_in_under_its_name(file: Path, header: str, name: str) -> None:
    assert make_access(Settings(api_key_file=str(file))).check(header) == name


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer unknown", "Basic one", "one",
     f"Bearer {digest('one')}", "Bearer \u2028"],
)  # fmt: skip
def test_an_unknown_key_is_refused(file: Path, header: str | None) -> None:
    with pytest.raises(Unauthorized):
        make_access(Settings(api_key_file=str(file))).check(header)


def test_every_digest_is_compared_in_constant_time(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[str, str]] = []
    access = Access(file)

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr("wise_serve.http.access.hmac.compare_digest", compare)
    with pytest.raises(Unauthorized):
        access.check("Bearer one")
    assert len(compared) == 5
    assert {one for one, _ in compared} == {digest("one")}


def test_without_keys_everybody_is_let_in_on_loopback() -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.9"):
        access = make_access(Settings(host=host))
        assert (access.check(None), access.check("Bearer x")) == (ANYONE, ANYONE)
        access.reload()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "gateway.example"])
def test_a_public_address_without_keys_needs_allow_anyone(host: str) -> None:
    with pytest.raises(AccessError, match="--allow-anyone"):
        make_access(Settings(host=host))
    make_access(Settings(host=host, allow_anyone=True)).check(None)


BROKEN = {
    "": "holds no key",
    "# none\n": "holds no key",
    "secret\n": "Line 1",
    f"{digest('x')}\nsecret  me\n": "Line 2",
    digest("x")[:-1]: "sha256sum",
    digest("x") + "  two words": "not allowed",
    digest("x") + "  ä": "not allowed",
    digest("x") + "  " + "n" * 65: "not allowed",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_malformed_key_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(AccessError, match=BROKEN[text]) as refused:
        make_access(Settings(api_key_file=str(tmp_path / "keys")))
    assert "secret" not in str(refused.value)


def test_an_unreadable_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("missing", "binary", "."):
        with pytest.raises(AccessError, match="cannot be read"):
            make_access(Settings(api_key_file=str(tmp_path / name)))


def test_keys_are_rotated_by_reading_the_file_again(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    access = Access(file)
    file.write_text(f"{digest('new')}  team.b\n")
    assert access.check("Bearer two") == "team.b"  # until then the old ones
    with caplog.at_level(logging.INFO, "wise_serve"):
        access.reload()
    assert access.check("Bearer new") == "team.b"
    with pytest.raises(Unauthorized):
        access.check("Bearer two")
    assert caplog.records[-1].fields == {"keys": 1}  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_keeps_the_keys(
    file: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    access = Access(file)
    file.write_text(text)
    access.reload()
    assert access.check("Bearer one") == "line-2"
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert BROKEN[text] in json.dumps(record.fields)  # type: ignore[attr-defined]
    file.unlink()
    access.reload()
    assert access.check("Bearer one") == "line-2"
