"""Grids on the table: Cliff, FourRooms, TwoRooms and GridWorld."""

from __future__ import annotations

import numpy as np

from daedalus.envs.canvas import BLUE, GOLD, GREEN, INK, RED, Canvas, board
from daedalus.envs.probes.common import need
from daedalus.envs.probes.table import Table, grid_moves, read_grid

_SCALE = 36  # pixels of a square


class Grid(Table):
    """A grid of squares on the table; what its pictures have in common."""

    walls: np.ndarray
    target = -1

    def render(self, state: np.void) -> np.ndarray:
        """Return the map with the agent (blue) and the goal (green)."""
        canvas = board(self.walls, _SCALE)
        columns = self.walls.shape[1]
        goal = int(state["goal"]) if state["goal"] >= 0 else self.target
        for place, colour in ((goal, GREEN), (int(state["place"]), BLUE)):
            if place < 0:
                continue
            x, y = place % columns + 0.5, place // columns + 0.5
            if colour is GREEN:
                canvas.box((x - 0.38, y - 0.38, x + 0.38, y + 0.38), GREEN, round_=0.12)
                canvas.ring(x, y, 0.2, (230, 246, 234), 0.09)
            else:
                canvas.disc(x, y + 0.04, 0.34, INK, 0.35)
                canvas.disc(x, y, 0.32, BLUE)
                canvas.disc(x - 0.1, y - 0.1, 0.09, (190, 212, 248))
        self._decorate(canvas)
        return canvas.picture()

    def _decorate(self, canvas: Canvas) -> None:
        """Draw what only this grid has."""


class Cliff(Grid):
    """Walk along a cliff: the shortest way pays most and forgives no slip.

    Observation:
        place: float32 (rows x columns,); the square one-hot, row by row.
    Action:
        Discrete(4): 0 left, 1 down, 2 right, 3 up.
    Reward:
        -1 a step; -100 on stepping off the cliff (the bottom row between start and goal), which
        puts the agent back at the start.
    Episode end:
        Terminates at the goal (bottom right); truncated after 200 steps.
    Parameters:
        rows: Rows of squares, at least 2.
        columns: Columns of squares, at least 3.
        slip: Probability that one of the two sideways actions happens instead.
    Version history:
        v0: first version.
    Source:
        Sutton and Barto 2018, example 6.6: 4 x 12 squares. The best return is -13.
    """

    time_limit = 200

    def __init__(self, *, rows: int = 4, columns: int = 12, slip: float = 0.0) -> None:
        """Choose the size and the slip."""
        need(rows >= 2 and columns >= 3, f"Cliff needs rows >= 2, columns >= 3: {rows}, {columns}")
        need(0 <= slip <= 1, f"Cliff needs 0 <= slip <= 1, got {slip}")
        self.walls = np.zeros((rows, columns), bool)
        start, self.target = (rows - 1) * columns, rows * columns - 1
        following = grid_moves(self.walls)
        off = (following > start) & (following < self.target)
        reward = np.where(off, -100.0, -1.0)
        ends = following == self.target
        following[off] = start
        sideways = [[(a + 1) % 4, (a + 3) % 4] for a in range(4)]
        chances = [slip] * 4
        self.configure(
            following, reward=reward, ends=ends, slip=chances, others=sideways, starts=[start]
        )

    def _decorate(self, canvas: Canvas) -> None:
        rows, columns = self.walls.shape
        canvas.box((1, rows - 1, columns - 1, rows), (46, 40, 52))
        for i in range(3 * (columns - 2)):
            x = 1 + i / 3
            points = [(x, rows), (x + 1 / 6, rows - 0.5), (x + 1 / 3, rows)]
            canvas.polygon(points, RED)


_FOUR_ROOMS = """
#############
#.....#.....#
#.....#.....#
#...........#
#.....#.....#
#.....#.....#
##.####.....#
#.....###.###
#.....#.....#
#.....#.....#
#...........#
#.....#.....#
#############
"""


class FourRooms(Grid):
    """Four rooms joined by four doors: start and goal are drawn every episode.

    Observation:
        place: float32 (4,); row and column of the agent, row and column of the goal, in squares.
    Action:
        Discrete(4): 0 left, 1 down, 2 right, 3 up.
    Reward:
        1 on reaching the goal, else 0.
    Episode end:
        Terminates at the goal; truncated after 500 steps.
    Parameters:
        slip: Probability that the move fails: any of the four then happens, equally probable.
    Version history:
        v0: first version.
    Source:
        Sutton, Precup and Singh 1999, "Between MDPs and semi-MDPs"; map (13 x 13), slip, reward and
        time limit as in gymnax's FourRooms-misc.
    """

    time_limit = 500

    def __init__(self, *, slip: float = 1 / 3) -> None:
        """Choose the slip."""
        need(0 <= slip <= 1, f"FourRooms needs 0 <= slip <= 1, got {slip}")
        self.walls = read_grid(_FOUR_ROOMS, "FourRooms") == "#"
        free = np.flatnonzero(~self.walls)
        self.configure(
            grid_moves(self.walls),
            slip=[slip] * 4,
            others=[[0, 1, 2, 3]] * 4,
            starts=list(free),
            goals=list(free),
            shown=np.indices(self.walls.shape).reshape(2, -1).T,
        )


class TwoRooms(Grid):
    """Two rooms and a corridor: tasks that share the way and differ in the goal.

    For transfer and multitask learning: the corridor's squares ask for opposite actions in the two
    directions, and the last action tells which.

    Observation:
        place: float32 (squares + 4,); the square one-hot, then the last action one-hot. The goal is
            not shown: each task has its own.
    Action:
        Discrete(4): 0 left, 1 down, 2 right, 3 up.
    Reward:
        1 at the goal, -0.02 for every other step.
    Episode end:
        Terminates at the goal; truncated after 200 steps.
    Parameters:
        task: Which of six goals, 0 to 5: even tasks have it in the left room and start in the right
            one, odd tasks the other way round.
    Version history:
        v0: first version.
    Source:
        After Teh et al. 2017, "Distral", section 4.1: two 5 x 5 rooms, a corridor of 6 squares in
        the middle row; the goals are our own.
    """

    time_limit = 200

    def __init__(self, *, task: int = 0) -> None:
        """Choose the task."""
        need(task in range(6), f"TwoRooms needs task in 0 to 5, got {task}")
        self.walls = np.ones((7, 18), bool)
        self.walls[1:6, 1:6] = self.walls[1:6, 12:17] = False
        self.walls[3, 6:12] = False
        row, column = ((1, 1), (1, 4), (5, 2), (5, 5), (4, 3), (2, 1))[task]
        left = task % 2 == 0
        goal = (row, column if left else 17 - column)
        rooms = np.zeros_like(self.walls)
        rooms[1:6, slice(12, 17) if left else slice(1, 6)] = True
        self.target = goal[0] * 18 + goal[1]
        following = grid_moves(self.walls)
        at_goal = following == self.target
        self.configure(
            following,
            reward=np.where(at_goal, 1.0, -0.02),
            ends=at_goal,
            starts=list(np.flatnonzero(rooms)),
            remember=True,
        )


_MAP = "S..#...... ...#...... ......#... ###.###... .......... ...#...##. .........T"


class GridWorld(Grid):
    """A map of your own: walls, a start and a target that pays 1.

    Observation:
        place: float32 (squares,); the square one-hot, row by row.
    Action:
        Discrete(4): 0 left, 1 down, 2 right, 3 up.
    Reward:
        1 on reaching the target, else ``step_reward``.
    Episode end:
        Terminates at the target; truncated after 500 steps.
    Parameters:
        map: Rows separated by spaces or line ends: ``#`` wall, ``S`` start (one of several is
            drawn), ``T`` target, ``.`` free.
        step_reward: Reward of every step that does not reach the target.
        slip: Probability that one of the two sideways actions happens instead.
    Version history:
        v0: first version.
    Source:
        This project; the default map (7 x 10) is made for comparing PGQ with Q-learning. Its
        shortest way has 15 steps: the best discounted return is 0.95^14 = 0.488.
    """

    time_limit = 500

    def __init__(self, *, map: str = _MAP, step_reward: float = 0.0, slip: float = 0.0) -> None:
        """Read the map."""
        letters = read_grid(map, "GridWorld")
        strange = "".join(sorted(set(letters.ravel()) - set("#ST.")))
        need(not strange, f"GridWorld: the map has {strange!r}; it is made of '#', 'S', 'T', '.'")
        for letter, what in (("S", "a start"), ("T", "a target")):
            need(bool((letters == letter).any()), f"GridWorld: the map needs {what}, {letter!r}")
        need(0 <= slip <= 1, f"GridWorld needs 0 <= slip <= 1, got {slip}")
        self.walls = letters == "#"
        self.target = int(np.flatnonzero(letters == "T")[0])
        following = grid_moves(self.walls)
        at_target = (letters == "T").ravel()[following]
        self.configure(
            following,
            reward=np.where(at_target, 1.0, step_reward),
            ends=at_target,
            slip=[slip] * 4,
            others=[[(a + 1) % 4, (a + 3) % 4] for a in range(4)],
            starts=list(np.flatnonzero(letters == "S")),
        )

    def _decorate(self, canvas: Canvas) -> None:
        for start in self.params.starts:
            x, y = start % self.walls.shape[1] + 0.5, start // self.walls.shape[1] + 0.5
            canvas.ring(x, y, 0.42, GOLD, 0.05)
