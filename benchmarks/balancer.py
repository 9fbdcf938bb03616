"""deploy/nginx as published, by Debian's real nginx, before servers that run already."""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from running import free_port

FOLDER = Path(__file__).parents[1] / "deploy" / "nginx"
STARTS_WITHIN_S = 10.0


def _servers(addresses: Sequence[str], changed: Mapping[str, str]) -> str:
    """wise-servers.conf with these servers in place of its own, each with its published limits."""
    lines = (FOLDER / "wise-servers.conf").read_text().splitlines()
    published = [line for line in lines if line.startswith("server ")]
    text = ""
    for number, base in enumerate(addresses):
        assert f"wise-{number}:8000" in published[number]
        address = base.removeprefix("http://")
        text += published[number].replace(f"wise-{number}:8000", address) + "\n"
    for old, new in changed.items():
        text = text.replace(old, new)
    return text


def _configure(folder: Path, addresses: Sequence[str], changed: Mapping[str, str]) -> int:
    """Writes the published configuration for these servers; returns its port."""
    port = free_port()
    own = {
        "listen 8080 ": f"listen 127.0.0.1:{port} ",
        "worker_processes auto;": f"worker_processes 1; daemon off; pid {folder}/pid; "
        f"error_log {folder}/errors info;",
    }
    text = (FOLDER / "nginx.conf").read_text()
    servers = _servers(addresses, changed)
    for old in (*own, *changed):
        assert text.count(old) == 1 or changed.get(old, old) in servers, old
    for old, new in (own | dict(changed)).items():
        text = text.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(text.replace("http {", f"http {{\n{paths}", 1))
    (folder / "wise-servers.conf").write_text(servers)
    return port


@contextmanager
def running_nginx(
    folder: Path, addresses: Sequence[str], changed: Mapping[str, str] | None = None
) -> Iterator[str]:
    """nginx before the servers at `addresses`, three of them at most; yields its own address.

    folder: an empty one, for its files. changed: pieces of the published text, and what stands
    there instead. Raises RuntimeError with nginx's log if it does not start."""
    port = _configure(folder, addresses, changed or {})
    url = f"http://127.0.0.1:{port}"
    nginx = subprocess.Popen(
        ["nginx", "-e", f"{folder}/errors", "-c", f"{folder}/nginx.conf"],
        stderr=subprocess.DEVNULL,  # its log says the same
    )
    try:
        _wait_ready(nginx, url, folder / "errors")
        yield url
    finally:
        nginx.terminate()
        nginx.wait()


def _wait_ready(nginx: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    end = time.monotonic() + STARTS_WITHIN_S
    while nginx.poll() is None and time.monotonic() < end:
        try:
            httpx.get(f"{url}/balancer/livez")
            return
        except httpx.ConnectError:
            time.sleep(0.05)
    raise RuntimeError(f"nginx did not start:\n{log.read_text()}")
