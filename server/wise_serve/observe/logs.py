"""Logs as JSON lines, each with the id of the request it belongs to.

Images, queries, request bodies and keys are never logged. Of an exception only the type and the
stack frames are logged, because its message may quote the request.
"""

import asyncio
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import orjson

from wise_serve.observe import context

logger = logging.getLogger("wise_serve")


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, message, request_id, and its `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON, without a line end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request = context.current.get()
        if request is not None:
            line["request_id"] = request.request_id
        elif hasattr(record, "request_id"):  # the segmenter's worker serves many requests at once
            line["request_id"] = record.request_id
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line.update(_without_message(*record.exc_info))
        return orjson.dumps(line, default=str).decode()


def _without_message(
    kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> dict[str, Any]:
    if kind is None:
        return {}
    stack = traceback.extract_tb(trace)
    frames = [f"{frame.name} {frame.filename}:{frame.lineno}" for frame in stack]
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return {
        "error": kind.__qualname__,
        "frames": frames,
        "inner": [_without_message(type(item), item, item.__traceback__) for item in inner],
    }


def event(level: int, message: str, fields: Mapping[str, Any], **kwargs: Any) -> None:
    """Log `message`; `fields` become members of the line's JSON object."""
    logger.log(level, message, extra={"fields": dict(fields)}, **kwargs)


def watch(loop: asyncio.AbstractEventLoop) -> None:
    """Log failures outside any request, without messages and arguments of exceptions.

    asyncio's own log line would quote those.
    """
    loop.set_exception_handler(_unhandled)


def _unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    what = str(context.get("message", "")).partition("(")[0]  # the rest may be arguments
    fields = {"what": what}
    event(logging.ERROR, "failed outside any request", fields, exc_info=context.get("exception"))


def library_configuration(level: str) -> dict[str, Any]:
    """The same format for a library that configures the logs of its own processes.

    In the form of `logging.config.dictConfig`; all loggers of such a process write to stderr.
    """
    handler = {"class": "logging.StreamHandler", "formatter": "json"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": f"{__name__}.{JsonLines.__name__}"}},
        "handlers": {"stderr": handler},
        "root": {"handlers": ["stderr"], "level": level.upper()},
    }


def configure(level: str) -> None:
    """Send everything to standard error as JSON lines.

    uvicorn's access log is off, because `http.middleware.Boundary` logs each request.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logger.setLevel(level.upper())
    # Debug messages of libraries may quote a request; the server's own do not.
    root.setLevel(max(logging.INFO, logger.level))
    logging.captureWarnings(True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        child = logging.getLogger(name)
        child.handlers.clear()
        child.propagate = name != "uvicorn.access"
