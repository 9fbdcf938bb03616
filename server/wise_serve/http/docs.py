"""`/docs`: FastAPI's own page of the OpenAPI document, with Swagger UI from this server.

FastAPI links Swagger UI from a content delivery network, which a server without internet access
and the page's policy both forbid. The package `fastapi-offline` holds the same files.
"""

from typing import Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from wise_serve.http.page import content_security_policy

_ASSETS: Final = "/docs/assets"


def add_docs(app: FastAPI) -> None:
    """Serve `/docs` and what it loads. `app` must have been made with `docs_url=None`."""
    page = bytes(
        get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{app.title} API",
            swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{_ASSETS}/favicon.png",
            # Otherwise Swagger UI sends the document's address to a validator on the internet.
            swagger_ui_parameters={"validatorUrl": None},
        ).body
    ).decode()
    headers = {"Content-Security-Policy": content_security_policy(page, assets=True)}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page, headers=headers)

    app.mount(_ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]))
