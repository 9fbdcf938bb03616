"""A release is one edit: every copy of the version is what the server's own says."""

import pytest

import version_copies
from wise_serve.versions import VERSION


@pytest.mark.parametrize("name", version_copies.COPIES)
def test_a_copy_has_the_servers_version(name: str) -> None:
    text = (version_copies.ROOT / name).read_text(encoding="utf-8")
    assert version_copies.with_version(text, version_copies.COPIES[name]) == text


@pytest.mark.parametrize("name", version_copies.COPIES)
def test_a_new_version_reaches_every_copy(name: str) -> None:
    text = (version_copies.ROOT / name).read_text(encoding="utf-8")
    fresh = version_copies.with_version(text, version_copies.COPIES[name], "9.8.7")
    assert "9.8.7" in fresh
    assert version_copies.COPIES[name] + VERSION not in fresh
