"""Draws the pictures of docs/label-studio.md, cvat.md and fiftyone.md.

Run by `make annotate-pictures`:

    python tests/annotate/draw_pictures.py label-studio=.venv-annotate-label-studio ...

A real wise-serve answers; each tool in its own environment with the example image in it
(`stage_*.py`, which say where to look and wait); a headless Chromium that looks there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from run import IMPORTED
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

from running import running_server

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DOCS = ROOT / "docs"
EXAMPLE = ROOT / "server" / "wise_serve" / "playground" / "example.jpg"
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-gl=angle",  # the App of FiftyOne draws with WebGL
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--window-size=1366,800",
)
DRAWN_WITHIN_S = 25.0  # neither page says when it has drawn all
_SCRIPTS = {"label-studio": "stage_label_studio.py", "fiftyone": "stage_fiftyone.py"}


@contextmanager
def chromium(folder: Path) -> Iterator[Chrome]:
    """A browser with a profile in `folder`."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium-browser"
    for switch in (*SWITCHES, f"--user-data-dir={folder}/profile"):
        options.add_argument(switch)
    driver = Chrome(options, ChromeService(shutil.which("chromedriver") or "chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def stage(python: Path, script: str, environment: dict[str, str]) -> Iterator[list[str]]:
    """What the tool's script prints after `AT`: where to look, and who to be; ended with its
    standard input."""
    words = [str(python), str(HERE / script)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("AT "):
                yield line.split()[1:]
                break
        else:
            raise RuntimeError(f"{script} ended without a page to look at")
        process.communicate("\n", timeout=60)


def log_in(driver: Chrome, user: str, password: str, base: str) -> None:
    """To Label Studio."""
    driver.get(f"{base}/user/login/")
    driver.find_element(By.NAME, "email").send_keys(user)
    driver.find_element(By.NAME, "password").send_keys(password)
    driver.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    time.sleep(5)


def close_hints(driver: Chrome) -> None:
    """What Label Studio shows to newcomers, above the picture."""
    for words in ("contains(., 'Got it')", "contains(., 'Close')", "@aria-label='Close'"):
        for button in driver.find_elements(By.XPATH, f"//button[{words}]"):
            if button.is_displayed():
                button.click()
    time.sleep(2)


def draw(tool: str, python: Path, environment: dict[str, str], driver: Chrome) -> None:
    """One picture, into docs/."""
    target = DOCS / f"{tool}.png"
    if tool == "cvat":  # its server is not run: the function's own answer is drawn
        words = [str(python), str(HERE / "draw_cvat.py"), str(target)]
        subprocess.run(words, env=environment, check=True)
        return
    with stage(python, _SCRIPTS[tool], environment) as (url, *login):
        if login:
            user, password, base = login
            log_in(driver, user, password, base)
        driver.get(url)
        time.sleep(DRAWN_WITHIN_S)
        close_hints(driver)
        driver.save_screenshot(str(target))


def main() -> None:
    """The command line."""
    with running_server() as server, tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "WISE_URL": server.url,
            "WISE_EXAMPLE": str(EXAMPLE),
            "WISE_FOLDER": folder,
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in IMPORTED),
        }
        with chromium(Path(folder)) as driver:
            for word in sys.argv[1:]:
                tool, _, place = word.partition("=")
                draw(tool, (ROOT / place / "bin" / "python").absolute(), environment, driver)
                print(DOCS / f"{tool}.png", flush=True)


if __name__ == "__main__":
    main()
