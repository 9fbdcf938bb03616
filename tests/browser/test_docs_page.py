"""`/docs` in a browser: Swagger UI under the page's policy, from this server alone."""

from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from gateway_thread import Serve
from playground_page import Playground


def test_the_routes_and_a_streams_events_are_shown(serve: Serve, page: Playground) -> None:
    driver = page.driver
    url = serve().url
    driver.get(f"{url}/docs")
    wait = WebDriverWait(driver, 10)
    segment = wait.until(
        lambda found: found.find_element(By.CSS_SELECTOR, ".opblock-post .opblock-summary")
    )
    assert "/segment" in segment.text
    segment.click()
    wait.until(lambda found: "multipart/form-data" in found.page_source)
    assert "text/event-stream" in driver.page_source
    loaded = driver.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert loaded
    assert [name for name in loaded if not name.startswith((url, "data:"))] == []
