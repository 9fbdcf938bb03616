"""What can be checked of the containers' files alone; tests/image builds and runs them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import dockerfile

ROOT = Path(__file__).parents[2]
FILE = dockerfile.read(ROOT / "Dockerfile")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
TARGETS = ("cpu", "gpu")
SERVERS = ("gateway", "gateway-cpu")


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_fits_its_schema() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    run(tool("check-jsonschema"), *schema, "docker-compose.yml")


def test_hadolint_finds_nothing() -> None:
    run(tool("hadolint"), "Dockerfile")


def test_every_copied_file_exists_and_is_not_ignored() -> None:
    copied = {
        source
        for stage in FILE.stages.values()
        for text in stage.all("COPY")
        if not text.startswith("--from")
        for source in text.split()[:-1]
    }
    assert copied == {
        "pyproject.toml",
        "README.md",
        "constraints.txt",
        "constraints-gpu.txt",
        "server",
    }
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in sent
    assert "*" in sent


def test_files_are_copied_only_from_named_stages() -> None:
    for stage in FILE.stages.values():
        for text in stage.all("COPY"):
            if found := re.match(r"--from=(\S+)", text):
                assert found[1] in FILE.stages


@pytest.mark.parametrize("target", TARGETS)
def test_images_run_as_nobody_under_an_init_with_a_health_check(target: str) -> None:
    stage = FILE.stages[target]
    assert stage.all("USER")[-1] == "10001:10001"
    assert json.loads(stage.all("ENTRYPOINT")[0]) == ["/usr/bin/tini", "--", "wise-serve"]
    assert "/readyz" in stage.all("HEALTHCHECK")[0]
    assert json.loads(stage.all("VOLUME")[0]) == ["/cache"]
    environment = " ".join(stage.all("ENV"))
    assert "HF_HOME=/cache/huggingface" in environment
    assert "WISE_HOST=0.0.0.0" in environment
    labels = " ".join(stage.all("LABEL"))
    for name in ("title", "description", "licenses", "version"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_bases_are_pinned_and_the_gpus_is_vllms_own() -> None:
    assert FILE.arguments["VLLM_IMAGE"] == "vllm/vllm-openai:v0.33.0"
    assert FILE.stages["gpu"].base == "${VLLM_IMAGE}"
    assert FILE.arguments["PYTHON_IMAGE"] == "python:3.11-slim"
    for service in COMPOSE["services"].values():
        assert re.search(r":v?\d+\.\d+\.\d+", service["image"])


def test_nothing_secret_is_in_the_files() -> None:
    text = (ROOT / "Dockerfile").read_text() + (ROOT / "docker-compose.yml").read_text()
    assert not re.search(r"(?i)(token|secret|api_?key)\s*[=:]", text)
    password = COMPOSE["services"]["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"]
    assert password.startswith("${GRAFANA_PASSWORD:?")


def test_what_compose_mounts_exists() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).is_dir()
            else:
                assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVERS)
def test_compose_runs_the_servers_confined(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["build"]["target"] in TARGETS
    assert service["environment"]["WISE_ALLOW_ANYONE"] == "true"  # on loopback alone, as above
    assert service["networks"]["default"]["aliases"] == ["wise-serve"]  # what Prometheus scrapes


def test_one_gpu_is_reserved_and_the_cpu_profile_has_none() -> None:
    reserved = COMPOSE["services"]["gateway"]["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    profiles = {name: set(service["profiles"]) for name, service in COMPOSE["services"].items()}
    on_cpu = {name for name, names in profiles.items() if "cpu" in names}
    assert on_cpu == {"gateway-cpu", "prometheus", "grafana"}
    assert "deploy" not in COMPOSE["services"]["gateway-cpu"]
