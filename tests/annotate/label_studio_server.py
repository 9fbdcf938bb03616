"""A real Label Studio on loopback with SQLite, and this project's ML backend."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from running import free_port

USER, PASSWORD = "annotator@example.com", "masks-and-boxes"
READY_WITHIN_S = 180.0


@dataclass
class LabelStudioServer:
    """`token`: a personal access token. `http`: logged in as its user."""

    url: str
    token: str
    http: httpx.Client

    def call(self, method: str, path: str, **body: Any) -> Any:
        """One call of its API; the answer's JSON. Raises for a failure, with its body."""
        response = self.http.request(method, path, **body)
        assert response.is_success, f"{path}: {response.status_code} {response.text[:2000]}"
        return response.json() if response.content else None

    def project(self, config: str, backend: str | None = None) -> int:
        """A new project, with the backend attached."""
        made = self.call("POST", "/api/projects", json={"title": "shapes", "label_config": config})
        if backend is not None:
            body = {"url": backend, "project": made["id"], "title": "wise", "is_interactive": True}
            self.call("POST", "/api/ml", json=body)
        return int(made["id"])

    def upload(self, project: int, *images: Path) -> list[dict[str, Any]]:
        """Upload files, one task for each; returns the tasks."""
        for image in images:
            files = {"file": (image.name, image.read_bytes(), "image/jpeg")}
            self.call("POST", f"/api/projects/{project}/import", files=files)
        return self.tasks(project)

    def tasks(self, project: int) -> list[dict[str, Any]]:
        return list(self.call("GET", f"/api/tasks?project={project}&fields=all")["tasks"])

    def retrieve(self, project: int) -> None:
        """What "Retrieve predictions" of the data manager does, for all tasks."""
        self.act(project, "retrieve_tasks_predictions")

    def act(self, project: int, action: str) -> None:
        body = {"selectedItems": {"all": True, "excluded": []}}
        self.call("POST", f"/api/dm/actions?id={action}&project={project}", json=body)

    def predictions(self, project: int) -> list[dict[str, Any]]:
        return list(self.call("GET", f"/api/predictions?project={project}"))


@contextmanager
def label_studio(folder: Path) -> Iterator[LabelStudioServer]:
    """Started in `folder`, ended by its own process."""
    port = free_port()
    environment = {
        **os.environ,
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "LABEL_STUDIO_USERNAME": USER,
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "DJANGO_DB": "sqlite",
        "LATEST_VERSION_CHECK": "false",
        "COLLECT_ANALYTICS": "false",
        "USE_DEFAULT_BANNED_SUBNETS": "false",  # else it calls nothing on this machine
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "HOME": str(folder),
    }
    command = str(Path(sys.executable).with_name("label-studio"))
    words = [command, "start", "--no-browser", "--port", str(port), "--internal-host", "127.0.0.1"]
    url = f"http://127.0.0.1:{port}"
    with (folder / "label-studio.log").open("wb") as log:
        process = subprocess.Popen(words, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        _wait(url, process, folder / "label-studio.log")
        token = _token(url)
        access = httpx.post(f"{url}/api/token/refresh", json={"refresh": token}).json()["access"]
        # Of this many calls, none needs the token longer than its five minutes.
        headers = {"Authorization": f"Bearer {access}"}
        with httpx.Client(base_url=url, headers=headers, timeout=120) as http:
            yield LabelStudioServer(url, token, http)
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def ml_backend(wise_url: str, *flags: str) -> Iterator[str]:
    """Run `wise-segment label-studio`; yields its address."""
    words = [sys.executable, "-m", "wise_client.cli.main", "label-studio", "--port", "0"]
    process = subprocess.Popen(
        [*words, "--url", wise_url, *flags], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"ready at (http://\S+),", line):
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield found[1]
                break
        else:
            raise AssertionError(f"the backend did not start: {''.join(lines)}")
    finally:
        process.terminate()
        process.wait(20)


def _token(url: str) -> str:
    """A personal access token, as its page in Label Studio makes one."""
    with httpx.Client(base_url=url, timeout=60, headers={"Referer": url}) as http:
        http.get("/user/login/")
        form = {"email": USER, "password": PASSWORD}
        http.post("/user/login/", data={**form, "csrfmiddlewaretoken": http.cookies["csrftoken"]})
        made = http.post("/api/token/", headers={"X-CSRFToken": http.cookies["csrftoken"]}, json={})
        return str(made.raise_for_status().json()["token"])


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while process.poll() is None and time.monotonic() < until:
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise AssertionError(f"Label Studio did not start: {log.read_text()[-3000:]}")
