"""The playground while a person refines a mask by clicks, as the browser tests drive it."""

import json
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from selenium.webdriver import ActionChains
from selenium.webdriver.common.actions import interaction
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.keys import Keys

from playground_page import Playground
from wise_serve.http.page import read_example


def actions(page: Playground, *, touch: bool = False) -> Any:
    """Selenium's low-level actions, which have no types."""
    kind = interaction.POINTER_TOUCH if touch else interaction.POINTER_MOUSE
    pointer: Any = PointerInput
    return ActionBuilder(page.driver, mouse=pointer(kind, kind))


class Editing:
    """The page while it refines, and what the API answers to the same prompts."""

    def __init__(self, page: Playground, url: str) -> None:
        self.page, self.url = page, url
        page.open(url)
        page.click("example")
        page.until(lambda: page.text("picture-facts"))

    def start(self) -> None:
        self.page.click("edit")

    def place(self, x: int, y: int) -> tuple[int, int]:
        """Where a pixel of the picture is in the window."""
        place = self.page.run(
            "const {left, top, width, height} = document.getElementById('picture')"
            ".getBoundingClientRect(); return [left, top, width, height]"
        )
        left, top, width, height = place
        scale = min(width / 640, height / 480)
        across, down = (width - 640 * scale) / 2, (height - 480 * scale) / 2
        return round(left + across + (x + 0.5) * scale), round(top + down + (y + 0.5) * scale)

    def click(self, x: int, y: int, how: str = "add") -> tuple[int, int]:
        """Click, and wait for the mask; returns the pixel that was hit."""
        count = len(self.steps())
        left, top = self.place(x, y)
        builder = actions(self.page)
        builder.pointer_action.move_to_location(left, top)
        chain = ActionChains(self.page.driver)
        if how == "alt":
            chain.key_down(Keys.ALT).perform()
        builder.pointer_action.click(button=2 if how == "right" else 0)
        builder.perform()
        if how == "alt":
            ActionChains(self.page.driver).key_up(Keys.ALT).perform()
        self.settled(count + 1)
        hit: list[int] = self.page.run(
            "const all = state.edit.past.at(-1).after.points; return all[all.length - 1]"
        )
        return hit[0], hit[1]

    def steps(self) -> list[Any]:
        steps: list[Any] = self.page.run("return state.edit.past.map((one) => one.after.mask)")
        return steps

    def settled(self, count: int) -> None:
        self.page.until(lambda: self.page.run("return state.edit.waiting === 0"))
        assert len(self.steps()) == count
        assert not self.page.shown("problem")

    def shown(self) -> NDArray[np.bool_]:
        if self.page.run("return document.getElementById('masks').hidden"):
            return np.zeros((480, 640), bool)
        return np.asarray(self.page.mask()[:, :, 3] == 255)

    def asked(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """The API's own answer."""
        form = {"prompts": json.dumps([prompt])}
        files = {"image": read_example() or b""}
        response = httpx.post(f"{self.url}/refine", files=files, data=form).raise_for_status()
        [instance] = response.json()["instances"]
        assert isinstance(instance, dict)
        return instance
