"""What a person who watches can do: pause, step, change speed and seed, play; in page and window.

A `Session` advances one or two sources (a policy in an environment, a run that is still being
trained, a stored rollout) together, on the same seed, under the viewers' control.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daedalus.evaluation.evaluate import held_out_seeds
from daedalus.evaluation.live_sources import Keyboard, Source

CONTROLS = {
    " ": "pause",
    ".": "step",
    "+": "faster",
    "-": "slower",
    "n": "next",
    "r": "restart",
    "t": "take over",
}
"""Key -> command, in the page as in the window; keys of the environment go first in play."""
SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
REST = 1.0
"""Seconds that the end of an episode stays."""
LARGEST_SEED = 2**32 - 1


class Session:
    """Sources that go on together, and the state of the controls.

    Attributes:
        sources: One or two.
        moments: The latest of each; another list whenever there is something new.
        paused: Whether time stands still.
        speed: Steps in a second over those of the environment, one of `SPEEDS`.
        takes_over: Whether the keyboard acts in the place of the first policy.
        seed: Of the episode.
        episode: Counted from 0.
        episodes: After which it is over; None for never.
        base_seed: Chooses the held-out seeds.
        over: Whether all episodes were shown.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        fps: int,
        *,
        keyboard: Keyboard | None = None,
        seed: int = 0,
        episodes: int | None = None,
        max_steps: int | None = None,
    ) -> None:
        """Begin with the first held-out seed.

        Args:
            sources: They play the same seeds.
            fps: Steps in a second at speed 1.
            keyboard: Whose held keys count, where the environment has keys.
            seed: Chooses the held-out seeds.
            episodes: After which it is over; None for never.
            max_steps: Steps after which an episode is left; None plays to the end.
        """
        self.sources, self.fps, self.keyboard = sources, fps, keyboard
        self.base_seed, self.episodes, self._max_steps = seed, episodes, max_steps
        self.paused, self.takes_over, self.speed = False, False, 1.0
        self.over = False
        self._steps = 0
        self._go(0)

    def _go(self, episode: int, seed: int | None = None) -> None:
        self.episode = episode
        self.seed = held_out_seeds(episode + 1, self.base_seed)[-1] if seed is None else seed
        self.moments = [source.begin(self.seed, episode) for source in self.sources]

    @property
    def interval(self) -> float:
        """Seconds from one moment to the next."""
        return 1.0 / (self.fps * self.speed)

    @property
    def rests(self) -> bool:
        """Whether all episodes are over; the next begins with the next step."""
        return all(self._done(i) for i in range(len(self.sources)))

    def _done(self, i: int) -> bool:
        limit = self._max_steps
        return self.sources[i].ended or (limit is not None and self.moments[i].step >= limit)

    @property
    def can_play(self) -> bool:
        """Whether the keyboard can act in the first environment."""
        policy = getattr(self.sources[0], "policy", self.keyboard)
        return self.keyboard is not None and policy is not self.keyboard

    @property
    def plays(self) -> bool:
        """Whether a person acts in one of the sources."""
        return any(self._acts(i) for i in range(len(self.sources)))

    def _acts(self, i: int) -> bool:
        own = getattr(self.sources[i], "policy", None)
        return self.keyboard is not None and (own is self.keyboard or (i == 0 and self.takes_over))

    @staticmethod
    def check(name: str, value: Any = None) -> None:
        """Check a command.

        Args:
            name: A value of `CONTROLS`, ``"seed"`` or ``"held"``.
            value: A seed, 0 to 2^32 - 1, or the names of the keys that are down; else None.

        Raises:
            ValueError: There is no such command, or the value does not suit it.
        """
        if name == "seed":
            right = type(value) is int and 0 <= value <= LARGEST_SEED
        elif name == "held":
            right = isinstance(value, list) and all(type(key) is str for key in value)
        else:
            right = name in CONTROLS.values() and value is None
        if not right:
            raise ValueError(f"no command {name!r} with {value!r}")

    def command(self, name: str, value: Any = None) -> None:
        """Do what a viewer asks for; see `check`.

        Raises:
            ValueError: There is no such command, or the value does not suit it.
        """
        self.check(name, value)
        if name == "pause":
            self.paused = not self.paused
        elif name == "step":
            self.paused, self._steps = True, 1
        elif name in ("faster", "slower"):
            index = SPEEDS.index(self.speed) + (1 if name == "faster" else -1)
            self.speed = SPEEDS[min(max(index, 0), len(SPEEDS) - 1)]
        elif name == "take over":
            self.takes_over = self.can_play and not self.takes_over
        elif name == "held":
            if self.keyboard is not None:
                self.keyboard.held = set(value)
        else:
            self._go(
                self.episode + (name == "next"), {"seed": value, "restart": self.seed}.get(name)
            )

    def press(self, key: str) -> None:
        """Do what a key stands for, unless it is one of the environment's and a person plays."""
        taken = self.plays and self.keyboard is not None and key in self.keyboard.keys
        if key in CONTROLS and not taken:
            self.command(CONTROLS[key])

    def advance(self) -> bool:
        """Take a step with every source that is not at its end; tell whether anything changed."""
        if self.over or (self.paused and not self._steps):
            return False
        self._steps = 0
        if self.rests:
            if self.episodes is not None and self.episode + 1 >= self.episodes:
                self.over = True
                return False
            self._go(self.episode + 1)
            return True
        self.moments = [
            self.moments[i] if self._done(i) else source.advance(self._persons_action(i))
            for i, source in enumerate(self.sources)
        ]
        return True

    def _persons_action(self, i: int) -> Any:
        return self.keyboard.action() if self.keyboard is not None and self._acts(i) else None
