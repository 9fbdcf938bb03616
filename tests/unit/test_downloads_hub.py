"""The hub's own client against a small hub on loopback: what is fetched, and its errors."""

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub.constants as hub_constants
import pytest

from wise_serve.contract.errors import NotReady
from wise_serve.downloads import Checkpoint, Downloads
from wise_serve.preflight.weights import Weights, find_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"s" * 300_000,
    "pytorch_model.bin": b"b" * 300_000,
    "weights.pt": b"p" * 1000,
}


class HubHandler(BaseHTTPRequestHandler):
    """Answers what the client asks of the repository a/b; any other is unknown to it."""

    fetched: list[str]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        body, status = b"", 200
        if path.startswith("/api/models/a/b/tree/"):
            body = json.dumps(
                [
                    {"type": "file", "path": file, "size": len(data), "oid": f"{file}-oid"}
                    for file, data in FILES.items()
                ]
            ).encode()
        elif path.startswith("/api/models/a/b"):
            files = [{"rfilename": file, "size": len(data)} for file, data in FILES.items()]
            body = json.dumps({"id": "a/b", "sha": COMMIT, "siblings": files}).encode()
        elif path.startswith("/a/b/resolve/") and name in FILES:
            body = FILES[name]
            if with_body:
                self.fetched.append(name)
        else:
            status = 404
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{name}-oid"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """The names of the files that the hub has sent."""
    names: list[str] = []
    handler = type("Handler", (HubHandler,), {"fetched": names})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(hub_constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        hub_constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    yield names
    server.shutdown()
    thread.join()
    server.server_close()


async def test_the_reasoner_is_downloaded_once_and_in_one_format(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    count = Downloads._count

    def counting(self: Downloads, done_bytes: int) -> None:
        counted.append(done_bytes)
        count(self, done_bytes)

    monkeypatch.setattr(Downloads, "_count", counting)
    checkpoint = Checkpoint("a/b", ignore=("*.pt",))
    await Downloads([checkpoint]).run()
    assert sorted(fetched) == ["config.json", "model.safetensors"]
    assert max(counted) == 300_002
    await Downloads([checkpoint]).run()
    assert len(fetched) == 2
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    await Downloads([checkpoint]).run()


async def test_of_sam_2_only_the_weights_are_downloaded(fetched: list[str]) -> None:
    await Downloads([Checkpoint("a/b", allow=("*.pt",))]).run()
    assert fetched == ["weights.pt"]


@pytest.mark.parametrize(
    ("checkpoint", "size_bytes"),
    [(Checkpoint("a/b", allow=("*.pt",)), 1000), (Checkpoint("a/b", ignore=("*.pt",)), 300_000)],
)
async def test_the_preflight_finds_what_was_downloaded(
    fetched: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: Checkpoint,
    size_bytes: int,
) -> None:
    elsewhere = replace(checkpoint, cache_dir=str(tmp_path / "other"), revision=COMMIT)
    for one in (checkpoint, elsewhere):
        before = find_weights("a/b", tmp_path / "no", one)
        assert before == Weights(size_bytes, "on the hub, to be downloaded")
        await Downloads([one]).run()
        assert find_weights("a/b", tmp_path / "no", one) == Weights(
            size_bytes, "in the hub's cache"
        )
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    assert find_weights("a/b", tmp_path / "no", elsewhere).size_bytes == size_bytes


async def test_an_unknown_repository_and_no_network(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotReady, match="check the spelling"):
        await Downloads([Checkpoint("a/unknown")]).run()
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NotReady, match=r"HF_HUB_OFFLINE forbids.*Offline install") as raised:
        await Downloads([Checkpoint("a/b")]).run()
    assert "DryRunError" not in str(raised.value)
    assert not fetched


async def test_a_hub_that_does_not_answer_is_named_by_what_the_network_said(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(NotReady, match=r"cannot be reached \(Connect\w*\)") as raised:
        await Downloads([Checkpoint("a/b")]).run()
    assert "DryRunError" not in str(raised.value)
