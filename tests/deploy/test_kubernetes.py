"""The manifests: core kinds against the published schemas, the rest by the fields that matter."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from manifests import FOLDER, Manifest, base, kustomization, read
from wise_serve.settings import Settings

CUSTOM = {
    "keda.sh/v1alpha1",
    "monitoring.coreos.com/v1",
    "kustomize.config.k8s.io/v1beta1",
    "gateway.networking.k8s.io/v1",
    "gateway.envoyproxy.io/v1alpha1",
}
VERSION = "1.33"
STOP_S = 20  # lifecycle.py: how long the models may take to end


def merged(original: Any, patch: Any) -> Any:
    """A strategic merge, as far as the overlay goes: lists of named items merge by name."""
    if isinstance(original, dict) and isinstance(patch, dict):
        keys = [*original, *(key for key in patch if key not in original)]
        return {
            key: merged(original[key], patch[key])
            if key in original and key in patch
            else patch.get(key, original.get(key))
            for key in keys
        }
    if isinstance(original, list) and isinstance(patch, list) and patch and "name" in patch[0]:
        named = {item["name"]: item for item in original}
        for item in patch:
            named[item["name"]] = merged(named.get(item["name"], {}), item)
        return list(named.values())
    return patch


def gpu_deployment() -> Manifest:
    patch = read(FOLDER / "gpu" / "deployment.yaml")
    deployment: Manifest = merged(base()["Deployment"], patch)
    return deployment


def pod(deployment: Manifest) -> Manifest:
    spec: Manifest = deployment["spec"]["template"]["spec"]
    return spec


def container(deployment: Manifest) -> Manifest:
    [only] = pod(deployment)["containers"]
    found: Manifest = only
    return found


BOTH = [
    pytest.param(lambda: base()["Deployment"], id="base"),
    pytest.param(gpu_deployment, id="gpu"),
]


CORE = [path for path in sorted(FOLDER.glob("*/*.yaml")) if read(path)["apiVersion"] not in CUSTOM]


@pytest.mark.parametrize("path", CORE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_core_kinds_fit_the_published_schemas(path: Path) -> None:
    patch = path == FOLDER / "gpu" / "deployment.yaml"
    kubernetes_validate.validate(gpu_deployment() if patch else read(path), VERSION, strict=True)


@pytest.mark.parametrize("name", ["base", "gpu", "gateway", "ingress-nginx"])
def test_kustomizations_name_every_file_and_no_other(name: str) -> None:
    found = kustomization(name)
    named = {*found["resources"], *(patch["path"] for patch in found.get("patches", ()))}
    files = {path.name for path in (FOLDER / name).glob("*.yaml")} - {"kustomization.yaml"}
    assert named - {"../base"} == files
    assert (name == "gpu") is ("../base" in named)


def test_every_patch_names_an_object_of_the_base() -> None:
    for patch in kustomization("gpu")["patches"]:
        target = base()[patch["target"]["kind"]]
        assert target["metadata"]["name"] == patch["target"]["name"]
        theirs = read(FOLDER / "gpu" / patch["path"])
        assert (theirs["kind"], theirs["metadata"]) == (
            target["kind"],
            {"name": target["metadata"]["name"]},
        )
    assert container(gpu_deployment())["name"] == container(base()["Deployment"])["name"]


@pytest.mark.parametrize("deployment", BOTH)
def test_the_drain_fits_into_the_grace_period(deployment: Any) -> None:
    drain_s = float(environment(deployment())["WISE_DRAIN_DEADLINE_S"])
    pause_s = float(container(deployment())["lifecycle"]["preStop"]["exec"]["command"][1])
    assert drain_s == Settings.model_fields["drain_deadline_s"].default
    assert pod(deployment())["terminationGracePeriodSeconds"] > pause_s + drain_s + STOP_S


def environment(deployment: Manifest) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container(deployment)["env"]}


@pytest.mark.parametrize("deployment", BOTH)
def test_probes_answer_at_each_stage(deployment: Any) -> None:
    probes = container(deployment())
    startup, live, ready = (probes[f"{name}Probe"] for name in ("startup", "liveness", "readiness"))
    assert live["httpGet"]["path"] == "/livez"
    assert ready["httpGet"]["path"] == startup["httpGet"]["path"] == "/readyz"
    start_s = float(environment(deployment())["WISE_STARTUP_DEADLINE_S"])
    assert startup["periodSeconds"] * startup["failureThreshold"] > start_s
    # The pod leaves the service before SIGTERM comes.
    pause_s = float(probes["lifecycle"]["preStop"]["exec"]["command"][1])
    assert ready["periodSeconds"] * ready["failureThreshold"] < pause_s


@pytest.mark.parametrize("deployment", BOTH)
def test_settings_in_the_environment_exist(deployment: Any) -> None:
    names = [name for name in environment(deployment()) if name.startswith("WISE_")]
    fields = {name.removeprefix("WISE_").lower() for name in names}
    assert fields <= set(Settings.model_fields)
    values = {field: environment(deployment())[f"WISE_{field.upper()}"] for field in fields}
    Settings.model_validate(values)


@pytest.mark.parametrize("deployment", BOTH)
def test_pods_are_confined(deployment: Any) -> None:
    security = container(deployment())["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert pod(deployment())["securityContext"]["runAsUser"] == 10001
    mounts = {mount["name"] for mount in container(deployment())["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod(deployment())["volumes"]}


def test_selectors_agree() -> None:
    kinds = base()
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert kinds["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert kinds["Service"]["spec"]["selector"] == labels
    assert kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    monitor = kinds["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"] == kinds["Service"]["metadata"]["labels"]
    assert monitor["endpoints"][0]["port"] == kinds["Service"]["spec"]["ports"][0]["name"]
    assert monitor["endpoints"][0]["path"] == "/metrics"


def test_pods_may_not_open_connections_to_the_outside() -> None:
    policy = base()["NetworkPolicy"]["spec"]
    assert "Egress" in policy["policyTypes"]
    assert policy["egress"] == []
    assert environment(gpu_deployment())["HF_HUB_OFFLINE"] == "1"


def test_callers_need_a_key() -> None:
    path = environment(base()["Deployment"])["WISE_API_KEY_FILE"]
    [mount] = [m for m in container(base()["Deployment"])["volumeMounts"] if m["name"] == "keys"]
    assert path.startswith(f"{mount['mountPath']}/")
    assert mount["readOnly"] is True
    assert "WISE_ALLOW_ANYONE" not in environment(gpu_deployment())


def test_replicas_follow_the_requests_inside() -> None:
    scaled = base()["ScaledObject"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == base()["Deployment"]["metadata"]["name"]
    [trigger] = scaled["triggers"]
    assert trigger["type"] == "prometheus"
    assert "wise_inflight_requests" in trigger["metadata"]["query"]
    slots = Settings.model_fields["max_inflight_requests"].default
    assert 0 < float(trigger["metadata"]["threshold"]) < slots
    assert "replicas" not in base()["Deployment"]["spec"]
    assert scaled["minReplicaCount"] >= 1


def test_the_gpu_overlay_asks_for_one_gpu_and_mounts_the_weights() -> None:
    limits = container(gpu_deployment())["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    claim = read(FOLDER / "gpu" / "weights.yaml")["metadata"]["name"]
    volumes = {volume["name"]: volume for volume in pod(gpu_deployment())["volumes"]}
    assert volumes["weights"]["persistentVolumeClaim"] == {"claimName": claim, "readOnly": True}
    assert "nvidia.com/gpu" not in str(base()["Deployment"])
