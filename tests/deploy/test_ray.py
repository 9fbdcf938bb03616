"""deploy/ray's manifests, as far as they can be read without Ray; check_config.py has the rest."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from wise_serve.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "ray"
KUBERNETES = "1.33"
Document = dict[str, Any]


def read(name: str) -> Document:
    document: Document = yaml.safe_load((FOLDER / name).read_text())
    return document


def application() -> Document:
    [found] = read("serve.yaml")["applications"]
    assert isinstance(found, dict)
    return found


def pods() -> list[Document]:
    cluster = read("rayservice.yaml")["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_the_ray_service_has_the_same_configuration() -> None:
    service = read("rayservice.yaml")
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == read("serve.yaml")


def test_the_ray_services_pods_fit_the_published_schema() -> None:
    for spec in pods():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_least_replicas_fit_on_the_least_workers() -> None:
    [group] = read("rayservice.yaml")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    [container] = group["template"]["spec"]["containers"]
    workers = group["minReplicas"]
    need = dict.fromkeys(("num_cpus", "num_gpus"), 0.0)
    for deployment in application()["deployments"]:
        for name in need:
            each = deployment["ray_actor_options"].get(name, 0)
            need[name] += each * deployment["autoscaling_config"]["min_replicas"]
    assert need["num_gpus"] <= workers
    assert need["num_cpus"] <= workers * int(container["resources"]["requests"]["cpu"])


def test_callers_need_a_key_and_the_file_of_keys_is_mounted() -> None:
    settings = Settings(**application()["args"])
    assert settings.host == read("serve.yaml")["http_options"]["host"] == "0.0.0.0"
    assert settings.api_key_file is not None
    assert not settings.allow_anyone
    for spec in pods():
        mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
        assert mounts[str(Path(settings.api_key_file).parent)]["readOnly"] is True


def test_the_servers_own_deadlines_come_before_those_around_it() -> None:
    settings = Settings(**application()["args"])
    proxy_s = read("serve.yaml")["http_options"]["request_timeout_s"]
    assert settings.request_deadline_s < proxy_s
    assert settings.request_deadline_s < settings.drain_deadline_s
    [worker] = [spec for spec in pods() if "terminationGracePeriodSeconds" in spec]
    assert settings.drain_deadline_s + 20 <= worker["terminationGracePeriodSeconds"]
    service = read("rayservice.yaml")["spec"]
    assert settings.startup_deadline_s < service["serviceUnhealthySecondThreshold"]


def test_each_model_scales_by_requests_and_no_later_than_it_is_full() -> None:
    settings = Settings(**application()["args"])
    scaled = {one["name"]: one["autoscaling_config"] for one in application()["deployments"]}
    assert set(scaled) == {"Ingress", "Reasoner", "Segmenter"}
    for name, config in scaled.items():
        assert config["target_ongoing_requests"] < settings.max_inflight_requests, name
        assert config["min_replicas"] >= 2, name  # one may be lost, or replaced
    assert scaled["Reasoner"]["downscale_delay_s"] > settings.startup_deadline_s
