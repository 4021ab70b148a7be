"""Chromium, driven by selenium, shut in: one origin, a deadline for every call, nothing left."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from daedalus.envs.web.browser import supervisor
from daedalus.envs.web.browser.flags import PREFERENCES, flags
from daedalus.scenarios.extras import needed

PREFIX = "daedalus-browser-"
"""Folders of browsers in the temporary folder, named ``PREFIX<pid of the owner>-...``."""
START_SECONDS = 30.0
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


class BrowserError(RuntimeError):
    """The browser cannot be used: not installed, versions that do not fit, no display memory."""


class BrowserFault(RuntimeError):
    """The browser failed in the middle of an episode: it hung, crashed or was killed."""


def find_programs() -> tuple[str, str]:
    """Return Chromium and its driver, of one version.

    The environment variables ``DAEDALUS_CHROMIUM`` and ``DAEDALUS_CHROMEDRIVER`` come first.

    Raises:
        BrowserError: One is missing, does not run, or their versions differ.
    """
    chromium = find_program("DAEDALUS_CHROMIUM", CHROMIUM)
    driver = find_program("DAEDALUS_CHROMEDRIVER", ("chromedriver",))
    versions = [_version(program) for program in (chromium, driver)]
    if versions[0].partition(".")[0] != versions[1].partition(".")[0]:
        raise BrowserError(
            f"{chromium} is version {versions[0]} but {driver} is {versions[1]}: install the same "
            "(Debian: apt-get install chromium chromium-driver)"
        )
    return chromium, driver


def find_program(variable: str, names: tuple[str, ...]) -> str:
    """Return the path of a program that a variable names, or of the first of some that is there.

    Raises:
        BrowserError: There is none.
    """
    chosen = os.environ.get(variable)
    found = [shutil.which(name) for name in ((chosen,) if chosen else names)]
    program = next((path for path in found if path), None)
    if program is None:
        what = f"{variable}={chosen} does not exist" if chosen else f"found no {names[0]}"
        raise BrowserError(
            f"{what}: install it (Debian: apt-get install chromium chromium-driver), or set "
            f"{variable} to its path; backend='native' needs no browser"
        )
    return program


def _version(program: str) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrowserError(f"{program} --version failed ({error}): install it again") from error
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    if found is None:
        raise BrowserError(f"{program} --version said {done.stdout[:80]!r}: it is no Chromium")
    return found[0]


def sweep() -> list[str]:
    """Remove the folders of browsers whose owner is gone, and kill what still uses them.

    Returns:
        The names of the folders.
    """
    swept = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            kill_users(folder)
            shutil.rmtree(folder, ignore_errors=True)
            swept.append(folder.name)
    return swept


def kill_users(folder: Path) -> None:
    """Kill the processes whose command line names a folder of ours."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if any(str(folder).encode() in word for word in words):
                os.kill(int(process.name), 9)


def write_launcher(path: Path, program: str, verb: str = "run") -> None:
    """Write a program that becomes another one, which dies with what started it.

    Args:
        path: Of the file.
        program: What it becomes.
        verb: ``"run"``, or ``"lead"`` for a session of its own, which Ctrl-C does not reach.
    """
    command = f'exec "{sys.executable}" -IS "{supervisor.__file__}" {verb} "{program}" "$@"'
    path.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    path.chmod(0o700)


class Browser:
    """One Chromium for one origin.

    Attributes:
        driver: Selenium's.
        supervisor: The process that holds chromedriver and Chromium.
        folder: Its profile and logs; gone when it is closed.
        episodes: Pages that were opened, by which it is recycled.
    """

    def __init__(
        self, origin: str, size: tuple[int, int], timeout: float, frames: bool = False
    ) -> None:
        """Start a browser.

        Args:
            origin: The only origin that it can reach, as ``http://127.0.0.1:1234``.
            size: Width and height of pages.
            timeout: Seconds after which a call has failed.
            frames: Whether to draw as fast as it can: for pictures, at the expense of openings.

        Raises:
            BrowserError: It cannot be started; the message says what to do.
            MissingExtraError: selenium is not installed.
        """
        sweep()
        chromium, driver = find_programs()
        self.origin, self.size, self.timeout, self.frames = origin, size, timeout, frames
        self.episodes = 0
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        port = _free_port()
        self.supervisor = subprocess.Popen(
            [sys.executable, "-IS", supervisor.__file__, "hold", driver, str(port), self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        atexit.register(self.kill)
        try:
            self._connect(chromium, port)
        except Exception as error:
            said = self._log()
            self.kill()
            if isinstance(error, ImportError):
                raise
            raise BrowserError(f"Chromium did not start: {first_line(error)}{said}") from error

    def _connect(self, chromium: str, port: int) -> None:
        with needed(extra="web"):
            from selenium import webdriver
            from selenium.webdriver.remote.client_config import ClientConfig
        options = webdriver.ChromeOptions()
        options.binary_location = str(self.folder / "chromium")
        write_launcher(self.folder / "chromium", chromium)
        for flag in flags(self.origin, self.size, self.folder, self.frames):
            options.add_argument(flag)
        options.add_experimental_option("prefs", PREFERENCES)
        options.add_experimental_option("excludeSwitches", ["enable-automation"])
        options.unhandled_prompt_behavior = "dismiss"
        options.page_load_strategy = "normal"
        _wait_for(port)
        address = f"http://127.0.0.1:{port}"
        config = ClientConfig(remote_server_addr=address, timeout=START_SECONDS)  # type: ignore[call-arg]
        self.driver = webdriver.Remote(address, options=options, client_config=config)
        view = {"width": self.size[0], "height": self.size[1], "deviceScaleFactor": 1}
        self.cdp("Emulation.setDeviceMetricsOverride", {**view, "mobile": False})
        self.cdp("Browser.setDownloadBehavior", {"behavior": "deny"})
        self.driver.set_page_load_timeout(self.timeout)
        self.driver.set_script_timeout(self.timeout)
        config.timeout = self.timeout + 1.0

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self.folder / "driver.log").read_text("utf-8", "replace").splitlines()
            return f" (chromedriver: {lines[-1][:200]})" if lines else ""
        return ""

    def cdp(self, command: str, parameters: dict[str, Any]) -> Any:
        """Send a command of the DevTools protocol."""
        wire = {"cmd": command, "params": parameters}
        name = "executeCdpCommand"
        if name not in self.driver.command_executor._commands:  # type: ignore[union-attr]
            path = "/session/$sessionId/goog/cdp/execute"
            self.driver.command_executor._commands[name] = ("POST", path)  # type: ignore[union-attr]
        return self.driver.execute(name, wire)["value"]

    def call(self, what: Any, *arguments: Any) -> Any:
        """Call a method of the driver within the deadline.

        Raises:
            BrowserFault: It failed or did not answer; the browser is killed.
        """
        try:
            return what(*arguments)
        except Exception as error:
            self.kill()
            raise BrowserFault(f"the browser failed: {first_line(error)}") from error

    @property
    def driver_process(self) -> int:
        """Process id of chromedriver."""
        return supervisor.children(self.supervisor.pid)[0]

    def close_others(self) -> None:
        """Close windows that a page has opened."""
        first, *others = self.driver.window_handles
        for handle in others:
            self.driver.switch_to.window(handle)
            self.driver.close()
        if others:
            self.driver.switch_to.window(first)

    @property
    def alive(self) -> bool:
        """Whether its processes are there."""
        return self.supervisor.poll() is None

    def kill(self) -> None:
        """End all its processes; the supervisor removes the folder."""
        atexit.unregister(self.kill)
        with contextlib.suppress(OSError):
            if self.supervisor.stdin:
                self.supervisor.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.supervisor.wait(5.0)
        if self.supervisor.poll() is None:
            self.supervisor.kill()
            self.supervisor.wait()
        kill_users(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.01)
    raise OSError(f"chromedriver does not listen on port {port}")
