"""Who may ask."""

import hashlib
from pathlib import Path

import pytest

from wise_serve.access import Access, AccessError, make_access
from wise_serve.errors import Unauthorized
from wise_serve.settings import Settings


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# ours\n{digest('one')}  -\n\n{digest('two')}  second\n")
    return path


@pytest.mark.parametrize("header", ["Bearer one", "bearer two", "Bearer  one "])
def test_a_known_key_is_let_in(file: Path, header: str) -> None:
    make_access(Settings(api_key_file=str(file))).check(header)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer three", "Basic one", "one", f"Bearer {digest('one')}"]
)
def test_anything_else_is_not(file: Path, header: str | None) -> None:
    with pytest.raises(Unauthorized):
        make_access(Settings(api_key_file=str(file))).check(header)


def test_without_keys_everybody_is_let_in_on_loopback() -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.9"):
        make_access(Settings(host=host)).check(None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "gateway.example"])
def test_a_public_address_without_keys_must_be_asked_for(host: str) -> None:
    with pytest.raises(AccessError, match="--allow-anyone"):
        make_access(Settings(host=host))
    make_access(Settings(host=host, allow_anyone=True)).check(None)


@pytest.mark.parametrize("text", ["", "# none\n", "secret\n", digest("x")[:-1]])
def test_a_file_without_digests_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(AccessError, match="sha256sum"):
        make_access(Settings(api_key_file=str(tmp_path / "keys")))
    with pytest.raises(AccessError, match="cannot be read"):
        make_access(Settings(api_key_file=str(tmp_path / "missing")))


def test_no_digests_no_check() -> None:
    Access(frozenset()).check("Bearer whatever")
