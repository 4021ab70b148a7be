"""A round pool with a platform that cannot be seen: WaterMaze."""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.maze.family import Maze, Options, check, make_rules
from daedalus.envs.maze.maps import read_disc
from daedalus.envs.maze.placement import ALL_RANDOM, POOL

_SIDE = 15
_WALL = 6.9
_START = 5.5


class WaterMaze(Maze):
    """A round pool; somewhere a hidden platform pays, at the same place for the whole episode.

    Observation:
        image: uint8 (84, 84, 3), RGB, what the agent sees; the default input.
        depth: uint8 (4, 16), label: depth of the view in eight bins, 0 nearest.
        loop_closure: uint8 (1,), label: 1 where an earlier place was left and is met again.

        Also ``velocity``, ``window``, ``pose`` and what is in ``info``, as in ``NavMaze``.

        The wall shows eight different textures; the platform shows nothing.

    Action:
        As in ``NavMaze``.

    Reward:
        +1 for each step on the platform, up to ``hits`` (5); then the agent starts again, the
        platform stays.

    Episode end:
        Only by the time limit (truncation): 1,800 steps (120 s).

    Parameters:
        pool_radius: the platform's centre is uniform in a disc of this radius, in squares (5.8).
        platform_radius: squares.
        hits: steps on the platform after which the agent starts again.
        time_limit: steps; 0 for none.
        options: those of ``daedalus.envs.maze.family.Options``.

        The agent starts near the wall, facing the centre.

    Version history:
        v0: first version.

    Source:
        Beattie et al., 2016, "DeepMind Lab", level rooms_watermaze, after Morris, 1981, "Spatial
        localization does not require the presence of local cues".
    """

    time_limit = 1800

    def __init__(
        self,
        *,
        pool_radius: float = 5.8,
        platform_radius: float = 1.0,
        hits: int = 5,
        time_limit: int = 1800,
        **options: Any,
    ) -> None:
        """Check and store the parameters (see the class).

        Raises:
            ValueError: A parameter is out of range.
        """
        check("pool_radius", pool_radius, 0, _WALL)
        check("platform_radius", platform_radius, 0.1, _WALL)
        check("hits", hits, 1, 1000)
        common = Options(**options)
        grid = read_disc(_SIDE, _WALL)
        y, x = np.mgrid[0:_SIDE, 0:_SIDE] + 0.5 - _SIDE / 2
        ring = (np.hypot(x, y) > _START) & (grid < 128)
        rules = make_rules(
            common,
            grid.shape,
            POOL,
            base=grid.ravel(),
            spawns=np.flatnonzero(ring),
            layout=ALL_RANDOM,
            platform_radius=platform_radius,
            pool_radius=pool_radius,
            platform_hits=hits,
            headings=-1,
        )
        self.configure(common, rules, time_limit, objects=0)
