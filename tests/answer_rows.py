"""Rows of a Parquet folder of answers, as the batch writes them."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from wise_client.parquet.folder import ParquetAnswers

OPTIONS = {"strategy": "wise"}


def asked(index: int, **changed: Any) -> dict[str, Any]:
    pair = {"index": index, "image": f"{index}.png", "query": "q", "options": OPTIONS}
    return pair | changed


Response = dict[str, Any]


def answered(index: int, response: Response) -> dict[str, Any]:
    return {**asked(index), "response": response}


def failed(index: int) -> dict[str, Any]:
    names = ("code", "detail", "status", "request_id")
    return {**asked(index), "error": dict(zip(names, ("c", "d", 422, "r"), strict=True))}


def opened(path: Path, rows: int | None = 4) -> ParquetAnswers:
    return ParquetAnswers(path, OPTIONS, rows)


def statuses(path: Path) -> dict[int, str]:
    """Index -> status of all rows; fails where an index comes twice."""
    table = pq.read_table(path, columns=["index", "status"]).to_pylist()
    found = {row["index"]: row["status"] for row in table}
    assert len(found) == len(table)
    return found
