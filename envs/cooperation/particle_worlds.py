"""Three worlds of particles: cover landmarks, guide a listener by symbols, hunt a prey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from gymnasium.spaces import Box

from daedalus.envs.cooperation.family import Cooperative
from daedalus.envs.cooperation.particles import (
    HUNT,
    SPEAK,
    SPREAD,
    ParticleArrays,
    ParticleParams,
    particle_observe,
    particle_reset,
    particle_step,
)
from daedalus.envs.cooperation.picture import draw_particles

BODIES = 16
"""Bodies, and landmarks, at most."""
MOVES = {"left": 1, "right": 2, "down": 3, "up": 4}


class _Particles(Cooperative):
    """What the three worlds share."""

    Params, Arrays = ParticleParams, ParticleArrays
    observations: ClassVar[tuple[str, ...]] = ("observation",)
    time_limit = 25
    fps = 10
    reset, step, observe = particle_reset, particle_step, particle_observe
    params: ParticleParams

    def build(self, params: ParticleParams, widths: Sequence[int]) -> None:
        """Set parameters, state and the observation of each agent."""
        self.params = params
        self.state_dtype = np.dtype(
            [
                (
                    "position",
                    "f8",
                    (4 * BODIES,),
                ),  # as large for all, so that one kernel serves all
                ("velocity", "f8", (2 * BODIES,)),
                ("force", "f8", (2 * BODIES,)),
                ("rewards", "f8", (BODIES,)),
                *((name, "i8") for name in ("said", "goal", "prey_action")),
            ]
        )
        self.widths["observation"] = tuple(widths)
        shape = params.agents, max(widths)
        self.spaces["observation"] = Box(-np.inf, np.inf, shape, np.float32)

    def render(self, state: np.void) -> np.ndarray:
        """Return the arena from above."""
        return draw_particles(state, self.params)


class CooperativeNavigation(_Particles):
    """Cover all landmarks together without bumping into each other.

    Observation:
        observation: float32 (agents, 6 agents); own velocity and position, landmarks and other
            agents relative to oneself, x and y each, then two zeros for each other agent, which
            could speak in other worlds.
    Action:
        MultiDiscrete(5 for each agent): 0 nothing, 1 left, 2 right, 3 down, 4 up; a push of 5 for a
        tenth of a second on a mass of 1.
    Reward:
        Each agent's is (1 - local_ratio) times minus the sum over landmarks of the distance of
        the nearest agent, plus local_ratio times minus 1 for each other agent that it touches
        (radius 0.15). The joint face returns the mean. OpenAI's convention: every agent gets the
        sum over agents of both parts, unweighted, in which each agent also collides with itself,
        so scores differ by a factor of about 3 and an offset.
    Episode end:
        Truncated after 25 steps.
    Parameters:
        agents: Agents, and landmarks, 2 to 16.
        local_ratio: Weight of an agent's own collisions, 0 to 1.
        convention: ``"mpe2"``, or ``"openai"``: actions 1 and 3 are right and up, velocities
            change before positions do, and the reward above.
    Version history:
        v0: first version.
    Source:
        Lowe et al. 2017, "Multi-agent actor-critic for mixed cooperative-competitive environments"
        (1706.02275); dynamics and rewards of MPE2's simple_spread, equal to 1e-6.
    """

    def __init__(
        self, *, agents: int = 3, local_ratio: float = 0.5, convention: str = "mpe2"
    ) -> None:
        """Choose how many, and how much one's own collisions count."""
        if not 2 <= agents <= BODIES or not 0.0 <= local_ratio <= 1.0:
            raise ValueError(
                "CooperativeNavigation needs agents from 2 to 16 and local_ratio from 0 to 1, got "
                f"{agents} and {local_ratio}"
            )
        if convention not in ("mpe2", "openai"):
            raise ValueError(
                f"CooperativeNavigation: convention must be mpe2 or openai, got {convention!r}"
            )
        self.describe([f"agent_{i}" for i in range(agents)], [5] * agents)
        self.keys = {key: (move,) * agents for key, move in MOVES.items()} | {"": (0,) * agents}
        params = ParticleParams(
            SPREAD,
            bodies=agents,
            agents=agents,
            landmarks=agents,
            solid=agents,
            extent=1.0,
            radius=np.array([0.15] * agents + [0.05] * agents),
            thrust=np.full(agents, 5.0),
            top_speed=np.zeros(agents),
            local_ratio=float(local_ratio),
            original=convention == "openai",
        )
        self.build(params, [6 * agents] * agents)


class SpeakerListener(_Particles):
    """One knows the goal and cannot move, the other moves and does not know: three symbols help.

    What is said is heard one step later.

    Observation:
        observation: float32 (2, 11); the speaker has 3: the colour of the goal (0.65 in its own
            component, 0.15 in the others); the listener 11: velocity, the three landmarks relative
            to itself, the symbol said last (one-hot, zeros at first).
        action_mask: int8 (2, 5); 1 for the actions that an agent has: the speaker's are 3.
    Action:
        MultiDiscrete(3, 5): the speaker's symbol; the listener's 0 nothing, 1 left, 2 right, 3
        down, 4 up.
    Reward:
        Both get minus the squared distance of listener and goal.
    Episode end:
        Truncated after 25 steps.
    Parameters:
        time_limit: Every family's: steps of an episode.
    Version history:
        v0: first version.
    Source:
        Lowe et al. 2017 (1706.02275); dynamics and rewards of MPE2's simple_speaker_listener, equal
        to 1e-6.
    """

    observations: ClassVar[tuple[str, ...]] = ("observation", "action_mask")
    keys = {key: (0, move) for key, move in MOVES.items()} | {"1": (0, 0), "2": (1, 0), "3": (2, 0)}

    def __init__(self) -> None:
        """Place speaker, listener and three landmarks."""
        self.describe(["speaker_0", "listener_0"], [3, 5])
        params = ParticleParams(
            SPEAK,
            bodies=2,
            agents=2,
            landmarks=3,
            solid=0,
            extent=1.0,
            radius=np.array([0.075] * 2 + [0.04] * 3),
            thrust=np.array([0.0, 5.0]),
            top_speed=np.zeros(2),
            local_ratio=0.0,
            original=False,
        )
        self.build(params, [3, 11])


class PredatorPrey(_Particles):
    """Slow hunters catch a faster prey together, among obstacles that block the way.

    The prey is scripted: it takes the push after which it would glide farthest from the nearest
    hunter, counting what lies outside of the arena (beyond 0.9) fourfold against it.

    Observation:
        observation: float32 (agents, 2 agents + 2 obstacles + 6); own velocity and position,
            obstacles, other hunters and the prey relative to oneself, the prey's velocity.
    Action:
        MultiDiscrete(5 for each hunter): 0 nothing, 1 left, 2 right, 3 down, 4 up.
    Reward:
        Every hunter gets 10 for each hunter that touches the prey.
    Episode end:
        Truncated after 25 steps.
    Parameters:
        agents: Hunters, 1 to 8.
        obstacles: Round obstacles of radius 0.2, 0 to 6.
    Version history:
        v0: first version.
    Source:
        Lowe et al. 2017 (1706.02275); dynamics, rewards and the hunters' observations are those of
        MPE2's simple_tag, equal to 1e-6; the prey's script is ours.
    """

    def __init__(self, *, agents: int = 3, obstacles: int = 2) -> None:
        """Choose how many hunters and obstacles."""
        if not 1 <= agents <= 8 or not 0 <= obstacles <= 6:
            raise ValueError(
                "PredatorPrey needs agents from 1 to 8 and obstacles from 0 to 6, got "
                f"{agents} and {obstacles}"
            )
        self.describe([f"adversary_{i}" for i in range(agents)], [5] * agents)
        self.keys = {key: (move,) * agents for key, move in MOVES.items()} | {"": (0,) * agents}
        params = ParticleParams(
            HUNT,
            bodies=agents + 1,
            agents=agents,
            landmarks=obstacles,
            solid=agents + 1 + obstacles,
            extent=0.9,
            radius=np.array([0.075] * agents + [0.05] + [0.2] * obstacles),
            thrust=np.array([3.0] * agents + [4.0]),
            top_speed=np.array([1.0] * agents + [1.3]),
            local_ratio=0.0,
            original=False,
        )
        self.build(params, [2 * agents + 2 * obstacles + 6] * agents)
