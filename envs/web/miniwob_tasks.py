"""MiniWoB++'s own tasks, by its own ids, for every agent.

    pip install miniwob
    daedalus train web miniwob:miniwob/click-test-v1 --num-envs 4

Pages, rewards, the wall clock and the cost of a reset are MiniWoB++'s; only Chromium is started as
ours is, so that it ends with this process. `daedalus.envs.web.miniwob` is the other direction: our
tasks with its spaces.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium

from daedalus.envs.web.browser.driver import (
    BrowserError,
    find_programs,
    first_line,
    write_launcher,
)
from daedalus.envs.web.keys import KEYS
from daedalus.envs.web.miniwob_arrays import MiniWoBArrays
from daedalus.envs.web.model import MAX_ELEMENTS

_TIME = "return core.EPISODE_MAX_TIME"
_WIPE = """
document.activeElement.blur();
for (const element of document.querySelectorAll("[data-tampered]")) delete element.dataset.tampered;
"""
"""MiniWoB++ draws an episode into the document of the last one, whose focus and marks stay."""


class MiniWoBTask(MiniWoBArrays):
    """A task of MiniWoB++, which needs the package ``miniwob``, Chromium and its driver.

    Observations, actions and rewards are described at ``daedalus/Web-ClickButton-v0``; the page,
    its goals and its time (10 s by the wall clock for most) are MiniWoB++'s.
    """

    def __init__(
        self,
        name: str,
        *,
        observations: Sequence[str] | None = None,
        actions: str = "liu18",
        reward: str = "raw",
        rows: int = MAX_ELEMENTS,
        data_mode: str = "train",
        render_mode: str | None = None,
    ) -> None:
        """Start a browser.

        Args:
            name: As ``"miniwob/click-test-v1"``, also after ``"miniwob:"``.
            observations: Names of the arrays to observe; by default those of `Web`.
            actions: ``"liu18"``, ``"shi17"``, ``"humphreys22"`` or ``"all_supported"``.
            reward: ``"raw"``, ``"decayed"`` or ``"binary"``.
            rows: Rows of the table; elements beyond them are not seen.
            data_mode: ``"train"`` or ``"test"``, where a task tells its goals apart.
            render_mode: None or ``"rgb_array"``.

        Raises:
            ModuleNotFoundError: The package is not installed.
            BrowserError: Chromium or its driver cannot be used; the message says what to do.
            ValueError: There is no such reward, array or preset.
        """
        env = open_theirs(name.rpartition(":")[2], data_mode)
        try:
            super().__init__(
                env,
                observations=observations,
                actions=actions,
                reward=reward,
                rows=rows,
                render_mode=render_mode,
            )
            self.limit = float(env.instance.driver.execute_script(_TIME))
        except Exception:
            env.close()
            raise

    def _open(self, seed: int, options: dict[str, Any]) -> Mapping[str, Any]:
        theirs: Any = self.env
        if not theirs.instance.died:
            theirs.instance.driver.execute_script(_WIPE)
        return super()._open(seed, options)

    def _failed(self) -> None:
        self.env.instance.died = True  # type: ignore[attr-defined]  # so that a reset starts another


def open_theirs(name: str, data_mode: str) -> Any:
    """Return MiniWoB++'s environment of a task, with every action and our keys.

    Raises:
        ModuleNotFoundError: The package is not installed.
        BrowserError: Chromium or its driver cannot be used.
        gymnasium.error.Error: There is no such task.
    """
    try:
        from miniwob.action import ActionSpaceConfig
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("miniwob is not installed; run: pip install miniwob") from error
    hold_browsers()
    logging.getLogger().addFilter(_is_news)
    config = ActionSpaceConfig.get_preset("all_supported")
    config.allowed_keys = KEYS
    own = {"action_space_config": config, "data_mode": data_mode}
    try:
        return gymnasium.make(name, disable_env_checker=True, **own).unwrapped
    except gymnasium.error.Error:
        raise
    except Exception as error:
        raise BrowserError(f"MiniWoB++'s Chromium did not start: {first_line(error)}") from error


def _is_news(record: logging.LogRecord) -> bool:
    """Drop MiniWoB++'s warning that time ran out between two actions."""
    return not str(record.msg).startswith("Cannot call %s on instance")


@functools.cache
def hold_browsers() -> None:
    """Let MiniWoB++ start the Chromium that `find_programs` finds, to end with this process.

    Selenium alone would ask the network for a browser, and leave ten processes behind. Where the
    variables of MiniWoB++ name programs already, those are used as they are.

    Raises:
        BrowserError: Chromium or its driver cannot be used.
    """
    variables = "MINIWOB_CHROME_BINARY", "MINIWOB_CHROMEDRIVER"
    if any(os.environ.get(variable) for variable in variables):
        return
    programs = find_programs()
    folder = Path(tempfile.mkdtemp(prefix="daedalus-miniwob-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for variable, program, verb in zip(variables, programs, ("run", "lead"), strict=True):
        path = folder / Path(program).name
        write_launcher(path, program, verb)
        os.environ[variable] = str(path)
