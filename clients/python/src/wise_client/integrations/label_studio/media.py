"""The image of a task: fetched from Label Studio with its token, or from a host that is allowed.

| the task says                       | fetched from                                             |
|-------------------------------------|----------------------------------------------------------|
| `/data/...`, `upload/...`           | Label Studio                                             |
| `http(s)://` of Label Studio itself | there                                                    |
| `s3://`, `gs://`, `azure-blob://`   | Label Studio's `/tasks/ID/presign/`, which redirects      |
| `http(s)://` of another host        | there, without the token, if `--image-host` names it     |
| `data:image/...;base64,`            | the task itself                                          |
"""

import base64
import binascii
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from wise_client.errors import InputError

MOST_BYTES: Final = 64 * 1024 * 1024
_TIMEOUT = httpx.Timeout(20.0, connect=5.0)
_CLOUD = ("s3:", "gs:", "azure-blob:")
_UPLOADS = ("upload/", "/upload/")


class ImageUnavailable(InputError):
    """A task's image cannot be fetched. Nothing was sent to wise-serve."""

    default_code = "image_unavailable"


@dataclass(frozen=True)
class LabelStudio:
    """Where a project's Label Studio answers, and the token for it.

    `token`: a personal access token, which is exchanged for short-lived ones, or a legacy token.
    """

    url: str
    token: str = ""

    @property
    def personal(self) -> bool:
        """Whether `token` is a personal access token, which is a JWT of three parts."""
        return self.token.count(".") == 2


class Media:
    """Fetches images. `hosts`: those besides Label Studio that may be asked; "*" is every host."""

    def __init__(
        self, hosts: Collection[str] = (), transport: httpx.BaseTransport | None = None
    ) -> None:
        self._hosts = frozenset(hosts)
        self._http = httpx.Client(timeout=_TIMEOUT, transport=transport)
        self._access: dict[LabelStudio, str] = {}
        self._lock = threading.Lock()

    def fetch(self, address: str, task_id: object, home: LabelStudio) -> bytes:
        """The image's bytes as they are stored. Raises ImageUnavailable."""
        if address.startswith("data:"):
            return _inline(address)
        url = _resolved(address, task_id, home)
        inside = bool(home.url) and _origin(url) == _origin(home.url)
        host = httpx.URL(url).host
        if not inside and not self._hosts & {host, "*"}:
            raise ImageUnavailable(
                f"The image is on {host}, which is not allowed; start with --image-host {host}"
            )
        try:
            return self._get(url, home if inside else None)
        except httpx.HTTPError as error:
            raise ImageUnavailable(f"The image cannot be fetched from {host}: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _get(self, url: str, home: LabelStudio | None) -> bytes:
        """A token that was refused is renewed once. Only Label Studio's redirects are followed."""
        for fresh in (False, True):
            headers = self._authorization(home, fresh) if home else {}
            with self._http.stream(
                "GET", url, headers=headers, follow_redirects=home is not None
            ) as response:
                if response.status_code == 401 and home and home.personal and not fresh:
                    continue
                _check(response, home)
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > MOST_BYTES:
                        raise ImageUnavailable(f"The image is larger than {MOST_BYTES} bytes")
                return bytes(content)
        raise AssertionError  # the second turn returns or raises

    def _authorization(self, home: LabelStudio, fresh: bool) -> Mapping[str, str]:
        if not home.token:
            return {}
        if not home.personal:
            return {"Authorization": f"Token {home.token}"}
        with self._lock:
            if fresh or home not in self._access:
                url = f"{home.url.rstrip('/')}/api/token/refresh"
                answer = self._http.post(url, json={"refresh": home.token})
                if answer.status_code != 200:
                    raise ImageUnavailable("Label Studio does not accept the access token")
                self._access[home] = answer.json()["access"]
            return {"Authorization": f"Bearer {self._access[home]}"}


def _check(response: httpx.Response, home: LabelStudio | None) -> None:
    """Without a login, Label Studio answers with its login page."""
    page = response.headers.get("content-type", "").startswith("text/html")
    if response.status_code == 200 and not page:
        return
    hint = ""
    if home and (page or response.status_code in (401, 403, 404)):
        hint = "; is --label-studio-token right, and may its user see the project?"
    raise ImageUnavailable(
        f"The image cannot be fetched from {response.url.host}: "
        f"{'a page' if page else f'status {response.status_code}'} came{hint}"
    )


def _inline(address: str) -> bytes:
    head, comma, content = address.partition(",")
    try:
        if comma and head.endswith(";base64"):
            return base64.b64decode(content, validate=True)
    except binascii.Error:
        pass
    raise ImageUnavailable("The task's image is a data: address, but not one in base64")


def _resolved(address: str, task_id: object, home: LabelStudio) -> str:
    if address.startswith(("http://", "https://")):
        return address
    if not home.url:
        raise ImageUnavailable("Label Studio's own address is not known; give --label-studio-url")
    base = home.url.rstrip("/")
    if address.startswith(_CLOUD):
        packed = base64.urlsafe_b64encode(address.encode()).decode()
        return f"{base}/tasks/{task_id}/presign/?fileuri={packed}"
    if address.startswith(_UPLOADS):
        address = f"/data/{address.lstrip('/')}"
    if not address.startswith("/"):
        raise ImageUnavailable(f"The task's image {address[:80]!r} is no address that is known")
    return base + address


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = httpx.URL(url)
    return parts.scheme, parts.host, parts.port
