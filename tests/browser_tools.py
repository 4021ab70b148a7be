"""What browser tests share: when they can run, and processes that a browser leaves."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from daedalus.envs.web.browser.driver import PREFIX

MISSING = [name for name in ("selenium", "uvicorn", "jinja2") if not importlib.util.find_spec(name)]
needs_browser = [
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: daedalus[web]"),
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs chromium and chromium-driver",
    ),
    pytest.mark.skipif(
        resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY,
        reason="Chromium reserves addresses",
    ),
    pytest.mark.filterwarnings("ignore:Chromium runs without its sandbox"),
]


def processes(word: str) -> list[int]:
    """Return the processes whose command line contains a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        if word.encode() in text and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found


def folders(owner: int) -> list[Path]:
    """Return the folders of the browsers of a process."""
    return list(Path(tempfile.gettempdir()).glob(f"{PREFIX}{owner}-*"))


def becomes_true(check: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.02)
    return check()
