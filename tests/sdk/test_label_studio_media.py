"""How the images of Label Studio's tasks are fetched, and who gets its token."""

import base64

import httpx
import pytest

from wise_client.integrations.label_studio.media import ImageUnavailable, LabelStudio, Media


def fetcher(*hosts: str) -> tuple[Media, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if request.url.path == "/api/token/refresh":
            return httpx.Response(200, json={"access": f"access{len(asked)}"})
        if request.url.path == "/expired" and len(asked) < 3:
            return httpx.Response(401)
        if request.url.path.startswith("/tasks/7/presign"):
            return httpx.Response(303, headers={"location": "http://bucket/x?signed"})
        return httpx.Response(200, content=b"image")

    return Media(hosts, httpx.MockTransport(answer)), asked


def test_personal_tokens_are_exchanged_and_renewed() -> None:
    media, asked = fetcher()
    home = LabelStudio("http://ls/", "a.b.c")
    assert media.fetch("/data/upload/1/a.png", 7, home) == b"image"
    assert asked[-1].headers["authorization"] == "Bearer access1"
    del asked[:]
    assert media.fetch("/expired", 7, home) == b"image"
    assert asked[-1].headers["authorization"] == "Bearer access2"


def test_cloud_addresses_go_through_label_studio_without_its_token_beyond() -> None:
    media, asked = fetcher()
    assert media.fetch("s3://b/x", 7, LabelStudio("http://ls", "secret")) == b"image"
    assert base64.urlsafe_b64decode(asked[0].url.params["fileuri"]) == b"s3://b/x"
    assert asked[0].headers["authorization"] == "Token secret"
    assert asked[1].url.host == "bucket"
    assert "authorization" not in asked[1].headers


def test_other_hosts_are_asked_only_when_allowed_and_never_with_the_token() -> None:
    home = LabelStudio("http://ls", "secret")
    media, asked = fetcher()
    with pytest.raises(ImageUnavailable, match="--image-host elsewhere"):
        media.fetch("http://elsewhere/a.png", 7, home)
    with pytest.raises(ImageUnavailable):
        media.fetch("http://ls:81/a.png", 7, home)
    assert not asked
    media, asked = fetcher("elsewhere")
    assert media.fetch("http://elsewhere/a.png", 7, home) == b"image"
    assert "authorization" not in asked[0].headers


def test_images_in_the_task_itself() -> None:
    media, _ = fetcher()
    assert media.fetch("data:image/png;base64,aW1n", 7, LabelStudio("")) == b"img"
    for bad in ("data:image/png,img", "data:;base64,%%", "file:///etc/passwd", "/data/x"):
        with pytest.raises(ImageUnavailable):
            media.fetch(bad, 7, LabelStudio(""))
