"""The live page in a browser: driven by buttons and keys, measured on a phone and on a screen."""

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_live import Served

selenium = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.options import Options  # noqa: E402 - after the skip
from selenium.webdriver.chrome.service import Service  # noqa: E402 - after the skip
from selenium.webdriver.common.by import By  # noqa: E402 - after the skip
from selenium.webdriver.common.keys import Keys  # noqa: E402 - after the skip
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402 - after the skip

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver"),
    pytest.mark.skipif(
        resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY,
        reason="Chromium reserves addresses",
    ),
]


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    """A browser that looks at two policies."""
    served = Served("--policy", "random", "--beside", "random", "--fps", "10")
    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = selenium.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        browser.set_window_size(1280, 900)
        browser.get(served.address)
        wait(browser, "return document.body.dataset.ready === 'yes'")
        yield browser
    finally:
        browser.quit()
        served.close()


@pytest.fixture
def page(opened: Any) -> Any:
    """The page at the start of an episode, paused, however the test before left it."""
    if not opened.execute_script("return latest.paused"):
        click(opened, "pause")
    paused(opened, True)
    click(opened, "restart")
    wait(opened, "return latest.stages[0].status.includes('step 0 ') && !waiting")
    return opened


def wait(browser: Any, script: str) -> Any:
    return WebDriverWait(browser, 30, 0.05).until(lambda b: b.execute_script(script))


def status(browser: Any) -> str:
    return str(browser.find_element(By.CLASS_NAME, "status").text)


def click(browser: Any, command: str) -> None:
    browser.find_element(By.CSS_SELECTOR, f"[data-command='{command}']").click()


def press(browser: Any, key: str) -> None:
    browser.find_element(By.TAG_NAME, "body").send_keys(key)


def paused(browser: Any, wanted: bool) -> None:
    wait(browser, f"return latest.paused === {str(wanted).lower()} && !waiting")


def test_buttons_pause_and_step(page: Any) -> None:
    click(page, "pause")
    paused(page, False)
    click(page, "pause")
    paused(page, True)
    click(page, "restart")
    wait(page, "return latest.stages[0].status.includes('step 0 ') && !waiting")
    picture = page.execute_script("return document.querySelector('image').getAttribute('href')")
    click(page, "step")
    wait(page, "return latest.stages[0].status.includes('step 1 ') && !waiting")
    assert "step 1 " in status(page)
    new = page.execute_script("return document.querySelector('image').getAttribute('href')")
    assert new != picture
    assert new.startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))


def test_keys_do_the_same(page: Any) -> None:
    press(page, ".")
    wait(page, "return latest.stages[0].status.includes('step 1 ')")
    press(page, "+")
    wait(page, "return document.getElementById('speed').textContent === '2x'")
    press(page, "-")
    wait(page, "return document.getElementById('speed').textContent === '1x'")
    press(page, " ")
    paused(page, False)
    press(page, " ")
    paused(page, True)


def test_a_seed_is_typed_and_shown_by_both(page: Any) -> None:
    field = page.find_element(By.ID, "seed")
    field.clear()
    field.send_keys("4321", Keys.ENTER)
    wait(page, "return latest.seed === 4321 && !waiting")
    both = page.execute_script(
        "return [...document.querySelectorAll('[data-panel=world] image')].map("
        "i => i.getAttribute('href'))"
    )
    assert len(both) == 2
    assert both[0] == both[1]


def test_a_person_plays_with_the_arrow_keys(page: Any) -> None:
    click(page, "take over")
    wait(page, "return latest.playing && !document.getElementById('pad').hidden")
    page.execute_script("dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))")
    for step in range(1, 5):
        press(page, ".")
        wait(page, f"return latest.stages[0].status.includes('step {step} ') && !waiting")
    page.execute_script("dispatchEvent(new KeyboardEvent('keyup', {key: 'ArrowLeft'}))")
    bottom = shown(page)[-10].astype(int)  # the lowest row of squares, of five
    paddle = np.abs(bottom - bottom[len(bottom) // 2]).sum(1) > 100
    assert paddle[: len(paddle) // 5].any()  # in the left corner
    assert not paddle[len(paddle) // 5 :].any()
    press(page, "t")
    wait(page, "return !latest.playing && document.getElementById('pad').hidden")


def shown(browser: Any) -> np.ndarray:
    """Return the pixels of the first world, (H, W, 3)."""
    script = (
        "const done = arguments[0], image = new Image(); image.onload = () => {"
        "const canvas = document.createElement('canvas'); canvas.width = image.width;"
        "canvas.height = image.height; const c = canvas.getContext('2d'); c.drawImage(image, 0, 0);"
        "done([image.width, image.height, [...c.getImageData(0, 0, image.width, image.height).data]"
        "]) }; image.src = document.querySelector('[data-panel=world] image').getAttribute('href')"
    )
    width, height, data = browser.execute_async_script(script)
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


@pytest.mark.parametrize(("width", "columns"), [(360, 1), (1280, 2)])
def test_it_fits_a_phone_and_a_screen(page: Any, width: int, columns: int, tmp_path: Path) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    wait(page, f"return innerWidth === {width}")
    found = page.execute_script(
        "const r = document.documentElement; return {width: r.scrollWidth,"
        "outside: [...document.querySelectorAll('figure, button, input')].filter(e =>"
        "e.getBoundingClientRect().right > r.clientWidth + 1).length,"
        "lefts: new Set([...document.querySelectorAll('section')].map("
        "e => Math.round(e.getBoundingClientRect().left))).size,"
        "small: [...document.querySelectorAll('button:not([hidden])')].filter(e => {"
        "const b = e.getBoundingClientRect(); return b.height && b.height < 36}).length}"
    )
    assert found == {"width": width, "outside": 0, "lefts": columns, "small": 0}
    assert page.save_screenshot(str(tmp_path / "page.png"))


def test_the_browser_found_nothing_to_complain_of(page: Any) -> None:
    assert [entry for entry in page.get_log("browser") if "favicon" not in entry["message"]] == []
