"""The backend over HTTP, as Label Studio calls it: a WSGI application.

Label Studio shows its user the status line of a failure, but not its body; so the status line
contains the reason, too.
"""

import base64
import binascii
import hmac
import json
import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from wise_client import errors
from wise_client.integrations.label_studio.backend import Backend
from wise_client.integrations.label_studio.media import ImageUnavailable

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

MOST_BODY_BYTES: Final = 64 * 1024 * 1024
_LONGEST_REASON = 400
_log = logging.getLogger("wise_client.label_studio")
# The first class that fits is used. wise-serve's 401 is not sent as 401: Label Studio would ask for
# another password.
_STATUS: tuple[tuple[type[errors.WiseClientError], HTTPStatus], ...] = (
    (ImageUnavailable, HTTPStatus.FAILED_DEPENDENCY),
    (errors.InputError, HTTPStatus.BAD_REQUEST),
    (errors.RetryableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.TransportError, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.DeadlineExceededError, HTTPStatus.GATEWAY_TIMEOUT),
    (errors.UnauthorizedError, HTTPStatus.BAD_GATEWAY),
    (errors.BadRequestError, HTTPStatus.BAD_REQUEST),
    (errors.WiseClientError, HTTPStatus.BAD_GATEWAY),
)


class App:
    """`user_and_password`: "user:password" that Label Studio has to give, or None."""

    def __init__(self, backend: Backend, user_and_password: str | None = None) -> None:
        self._backend = backend
        self._expected = None if user_and_password is None else user_and_password.encode()
        self._routes: dict[tuple[str, str], Callable[[dict[str, Any]], dict[str, Any]]] = {
            ("GET", "/"): self._health,
            ("GET", "/health"): self._health,
            ("GET", "/versions"): lambda _: {"versions": [backend.version()]},
            ("POST", "/setup"): backend.setup,
            ("POST", "/predict"): backend.predict,
            ("POST", "/webhook"): lambda _: {},  # ignored: nothing is trained here
        }

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer one request (WSGI, PEP 3333)."""
        status, reason, document = self._answer(environ)
        body = json.dumps(document).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        if status == HTTPStatus.UNAUTHORIZED:
            headers.append(("WWW-Authenticate", 'Basic realm="wise-segment label-studio"'))
        start_response(f"{status.value} {reason}", headers)
        return [body]

    def _answer(self, environ: "WSGIEnvironment") -> tuple[HTTPStatus, str, dict[str, Any]]:
        if not self._admitted(environ.get("HTTP_AUTHORIZATION", "")):
            return _failed(HTTPStatus.UNAUTHORIZED, "The user or the password is wrong")
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO") or "/"
        route = self._routes.get((method, path))
        if route is None:
            known = {one for _, one in self._routes}
            status = HTTPStatus.METHOD_NOT_ALLOWED if path in known else HTTPStatus.NOT_FOUND
            return _failed(status, "This ML backend has no such operation")
        try:
            return HTTPStatus.OK, "OK", route(_body(environ) if method == "POST" else {})
        except errors.WiseClientError as error:
            status = next(status for kind, status in _STATUS if isinstance(error, kind))
            _log.warning("%s: %s", path, error)
            return _failed(status, str(error))
        except Exception:
            _log.exception("%s failed", path)
            return _failed(HTTPStatus.INTERNAL_SERVER_ERROR, "A defect; see the backend's log")

    def _health(self, _: dict[str, Any]) -> dict[str, Any]:
        """Up only if wise-serve answers: Label Studio then shows the backend as disconnected."""
        return {"status": "UP", "model_class": "wise-serve", "version": self._backend.version()}

    def _admitted(self, authorization: str) -> bool:
        if self._expected is None:
            return True
        scheme, _, packed = authorization.partition(" ")
        try:
            given = base64.b64decode(packed, validate=True) if scheme.lower() == "basic" else b""
        except binascii.Error:
            given = b""
        return hmac.compare_digest(given, self._expected)


def _body(environ: "WSGIEnvironment") -> dict[str, Any]:
    """Raises InputError if it is not a JSON object."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > MOST_BODY_BYTES:
        raise errors.InputError(f"The request is larger than {MOST_BODY_BYTES} bytes")
    try:
        document = json.loads(environ["wsgi.input"].read(length))
    except ValueError as error:
        raise errors.InputError(f"The request is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise errors.InputError("The request is not a JSON object")
    return document


def _failed(status: HTTPStatus, detail: str) -> tuple[HTTPStatus, str, dict[str, Any]]:
    plain = " ".join(detail.split())[:_LONGEST_REASON]
    return status, plain.encode("ascii", "replace").decode(), {"error": detail}
