"""The playground in a browser, as a person would use it."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

_PASTE_OR_DROP = """
const [kind, name, type, text] = arguments;
const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], name, { type }));
const options = { bubbles: true, cancelable: true };
document.body.dispatchEvent(kind === "paste"
  ? new ClipboardEvent("paste", { ...options, clipboardData: transfer })
  : new DragEvent("drop", { ...options, dataTransfer: transfer }));
"""


class Playground:
    """Elements are named by their id."""

    def __init__(self, driver: Chrome, downloads: Path, within_s: float = 10.0) -> None:
        self.driver = driver
        self.downloads = downloads
        self._wait = WebDriverWait(driver, within_s, poll_frequency=0.05)

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.until(lambda: self.text("models") or self.shown("problem"))

    def element(self, name: str) -> WebElement:
        return self.driver.find_element(By.ID, name)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, name: str) -> str:
        return self.element(name).text

    def shown(self, name: str) -> bool:
        return self.element(name).is_displayed()

    def click(self, name: str) -> None:
        self.element(name).click()

    def until(self, condition: Any) -> None:
        self._wait.until(lambda _: condition())

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def keys(self, *keys: str) -> None:
        """Press keys, one after the other, where the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def control(self, key: str) -> None:
        """Press a key while Control is held."""
        chain = ActionChains(self.driver).key_down(Keys.CONTROL).send_keys(key)
        chain.key_up(Keys.CONTROL).perform()

    def tab_to(self, name: str) -> None:
        """Reach an element by the Tab key alone."""
        for _ in range(40):
            if self.run("return document.activeElement.id") == name:
                return
            self.keys(Keys.TAB)
        raise AssertionError(f"{name} is not reached by Tab")

    def pick(self, path: Path) -> None:
        """Choose a file."""
        self.element("file").send_keys(str(path))
        self.until(lambda: path.name in self.text("picture-facts") or self.shown("problem"))

    def hand(self, kind: str, data: bytes, name: str = "a.png", media: str = "image/png") -> None:
        """Paste or drop a file."""
        self.run(_PASTE_OR_DROP, kind, name, media, base64.b64encode(data).decode())

    def write(self, *queries: str) -> None:
        field = self.element("queries")
        field.clear()
        field.send_keys("\n".join(queries))

    def answered(self) -> bool:
        return not self.shown("stop") and all(
            entry.is_displayed() for entry in self.all(".verdict")
        )

    def ask(self, *queries: str) -> None:
        """Ask and wait for the end of the answer, or for a problem."""
        self.write(*queries)
        self.click("go")
        self.until(lambda: self.answered() or self.shown("problem"))

    def mask(self) -> NDArray[np.uint8]:
        """The masks' canvas: height x width x 4, RGBA."""
        url = self.run("return document.getElementById('masks').toDataURL()")
        data = base64.b64decode(url.partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))

    def downloaded(self, name: str) -> bytes:
        file = self.downloads / name
        self.until(file.is_file)
        return file.read_bytes()

    def width(self, pixels: int, height: int = 800) -> None:
        """Show the page as on a screen of this size."""
        size = {"width": pixels, "height": height, "deviceScaleFactor": 1, "mobile": pixels < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def dark(self) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": whole}
        )
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """What the console has said since the last call."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [json.dumps(entry) for entry in entries]
