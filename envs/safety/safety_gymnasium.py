"""Safety-Gymnasium's own tasks, in the interpreter of an environment of its own.

The package needs Gymnasium 0.28 and MuJoCo 2.3, this one Gymnasium 1.x. So a child process runs
`daedalus.envs.safety.safety_gymnasium_server` with another interpreter, and pipes join the two.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space

from daedalus.envs.safety import safety_gymnasium_server as far_side
from daedalus.envs.safety.wrappers import FiveTuple

SETUP = "python benchmarks/safety_gymnasium.py setup"
"""The command that makes the other environment."""
PATIENCE = 5.0
"""Seconds that a child has to end by itself."""


class NotSetUpError(ImportError):
    """There is no interpreter with Safety-Gymnasium; the message is the command that makes one."""


def default_home() -> Path:
    """Return the folder of the other environment, in the user's cache directory."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "daedalus" / "safety-gymnasium"


def interpreter(home: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return home / "bin" / "python"


def rebuilt(described: dict[str, Any]) -> Space[Any]:
    """Return the space that the far side has described."""
    ((kind, parts),) = described.items()
    if kind == "Dict":
        return Dict({name: rebuilt(part) for name, part in parts.items()})
    if kind == "Discrete":
        return Discrete(int(parts[0]), start=int(parts[1]))
    low, high = parts
    return Box(low, high, dtype=low.dtype)


class Remote:
    """An environment of Safety-Gymnasium in a child process; ``step`` returns six values.

    The child ends with `close`, and by itself when this process ends, however it does.
    """

    def __init__(self, task: str, python: Path, render_mode: str | None, **options: Any) -> None:
        """Start ``python`` and make ``task`` there.

        Raises:
            NotSetUpError: There is no such interpreter, or Safety-Gymnasium is not in it.
            ValueError: There is no such task, or it does not take these options.
        """
        surroundings = dict(os.environ)
        if sys.platform == "linux" and "DISPLAY" not in surroundings:
            surroundings.setdefault("MUJOCO_GL", "egl")  # draws without a screen
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            self._child = subprocess.Popen(
                [python, far_side.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=surroundings,
            )
        except OSError:
            self._errors.close()
            message = f"Safety-Gymnasium is not set up (no {python}); run: {SETUP}"
            raise NotSetUpError(message) from None
        try:
            about = self._call("make", task, render_mode=render_mode, **options)
        except RuntimeError as error:
            self.close()
            if "ModuleNotFoundError" in str(error):
                message = f"Safety-Gymnasium does not run in {python} ({error}); run: {SETUP}"
                raise NotSetUpError(message) from None
            raise ValueError(f"Safety-Gymnasium does not make {task!r}: {error}") from None
        except BaseException:
            self.close()
            raise
        self.observation_space = rebuilt(about["observation_space"])
        self.action_space = rebuilt(about["action_space"])
        self.metadata, self.render_mode = about["metadata"], render_mode

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Return what a method returns over there.

        Raises:
            RuntimeError: It raised something there, which is the message.
            ConnectionError: The child has ended; the message has the last line that it wrote.
        """
        requests, replies = self._child.stdin, self._child.stdout
        assert requests is not None
        assert replies is not None
        if requests.closed:
            raise ConnectionError("this environment of Safety-Gymnasium is closed")
        try:
            far_side.send(requests, [method, arguments, options])
            reply = far_side.receive(replies)
        except (OSError, EOFError):
            self.close()
            raise ConnectionError(
                f"Safety-Gymnasium's process has ended ({self._child.returncode}): {self._last}"
            ) from None
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["value"]

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Reset with ``seed`` and ``options``."""
        observation, info = self._call("reset", **options)
        return observation, info

    def step(self, action: Any) -> tuple[Any, ...]:
        """Return observation, reward, cost, terminated, truncated and info."""
        return tuple(self._call("step", np.asarray(action)))

    def render(self) -> Any:
        """Return what the environment draws: uint8 (height, width, 3) for ``rgb_array``."""
        return self._call("render")

    def close(self) -> None:
        """End the child; it may have ended already."""
        if self._errors.closed:
            return
        requests, replies = self._child.stdin, self._child.stdout
        assert requests is not None
        assert replies is not None
        with contextlib.suppress(OSError):
            far_side.send(requests, ["close", [], {}])  # a fork may hold the pipe open: no EOF
        for pipe in (requests, replies):
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self._child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self._last = lines[-1] if lines else "it wrote nothing"
        self._errors.close()


class SafetyGymnasium(FiveTuple):
    """A task of Safety-Gymnasium; ``info["cost"]`` is the cost of a step.

    Observation, action, reward, cost and time limit are the package's. Every copy has a child
    process of its own.
    """

    metadata = {"render_modes": ["human", "rgb_array", "depth_array"]}

    def __init__(
        self,
        task: str = "SafetyPointGoal1-v0",
        *,
        python: str | Path | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        """Start the child.

        Args:
            task: Id of the task there.
            python: Interpreter of the other environment; by default the one that `SETUP` makes.
            render_mode: As there: ``"rgb_array"``, ``"human"`` or None.
            **options: What else ``safety_gymnasium.make`` takes, such as ``width`` and ``height``.

        Raises:
            NotSetUpError: There is no such interpreter, or Safety-Gymnasium is not in it.
            ValueError: There is no such task, or it does not take these options.
        """
        chosen = Path(python) if python else interpreter(default_home())
        super().__init__(Remote(task, chosen, render_mode, **options))
