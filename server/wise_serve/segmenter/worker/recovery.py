"""Running a batch when the device fails: only the item that is at fault fails."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_batch(
    run: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    is_out_of_memory: Callable[[Exception], bool],
    is_fatal: Callable[[Exception], bool],
) -> list[Result | Exception]:
    """Run a batch; one result or exception for each item, in order.

    Out of memory: the batch is halved and retried, so that only an item that does not fit alone
    fails. Any other error: its items are retried one by one. A fatal error (the device is lost) is
    raised: no retry can help.
    """
    try:
        return list(run(items))
    except Exception as error:
        if is_fatal(error):
            raise
        if len(items) == 1:
            return [error.with_traceback(None)]  # the traceback would keep the tensors alive
        size = -(-len(items) // 2) if is_out_of_memory(error) else 1
    results: list[Result | Exception] = []
    for start in range(0, len(items), size):
        results += run_batch(run, items[start : start + size], is_out_of_memory, is_fatal)
    return results
