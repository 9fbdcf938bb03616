"""A batch that fails: who survives."""

from collections.abc import Sequence

import pytest

from wise_serve.segmenter.worker.recovery import run_batch


class OutOfMemoryError(Exception):
    pass


class DeviceLostError(Exception):
    pass


class Device:
    """Doubles numbers. Fits `capacity` in all; fails on what is in `bad`."""

    def __init__(self, capacity: int = 1000, bad: frozenset[int] = frozenset()) -> None:
        self.capacity, self.bad = capacity, bad
        self.calls: list[int] = []

    def run(self, items: Sequence[int]) -> list[int]:
        self.calls.append(len(items))
        if sum(items) > self.capacity:
            raise OutOfMemoryError
        if self.bad & set(items):
            raise DeviceLostError if 666 in items else ValueError
        return [2 * item for item in items]


def recover(device: Device, items: Sequence[int]) -> list[int | Exception]:
    return run_batch(
        device.run,
        items,
        lambda error: isinstance(error, OutOfMemoryError),
        lambda error: isinstance(error, DeviceLostError),
    )


def test_a_good_batch_runs_once() -> None:
    device = Device()
    assert recover(device, [1, 2, 3]) == [2, 4, 6]
    assert device.calls == [3]


def test_out_of_memory_halves_the_batch() -> None:
    device = Device(capacity=8)
    assert recover(device, [4, 4, 4, 4]) == [8, 8, 8, 8]
    assert device.calls == [4, 2, 2]


def test_only_what_cannot_fit_alone_fails() -> None:
    results = recover(Device(capacity=8), [1, 9, 1, 1, 1])
    assert isinstance(results[1], OutOfMemoryError)
    assert results[:1] + results[2:] == [2, 2, 2, 2]


def test_batch_mates_survive_a_bad_item() -> None:
    device = Device(bad=frozenset({3}))
    results = recover(device, [1, 2, 3, 4])
    assert isinstance(results[2], ValueError)
    assert [results[0], results[1], results[3]] == [2, 4, 8]
    assert device.calls == [4, 1, 1, 1, 1]


def test_a_lost_device_is_not_tried_again() -> None:
    device = Device(bad=frozenset({666}))
    with pytest.raises(DeviceLostError):
        recover(device, [1, 666])
    assert device.calls == [2]
