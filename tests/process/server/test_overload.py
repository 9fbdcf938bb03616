"""Five times its capacity, for some seconds: `benchmarks/overload.py`, on the fakes.

The limits of time are generous here, since the machine may be busy with other things; the full run
holds them as docs/operations.md states them.
"""

import asyncio

import overload


def test_promises_hold_at_five_times_the_capacity() -> None:
    with overload.server_with(slots=4, queue=4, fakes=True) as server:
        result = asyncio.run(
            overload.measure(server, images=32, slots=4, factor=5.0, capacity_s=3.0, seconds=6.0)
        )
    assert result["others"] == [], result  # all that was accepted was finished
    assert result["answered"] > 10
    assert result["refused"] > result["answered"]
    assert result["images_decoded"] == result["answered"], result
    assert result["goodput_share"] > 0.5, result
    assert result["refusal_p50_ms"] < 100, result
    assert result["rss_growth_share"] < 0.25, result


def test_every_broken_promise_is_reported() -> None:
    kept = {
        "others": [],
        "images_decoded": 7,
        "answered": 7,
        "goodput_share": 0.9,
        "refusal_p99_ms": 49.9,
        "rss_growth_share": 0.04,
    }
    assert overload.broken(kept) == []
    for change in (
        {"others": ["500"]},
        {"images_decoded": 8},
        {"goodput_share": 0.89},
        {"refusal_p99_ms": 50.0},
        {"rss_growth_share": 0.05},
    ):
        assert len(overload.broken(kept | change)) == 1


def test_memory_is_judged_by_its_growth() -> None:
    times = [float(second) for second in range(100)]
    flat = overload.memory(times, [100.0 + second % 2 for second in range(100)])
    assert abs(flat["rss_growth_share"]) < 0.01
    growing = overload.memory(times, [100.0 + second for second in range(100)])
    assert growing["rss_growth_share"] > 0.4
    assert growing["rss_slope_mib_per_min"] == 60.0
