"""A process and its descendants, as /proc tells of them (proc(5)): for memory over time."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def tree(pid: int) -> list[int]:
    """`pid` and every process below it that lives now."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:  # it has just ended
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of the whole tree; what processes share counts in each."""
    total = 0
    for one in tree(pid):
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * _PAGE_BYTES
        except OSError:
            continue
    return total


def slope(seconds: Sequence[float], values: Sequence[float]) -> float:
    """Least squares: the values' growth a second."""
    return float(np.polyfit(seconds, values, 1)[0]) if len(seconds) > 1 else 0.0
