"""Log lines."""

import json
import logging
import subprocess
import sys

from wise_serve.observe.context import current, new_context
from wise_serve.observe.logs import JsonLines, library_configuration


def line(message: str, **extra: object) -> dict[str, object]:
    record = logging.LogRecord("wise_serve", logging.INFO, "f.py", 1, message, None, None)
    record.__dict__.update(extra)
    parsed: dict[str, object] = json.loads(JsonLines().format(record))
    return parsed


def test_line_has_the_request_id_and_its_fields() -> None:
    token = current.set(new_context("abc-1"))
    try:
        parsed = line("request", fields={"status": 200})
    finally:
        current.reset(token)
    assert (parsed["message"], parsed["request_id"], parsed["status"]) == ("request", "abc-1", 200)
    assert "request_id" not in line("later")


def test_an_exceptions_message_is_not_logged() -> None:
    try:
        raise ExceptionGroup("canary-1", [ValueError("canary-2")])
    except ExceptionGroup:
        parsed = line("failed", exc_info=sys.exc_info())
    assert parsed["error"] == "ExceptionGroup"
    assert "test_logs.py" in str(parsed["frames"])
    assert "ValueError" in str(parsed["inner"])
    assert "canary" not in str(parsed)


def test_only_plain_request_ids_are_accepted() -> None:
    assert new_context("a.b-c_1").request_id == "a.b-c_1"
    for offered in ("", "a b", "a\nb", "x" * 65, "é", '"'):
        context = new_context(offered)
        assert context.request_id == context.id
    assert new_context("same").work_id != new_context("same").work_id


def test_a_librarys_own_process_logs_the_same_lines() -> None:
    code = (
        "import json, logging, logging.config, sys\n"
        "logging.config.dictConfig(json.loads(sys.argv[1]))\n"
        "logging.getLogger('vllm.engine').info('hello')\n"
        "logging.getLogger('vllm.engine').debug('quiet')"
    )
    configuration = json.dumps(library_configuration("info"))
    command = [sys.executable, "-c", code, configuration]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    [only] = done.stderr.splitlines()
    assert json.loads(only)["message"] == "hello"
