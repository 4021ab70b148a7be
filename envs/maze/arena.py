"""Rooms with good and bad things: SeekAvoid, Collect and StairwayToMelon."""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.maze.family import Maze, Options, check, make_rules
from daedalus.envs.maze.kinds import NUMBER, kind_number
from daedalus.envs.maze.maps import read_map
from daedalus.envs.maze.placement import ALL_RANDOM, FIXED, SCATTER, STATIC

_HEIGHT, _WIDTH = 16, 17


def _room() -> str:
    inside = "*" + " " * (_WIDTH - 2) + "*"
    return "\n".join(["*" * _WIDTH, *[inside] * (_HEIGHT - 2), "*" * _WIDTH])


def _lattice() -> np.ndarray:
    """Return the squares of 9 x 10 positions, 1.5 squares apart on average."""
    rows = np.round(np.linspace(1, _HEIGHT - 2, 9)).astype(int)
    columns = np.round(np.linspace(1, _WIDTH - 2, 10)).astype(int)
    return np.asarray((rows[:, None] * _WIDTH + columns).ravel())


class SeekAvoid(Maze):
    """An open arena with 15 apples to take and 8 lemons to keep away from.

    Observation:
        image: uint8 (84, 84, 3), RGB, what the agent sees; the default input.
        depth: uint8 (4, 16), label: depth of the view in eight bins, 0 nearest.
        loop_closure: uint8 (1,), label: 1 where an earlier place was left and is met again.

        Also ``velocity``, ``window``, ``pose`` and what is in ``info``, as in ``NavMaze``.

    Action:
        As in ``NavMaze``.

    Reward:
        Apple +1, lemon -1. When the last apple is taken all of them come back and the agent starts
        anew.

    Episode end:
        Only by the time limit (truncation): 300 steps (20 s).

    Parameters:
        apples: how many.
        lemons: how many; at most 32 with the apples.
        layout: ``static`` (the same places in every episode, as published) or ``all_random``.
        layout_seed: the places of ``static``.
        time_limit: steps; 0 for none.
        options: those of ``daedalus.envs.maze.family.Options``.

    Version history:
        v0: first version.

    Source:
        Beattie et al., 2016, "DeepMind Lab", level seekavoid_arena_01; the arena is our own.
    """

    time_limit = 300

    def __init__(
        self,
        *,
        apples: int = 15,
        lemons: int = 8,
        layout: str = "static",
        layout_seed: int = 1,
        time_limit: int = 300,
        **options: Any,
    ) -> None:
        """Check and store the parameters (see the class).

        Raises:
            ValueError: A parameter is out of range.
        """
        check("apples", apples, 1, 32)
        check("lemons", lemons, 0, 32 - apples)
        layouts = {"static": STATIC, "all_random": ALL_RANDOM}
        if layout not in layouts:
            raise ValueError(f"layout must be one of {', '.join(layouts)}, got {layout!r}")
        common = Options(**{"look": "arena", **options})
        plan = read_map(_room())
        middle = _HEIGHT // 2 * _WIDTH + _WIDTH // 2
        rules = make_rules(
            common,
            plan.grid.shape,
            SCATTER,
            base=plan.grid.ravel(),
            spawns=[middle],
            slots=np.setdiff1d(_lattice(), [middle]),
            layout=layouts[layout],
            layout_seed=layout_seed,
            good_kind=NUMBER["apple"],
            good_count=apples,
            bad_kind=NUMBER["lemon"],
            bad_count=lemons,
            restart_when_clear=True,
        )
        self.configure(common, rules, time_limit, objects=apples + lemons)


class Collect(Maze):
    """A room with ten good and ten bad things; which are which, and how all looks, can be chosen.

    Variants of one task for transfer and continual learning: the same rule with other objects,
    other textures, inverted colours, black bad things, noise; in a room, a maze or a desert.

    Observation:
        image: uint8 (84, 84, 3), RGB, what the agent sees; the default input.
        depth: uint8 (4, 16), label: depth of the view in eight bins, 0 nearest.
        loop_closure: uint8 (1,), label: 1 where an earlier place was left and is met again.

        Also ``velocity``, ``window``, ``pose`` and what is in ``info``, as in ``NavMaze``.

    Action:
        As in ``NavMaze``.

    Reward:
        Good thing +1, bad thing -1 (``good_reward``, ``bad_reward``).

    Episode end:
        Terminates after ``max_pickups`` things (10); truncated at 900 steps (60 s).

    Parameters:
        good: apple, strawberry, lemon, mushroom, hat, can, cake or balloon.
        bad: another one of these.
        good_count: how many good things.
        bad_count: how many bad things; at most 32 with the good ones.
        good_reward: reward of a good thing.
        bad_reward: reward of a bad thing.
        bad_color: RGB of the bad things, such as (0, 0, 0); None for their own.
        world: ``room`` (16 x 17 squares, 9 x 10 positions) or ``maze`` (7 x 7 cells, drawn every
            episode). ``look`` follows: ``lab`` or ``maze`` unless given; ``desert`` is a third.
        max_pickups: things after which the episode ends; 0 for never.
        time_limit: steps; 0 for none.
        options: those of ``daedalus.envs.maze.family.Options``.

    Version history:
        v0: first version.

    Source:
        Beattie et al., 2016, "DeepMind Lab", level rooms_collect_good_objects.
    """

    time_limit = 900

    def __init__(
        self,
        *,
        good: str = "balloon",
        bad: str = "cake",
        good_count: int = 10,
        bad_count: int = 10,
        good_reward: float = 1.0,
        bad_reward: float = -1.0,
        bad_color: tuple[int, int, int] | None = None,
        world: str = "room",
        max_pickups: int = 10,
        time_limit: int = 900,
        **options: Any,
    ) -> None:
        """Check and store the parameters (see the class).

        Raises:
            ValueError: A parameter is out of range.
        """
        check("good_count", good_count, 1, 32)
        check("bad_count", bad_count, 0, 32 - good_count)
        check("max_pickups", max_pickups, 0, 2**31)
        for channel in bad_color or ():
            check("bad_color", channel, 0, 255)
        if bad_color is not None and len(bad_color) != 3:
            raise ValueError(f"bad_color needs red, green and blue, got {bad_color}")
        if good == bad:
            raise ValueError(f"good and bad must differ, both are {good!r}")
        if world not in ("room", "maze"):
            raise ValueError(f"world must be room or maze, got {world!r}")
        common = Options(**{"look": "lab" if world == "room" else "maze", **options})
        place: dict[str, Any] = {"max_rooms": 3, "removed_walls": 0.2, "extra_connections": 0.1}
        shape: tuple[int, ...] = (15, 15)
        if world == "room":
            plan = read_map(_room())
            place, shape = {"base": plan.grid.ravel(), "slots": _lattice()}, plan.grid.shape
        rules = make_rules(
            common,
            shape,
            SCATTER,
            layout=ALL_RANDOM,
            good_kind=kind_number(good),
            bad_kind=kind_number(bad),
            good_count=good_count,
            bad_count=bad_count,
            max_pickups=max_pickups,
            rewards={good: good_reward, bad: bad_reward},
            **place,
        )
        recolour = {} if bad_color is None else {bad: tuple(bad_color)}
        self.configure(common, rules, time_limit, good_count + bad_count, **recolour)


STAIRWAY = """
*********************
*AAAAAAA*************
*A*******************
*AAAAAA g c P c gL M*
*********************
"""


class StairwayToMelon(Maze):
    """Two ways: 14 apples on the one; a lemon first and a watermelon behind it on the other.

    Whoever has gone a few steps into one way finds it walled up behind, until the map starts again.

    Observation:
        image: uint8 (84, 84, 3), RGB, what the agent sees; the default input.
        depth: uint8 (4, 16), label: depth of the view in eight bins, 0 nearest.
        loop_closure: uint8 (1,), label: 1 where an earlier place was left and is met again.

        Also ``velocity``, ``window``, ``pose`` and what is in ``info``, as in ``NavMaze``.

    Action:
        As in ``NavMaze``.

    Reward:
        Apple +1, lemon -1, watermelon +20. The map starts again at the watermelon, or when the last
        apple is taken.

    Episode end:
        Only by the time limit (truncation): 900 steps (60 s).

    Parameters:
        time_limit: steps; 0 for none.
        options: those of ``daedalus.envs.maze.family.Options``.

    Version history:
        v0: first version.

    Source:
        Beattie et al., 2016, "DeepMind Lab", level stairway_to_melon; the drop is a wall that
        closes.
    """

    time_limit = 900

    def __init__(self, *, time_limit: int = 900, **options: Any) -> None:
        """Check and store the parameters (see the class).

        Raises:
            ValueError: A parameter is out of range.
        """
        common = Options(**options)
        plan = read_map(STAIRWAY)
        gates, closed = plan.squares("g"), plan.squares("c")
        fixed = [(square, NUMBER["apple"], -1) for square in plan.squares("A")]
        fixed += [(square, NUMBER["lemon"], -1) for square in plan.squares("L")]
        fixed += [(square, NUMBER["watermelon"], -1) for square in plan.squares("M")]
        fixed += [(g, NUMBER["gate"], c) for g, c in zip(gates, closed, strict=True)]
        rules = make_rules(
            common,
            plan.grid.shape,
            FIXED,
            base=plan.grid.ravel(),
            layout=STATIC,
            restart_when_clear=True,
            spawns=plan.squares("P"),
            fixed=fixed,
        )
        self.configure(common, rules, time_limit, objects=len(fixed))
