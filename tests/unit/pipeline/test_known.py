"""Known images: which callers may use them, their entries, and the limit on memory."""

from PIL import Image

from wise_serve.pipeline.known import KnownImage, KnownImages, Shown
from wise_serve.reasoner.strategies.images import View

SQUARE = Shown(Image.new("RGB", (100, 100)), View((100, 100), False))


def test_an_image_is_known_to_those_who_sent_it() -> None:
    known = KnownImages(10_000)
    known.remember(KnownImage("d", 30, 20), "a")
    assert known.get("d", "b") is None
    assert known.get("e", "a") is None
    known.remember(KnownImage("d", 30, 20), "b")
    for caller in ("a", "b"):
        found = known.get("d", caller)
        assert found is not None
        assert (found.width, found.height) == (30, 20)


def test_a_click_keeps_what_a_query_stored() -> None:
    known = KnownImages(100_000)
    known.remember(KnownImage("d", 30, 20), "a", SQUARE)
    known.remember(KnownImage("d", 30, 20), "a")
    found = known.get("d", "a")
    assert found is not None
    assert found.shown is SQUARE


def test_beyond_the_limit_the_least_recently_used_is_dropped() -> None:
    known = KnownImages(3 * 32_000)
    for name in "abc":
        known.remember(KnownImage(name, 30, 20), "", SQUARE)
    assert known.get("a", "") is not None
    known.remember(KnownImage("d", 30, 20), "", SQUARE)
    assert [known.get(name, "") is not None for name in "abcd"] == [True, False, True, True]
    assert known.used_bytes <= 3 * 32_000
    for _ in range(9):
        known.remember(KnownImage("d", 30, 20), "", SQUARE)
    assert known.get("a", "") is not None


def test_a_request_about_a_known_image_needs_no_further_memory() -> None:
    known = KnownImages(4 * 32_000)
    for name in "ab":
        known.remember(KnownImage(name, 30, 20), "", SQUARE)
    used_bytes = known.used_bytes
    for _ in range(20):
        found = known.get("a", "")
        assert found is not None
        known.remember(found, "")
    assert known.used_bytes == used_bytes
    assert known.get("b", "") is not None
