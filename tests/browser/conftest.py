"""A headless Chromium, and the gateway on the fakes for it to look at."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from drawn import ColourSegmenter, write
from fakes import FakeReasoner, FakeSegmenter
from gateway_thread import GatewayThread, Serve
from playground_page import Playground

SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1366,768",
)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("the packages chromium and chromium-driver are not installed")
    options = ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, ChromeService(chromedriver))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def allowed() -> list[str]:
    """Words of console messages that a test brings about, such as a status it provokes."""
    return []


@pytest.fixture
def page(driver: Chrome, tmp_path: Path, allowed: list[str]) -> Iterator[Playground]:
    """The console must stay empty; it would also show violations of the page's policy."""
    downloads = tmp_path / "downloads"
    behaviour = {"behavior": "allow", "downloadPath": str(downloads)}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    page = Playground(driver, downloads)
    page.complaints()
    yield page
    complaints = [text for text in page.complaints() if not any(words in text for words in allowed)]
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    driver.get("about:blank")
    assert complaints == []


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(reasoner=..., segmenter=..., ready=True, key=None, **settings)` -> GatewayThread."""
    with ExitStack() as stack:

        def begin(
            reasoner: FakeReasoner | None = None,
            segmenter: FakeSegmenter | None = None,
            *,
            ready: bool = True,
            key: str | None = None,
            **settings: Any,
        ) -> GatewayThread:
            thread = GatewayThread(
                reasoner or FakeReasoner(script=write),
                segmenter or ColourSegmenter(),
                ready=ready,
                key=key,
                **settings,
            )
            return stack.enter_context(thread)

        yield begin
