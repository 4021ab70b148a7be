"""Name the symbol shown, now or later: Identity and Recall."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete

from daedalus.envs.canvas import BLUE, GREEN
from daedalus.envs.core import Family
from daedalus.envs.probes.common import need, tiles
from daedalus.envs.random import GOAL, NOISE, integers, normal


class IdentityParams(NamedTuple):
    """Number of symbols and strength of the noise."""

    symbols: int
    noise: float


class SymbolArrays(NamedTuple):
    """A vector that shows a symbol."""

    symbol: np.ndarray


def identity_reset(state: Any, params: IdentityParams) -> None:
    """Draw the first symbol."""
    state.symbol = integers(state, GOAL, params.symbols)


def identity_step(state: Any, action: int, params: IdentityParams) -> tuple[float, bool]:
    """Pay 1 for naming the symbol and draw the next."""
    reward = 1.0 if action == state.symbol else 0.0
    state.symbol = integers(state, GOAL, params.symbols)
    return reward, False


def identity_observe(state: Any, params: IdentityParams, out: SymbolArrays) -> None:
    """Show the symbol one-hot, with noise added."""
    out.symbol[:] = 0.0
    out.symbol[state.symbol] = 1.0
    if params.noise > 0.0:
        for i in range(params.symbols):
            out.symbol[i] += params.noise * normal(state, NOISE)


class Identity(Family):
    """Name the symbol shown: reward depends on nothing but this observation and this action.

    Observation:
        symbol: float32 (symbols,); one-hot, plus Gaussian noise where asked for.
    Action:
        Discrete(symbols): the symbol named.
    Reward:
        1 if the action equals the symbol shown, else 0. A blind policy earns 1 / symbols a step.
    Episode end:
        Truncates after 100 steps.
    Parameters:
        symbols: Number of symbols, at least 2.
        noise: Standard deviation of the noise on each entry.
    Version history:
        v0: first version.
    Source:
        The IdentityEnv of stable-baselines3's tests; the noise is ours.
    """

    Params, Arrays = IdentityParams, SymbolArrays
    observations = ("symbol",)
    time_limit = 100
    keys = {str(i): i for i in range(10)}
    fps = 4
    reset, step, observe = identity_reset, identity_step, identity_observe

    def __init__(self, *, symbols: int = 4, noise: float = 0.0) -> None:
        """Choose the number of symbols and the noise."""
        need(symbols >= 2, f"Identity needs symbols >= 2, got {symbols}")
        need(noise >= 0, f"Identity needs noise >= 0, got {noise}")
        self.params = IdentityParams(int(symbols), float(noise))
        self.state_dtype = np.dtype([("symbol", "i8")])
        self.action_space = Discrete(symbols)
        bound = 1.0 if noise == 0 else np.inf
        self.spaces = {"symbol": Box(-bound if noise else 0.0, bound, (symbols,), np.float32)}

    def render(self, state: np.void) -> np.ndarray:
        """Return a tile for each symbol; the one that is shown shines."""
        return tiles(self.params.symbols, int(state["symbol"])).picture()


class RecallParams(NamedTuple):
    """Number of cues and steps between cue and answer."""

    symbols: int
    delay: int


def recall_reset(state: Any, params: RecallParams) -> None:
    """Draw the cue."""
    state.cue = integers(state, GOAL, params.symbols)
    state.moment = 0


def recall_step(state: Any, action: int, params: RecallParams) -> tuple[float, bool]:
    """Wait; the last action must name the cue."""
    state.moment += 1
    if state.moment <= params.delay:
        return 0.0, False
    return (1.0 if action == state.cue else -1.0), True


def recall_observe(state: Any, params: RecallParams, out: SymbolArrays) -> None:
    """Show the cue at the first moment only, and the question at the last."""
    out.symbol[:] = 0.0
    if state.moment == 0:
        out.symbol[state.cue] = 1.0
    elif state.moment >= params.delay:
        out.symbol[params.symbols] = 1.0


class Recall(Family):
    """Remember a cue over a delay: impossible without memory, easy with it.

    Observation:
        symbol: float32 (symbols + 1,); the cue one-hot at the first step, zeros while waiting, the
            last entry 1 when
        the answer is due.
    Action:
        Discrete(symbols): counts at the last step only.
    Reward:
        At the last step +1 for naming the cue, -1 otherwise. Without memory the best is 2 / symbols
        - 1 (0 for two).
    Episode end:
        Terminates after ``delay + 1`` steps.
    Parameters:
        symbols: Number of cues, at least 2.
        delay: Steps between cue and answer, at least 1.
    Version history:
        v0: first version.
    Source:
        bsuite's memory length task (Osband et al. 2020), simplified.
    """

    Params, Arrays = RecallParams, SymbolArrays
    observations = ("symbol",)
    keys = {str(i): i for i in range(10)}
    fps = 4
    reset, step, observe = recall_reset, recall_step, recall_observe

    def __init__(self, *, symbols: int = 2, delay: int = 5) -> None:
        """Choose the number of cues and the delay."""
        need(symbols >= 2, f"Recall needs symbols >= 2, got {symbols}")
        need(delay >= 1, f"Recall needs delay >= 1, got {delay}")
        self.params = RecallParams(int(symbols), int(delay))
        self.state_dtype = np.dtype([("cue", "i8"), ("moment", "i8")])
        self.action_space = Discrete(symbols)
        self.spaces = {"symbol": Box(0.0, 1.0, (symbols + 1,), np.float32)}

    def render(self, state: np.void) -> np.ndarray:
        """Return a tile for each cue, the cue shining, and the moments until the answer."""
        moments = self.params.delay + 1
        canvas = tiles(self.params.symbols, int(state["cue"]), below=0.7)
        width = (self.params.symbols + 0.4) / (moments + 1)
        for i in range(moments):
            x, last = (i + 1) * width, i == moments - 1
            canvas.disc(x, 1.6, 0.14, BLUE if i <= state["moment"] else (214, 210, 200))
            if last:
                canvas.ring(x, 1.6, 0.2, GREEN, 0.07)
        return canvas.picture()
