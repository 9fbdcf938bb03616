"""What routes requests by the image's digest: Envoy's gateway, and the ingress of nginx."""

from manifests import FOLDER, base, read
from wise_client.requests import Request
from wise_serve.settings import Settings

INGRESS = "nginx.ingress.kubernetes.io/"


def test_the_gateway_hashes_the_images_digest() -> None:
    route, policy = (read(FOLDER / "gateway" / f"{name}.yaml") for name in ("route", "policy"))
    [rule] = route["spec"]["rules"]
    service = base()["Service"]
    backend = {"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}
    assert rule["backendRefs"] == [backend]
    deadline_s = Settings.model_fields["request_deadline_s"].default
    assert float(rule["timeouts"]["request"].removesuffix("s")) > deadline_s
    [target] = policy["spec"]["targetRefs"]
    assert (target["kind"], target["name"]) == (route["kind"], route["metadata"]["name"])
    assert policy["spec"]["loadBalancer"]["consistentHash"]["header"]["name"] == digest_header()
    retry = policy["spec"]["retry"]["retryOn"]
    assert retry["httpStatusCodes"] == [503]  # 429 passes to the caller
    # As nginx does: unreachable, lost before it has answered, and by the status.
    assert set(retry["triggers"]) == {"connect-failure", "reset", "retriable-status-codes"}


def test_the_ingress_says_what_the_published_nginx_says() -> None:
    ingress = read(FOLDER / "ingress-nginx" / "ingress.yaml")
    said = {
        name.removeprefix(INGRESS): value
        for name, value in ingress["metadata"]["annotations"].items()
    }
    variable = "$http_" + digest_header().lower().replace("-", "_")
    assert said["upstream-hash-by"] == variable
    nginx = (FOLDER.parent / "nginx" / "nginx.conf").read_text()
    assert variable in nginx
    same = {
        "proxy_buffering": said["proxy-buffering"],
        "proxy_request_buffering": said["proxy-request-buffering"],
        "client_max_body_size": said["proxy-body-size"],
        "proxy_connect_timeout": said["proxy-connect-timeout"] + "s",
        "proxy_send_timeout": said["proxy-send-timeout"] + "s",
        "proxy_read_timeout": said["proxy-read-timeout"] + "s",
        "proxy_next_upstream": said["proxy-next-upstream"],
        "proxy_next_upstream_tries": said["proxy-next-upstream-tries"],
        "limit_conn wise_callers": said["limit-connections"],
    }
    for directive, value in same.items():
        assert f"{directive} {value};" in nginx
    [rule] = ingress["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    service = base()["Service"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["name"] == service["spec"]["ports"][0]["name"]


def digest_header() -> str:
    """The name of the header that the SDK sends with an image."""
    [name] = Request("POST", "/segment").about("0" * 64).headers
    return name
