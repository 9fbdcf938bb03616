"""The page without a mouse, on a phone, and in dark mode."""

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from gateway_thread import Serve
from playground_page import Playground

WIDTHS = [360, 768, 1366]

# Contrast by WCAG 2.2, 1.4.3: of every element with text, against its nearest background.
_CONTRAST = """
const light = (text) => {
  const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  for (let one = element; one; one = one.parentElement) {
    const colour = getComputedStyle(one).backgroundColor;
    if (!colour.startsWith("rgba(0, 0, 0, 0")) return colour;
  }
  return "rgb(255, 255, 255)";
};
return [...document.querySelectorAll("body *")]
  .filter((element) => !element.closest("script, svg, option") && !element.disabled)
  .filter((element) => element.checkVisibility() && [...element.childNodes].some(
    (node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim()))
  .map((element) => {
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return [element.textContent.trim().slice(0, 40), ratio];
  })
  .filter(([, ratio]) => ratio < 4.5);
"""


def answered(page: Playground, url: str) -> None:
    page.open(url)
    page.click("example")
    page.until(lambda: page.text("picture-facts"))
    page.ask("the red circle", "the largest shape", "the purple dog")


def test_the_whole_path_by_keyboard(page: Playground, serve: Serve) -> None:
    page.open(serve().url)
    page.tab_to("example")
    page.keys(Keys.ENTER)
    page.until(lambda: page.text("picture-facts"))
    page.tab_to("opacity")
    page.keys(Keys.ARROW_RIGHT)
    assert page.element("masks").get_attribute("style") == "opacity: 0.61;"
    page.tab_to("queries")
    page.control("a")
    page.keys("the red circle", Keys.ENTER, "the largest shape")
    page.control(Keys.ENTER)
    page.until(page.answered)
    both = page.mask()[:, :, 3] > 0
    page.tab_to("strategy")
    while page.run("return document.activeElement.className") != "chip" or not page.run(
        "return document.activeElement.closest('#answers') !== null"
    ):
        page.keys(Keys.TAB)
    only = page.mask()[:, :, 3] > 0  # focus isolates
    assert 0 < only.sum() < both.sum()
    page.keys(Keys.ENTER, Keys.TAB, Keys.TAB)  # pressed: it stays when the focus goes on
    np.testing.assert_array_equal(page.mask()[:, :, 3] > 0, only)
    page.keys(Keys.ESCAPE)
    np.testing.assert_array_equal(page.mask()[:, :, 3] > 0, both)
    page.tab_to("save-coco")
    page.keys(Keys.ENTER)
    assert page.downloaded("example-coco.json")


def test_every_control_has_a_name_and_a_focus_ring(page: Playground, serve: Serve) -> None:
    answered(page, serve().url)
    for control in page.all("button, input, select, textarea, a, pre[tabindex]"):
        if control.is_displayed():
            assert control.accessible_name, control.get_attribute("outerHTML")
    page.run("document.activeElement.blur()")
    for _ in range(20):
        page.keys(Keys.TAB)
        if page.run("return document.activeElement === document.body"):
            continue  # past the end, before the start
        ring = page.run(
            "const focused = document.activeElement;"
            "const seen = focused.type === 'file' ? focused.nextElementSibling : focused;"
            "return getComputedStyle(seen).outlineStyle"
        )
        assert ring == "solid", page.run("return document.activeElement.outerHTML")


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_scrolls_sideways(page: Playground, serve: Serve, width: int) -> None:
    page.width(width)
    answered(page, serve().url)
    assert page.run("return document.documentElement.scrollWidth") <= width
    overhanging = page.run(
        "return [...document.querySelectorAll('body *')].filter((element) =>"
        "  !element.closest('pre, .heard, svg') && element.checkVisibility() &&"
        "  element.getBoundingClientRect().right > innerWidth + 0.5)"
        "  .map((element) => element.outerHTML.slice(0, 80))"
    )
    assert overhanging == []


def test_on_a_laptop_it_is_one_screen(page: Playground, serve: Serve) -> None:
    page.width(1366, 650)
    answered(page, serve().url)
    assert page.run("return document.documentElement.scrollHeight") <= 650
    bottoms = [element.rect["y"] + element.rect["height"] for element in page.all(".card")[:1]]
    assert max(bottoms) <= min(element.rect["y"] for element in page.all(".figures"))


def test_a_phone_has_a_camera_button(page: Playground, serve: Serve) -> None:
    page.open(serve().url)
    assert not page.all("label[for=camera]")[0].is_displayed()
    page.width(360)
    page.driver.execute_cdp_cmd(
        "Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 1}
    )
    try:
        page.until(lambda: page.all("label[for=camera]")[0].is_displayed())
        assert page.element("camera").get_attribute("capture") == "environment"
        heights = [
            button.rect["height"] for button in page.all("button, label.button")
            if button.is_displayed()
        ]  # fmt: skip
        assert min(heights) >= 24  # WCAG 2.2, 2.5.8
    finally:
        page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast(page: Playground, serve: Serve, dark: bool) -> None:
    if dark:
        page.dark()
    answered(page, serve().url)
    assert page.run(_CONTRAST) == []
    page.driver.get("about:blank")
    page.open(serve().url)
    page.click("go")
    assert page.shown("problem")
    assert page.run(_CONTRAST) == []
    ground = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(21, 22, 26)") == dark
