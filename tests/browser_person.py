"""A person at a browser, played by WebDriver's pointer and keys and the demonstrator's eyes."""

from __future__ import annotations

import _thread
import re
import threading
import time
from typing import Any

from daedalus.envs.web import actions as a
from daedalus.envs.web.browser.driver import Browser
from daedalus.envs.web.browser.recording import Demonstration, open_page
from daedalus.envs.web.family import Web
from daedalus.envs.web.keys import KEYS
from daedalus.envs.web.model import TASKS, Instance
from daedalus.envs.web.oracle import Oracle
from daedalus.envs.web.table import Row

_NAMED = {"<Enter>": "\ue007", "<Backspace>": "\ue003", "<Tab>": "\ue004", "<Space>": " "}
_NAMED |= {"<ArrowRight>": "\ue014", "<ArrowLeft>": "\ue012", "<ArrowUp>": "\ue013"}
_NAMED |= {"<ArrowDown>": "\ue015"}


class Person(threading.Thread):
    """Reads the command's lines, opens the address it names and does what each goal asks."""

    def __init__(self, said: list[str], task: str, episodes: int) -> None:
        """Listen to what is said."""
        super().__init__(daemon=True)
        self.said, self.task, self.episodes = said, task, episodes
        self.failure: Exception | None = None

    def run(self) -> None:
        """Play all episodes."""
        browser = None
        try:
            address = self._hear(r"open (\S+) in a browser", 1)
            origin = "/".join(address.split("/")[:3])
            browser = Browser(origin, TASKS[self.task].size, 20.0)
            browser.driver.get(address)
            for episode in range(self.episodes):
                seed = int(self._hear(r"seed (\d+): ", episode + 1))
                self._solve(browser.driver, self._instance(seed))
        except Exception as failure:
            self.failure = failure
            _thread.interrupt_main()  # the command would wait for ever
        finally:
            if browser:
                browser.kill()

    def _hear(self, pattern: str, count: int) -> str:
        """Return what the ``count``-th line that fits says."""
        end = time.monotonic() + 120  # kernels may have to be compiled
        while time.monotonic() < end:
            found = [m[1] for m in (re.match(f".*{pattern}", line) for line in self.said) if m]
            if len(found) >= count:
                return found[count - 1]
            time.sleep(0.05)
        raise TimeoutError(pattern)

    def _instance(self, seed: int) -> Instance:
        """Return the page of a seed: two pages of one goal have their elements elsewhere."""
        page = open_page(Demonstration(self.task, seed), "native")
        page.reset(seed)
        instance: Instance = page.instance
        return instance

    def _solve(self, driver: Any, instance: Instance) -> None:
        """Do as the demonstrator would, until the page has been sent."""
        layout = Web(task=self.task, actions="shi17").params.layout
        oracle, end = Oracle(instance, layout), time.monotonic() + 60
        while self._title(driver) != instance.utterance and time.monotonic() < end:
            time.sleep(0.1)
        while time.monotonic() < end:
            said = driver.execute_script("return window.daedalus.observe()")
            if said["outcome"] != "open":
                return
            table = [
                Row(e, tag, text, value, (x, y, w, h), *marks)
                for e, tag, text, value, x, y, w, h, *marks in said["rows"]
            ]
            first = sum(x.page < said["page"] for x in instance.elements)
            command = oracle.act(table, first)
            sliders = [row.rectangle for row in table if row.tag == "input_range"]
            held = [r for r in sliders if _inside(r, command)] if command.type == a.CLICK else []
            if held:
                self._drag(driver, held[0], command)
            else:
                self._act(driver, command)

    def _title(self, driver: Any) -> str:
        return str(driver.title)

    def _drag(self, driver: Any, place: tuple[int, int, int, int], command: a.Command) -> None:
        """Take a slider at its left end and pull it to where the demonstrator would click."""
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(driver, duration=0)
        pointer: Any = chain.w3c_actions.pointer_action
        left, y = place[0], command.y
        pointer.move_to_location(left, y).pointer_down()
        for x in ((left + command.x) // 2, command.x):
            pointer.move_to_location(x, y + 1)
        pointer.pointer_up()
        chain.perform()

    def _act(self, driver: Any, command: a.Command) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(driver, duration=0)
        pointer: Any = chain.w3c_actions.pointer_action
        if command.type == a.PRESS_KEY:
            chain.send_keys(_NAMED.get(KEYS[command.key], KEYS[command.key]))
        elif command.type in (a.SCROLL_UP, a.SCROLL_DOWN):
            down = 50 if command.type == a.SCROLL_DOWN else -50
            wheel: Any = chain.w3c_actions.wheel_action
            wheel.scroll(command.x, command.y, 0, down, 0)
        else:
            assert command.type == a.CLICK, command
            pointer.move_to_location(command.x, command.y)
            pointer.context_click()  # by mistake; then with a hand that is not still
            pointer.pointer_down()
            pointer.move_to_location(command.x + 1, command.y)
            pointer.pointer_up()
        chain.perform()


def _inside(place: tuple[int, int, int, int], command: a.Command) -> bool:
    left, top, width, height = place
    return left <= command.x < left + width and top <= command.y < top + height
