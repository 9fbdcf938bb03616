"""Where images go: the same place each time, evenly, and elsewhere only if their place is full."""

from collections import Counter

import pytest

from wise_serve.placement import LEAST_BOUND, in_order, load_bound, place, ranked

DIGESTS = [f"digest-{number}" for number in range(4000)]


def idle(names: str) -> dict[str, int]:
    return dict.fromkeys(names, 0)


def test_images_are_spread_evenly() -> None:
    counts = Counter(place(digest, idle("abcd")) for digest in DIGESTS)
    assert all(900 < counts[name] < 1100 for name in "abcd")


def test_a_lost_place_moves_its_own_images_alone_and_to_all_others() -> None:
    before = {digest: place(digest, idle("abcd")) for digest in DIGESTS}
    moved = Counter[str]()
    for digest, name in before.items():
        now = place(digest, idle("abc"))
        if name == "d":
            moved[now] += 1
        else:
            assert now == name
    assert all(250 < moved[name] < 420 for name in "abc")


def test_a_full_place_passes_on_to_the_next_of_the_images_own_order() -> None:
    first, second, *_ = ranked("x", "abcd")
    loads = idle("abcd") | {first: LEAST_BOUND}
    assert place("x", loads) == second
    loads[first] -= 1
    assert place("x", loads) == first


def test_no_place_gets_much_more_than_its_share_of_one_image() -> None:
    loads = idle("abcd")
    for _ in range(400):
        loads[place("the same image", loads)] += 1
    assert max(loads.values()) <= load_bound(400, 4) == 126


def test_order_of_places_does_not_matter() -> None:
    assert place("x", idle("abcd")) == place("x", idle("dcba"))


@pytest.mark.parametrize("names", ["a", "ab", "abcdefgh"])
def test_a_place_is_found_at_any_load(names: str) -> None:
    loads = dict.fromkeys(names, 10**6)
    assert place("x", loads) in names


def test_the_order_of_a_call_begins_with_its_place_and_ends_with_the_fullest() -> None:
    first, second, third, fourth = ranked("x", "abcd")
    assert in_order("x", idle("abcd")) == [first, second, third, fourth]
    loads = idle("abcd") | {first: 9, third: 7}
    assert in_order("x", loads) == [second, fourth, third, first]


def test_a_repeated_call_begins_with_another_place() -> None:
    order = ranked("x", "abc")
    begins = [in_order("x", idle("abc"), attempt)[0] for attempt in range(4)]
    assert begins == [*order, order[0]]


def test_full_places_are_all_in_the_order_of_a_repeated_call() -> None:
    loads = {"a": 40, "b": 20}
    assert in_order("x", loads, attempt=3)[-1] == "a"
    assert sorted(in_order("x", loads, attempt=3)) == ["a", "b"]
    assert in_order("x", {}) == []
