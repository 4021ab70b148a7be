"""The maze family, line by line of what its sources promise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from maze_tools import maze, objects, open_room, place, squares, started

from daedalus.envs.batch import Batch
from daedalus.envs.maze import state as s
from daedalus.envs.maze.arena import Collect, SeekAvoid, StairwayToMelon
from daedalus.envs.maze.family import Maze
from daedalus.envs.maze.keys import KeysDoors
from daedalus.envs.maze.kinds import NUMBER
from daedalus.envs.maze.motion import ACTIONS, RADIUS
from daedalus.envs.maze.nav import IMaze, NavMaze
from daedalus.envs.maze.oracle import oracle_actions
from daedalus.envs.maze.water import WaterMaze

BLIND: dict[str, Any] = {"observations": ("velocity",), "labels": ()}


def pose_of(batch: Batch, i: int = 0) -> tuple[float, float, float]:
    """Return x, y and heading in degrees."""
    x, y, heading = batch.info["position"][i]
    return float(x), float(y), math.degrees(heading)


@pytest.mark.parametrize(
    ("action", "ahead", "right", "turn"),
    [
        ("forward", 1, 0, 0),
        ("backward", -1, 0, 0),
        ("strafe_left", 0, -1, 0),
        ("strafe_right", 0, 1, 0),
        ("look_left", 0, 0, -1),
        ("look_right", 0, 0, 1),
        ("forward_look_left", 1, 0, -1),
        ("forward_look_right", 1, 0, 1),
    ],
)
def test_each_action_moves_as_it_says(action: str, ahead: int, right: int, turn: int) -> None:
    """From rest, one step: half the full speed of 0.25 (acceleration 0.5), 8.4 degrees."""
    batch = started(maze(), **BLIND)
    open_room(batch)
    place(batch, 10.5, 5.5, 90)
    batch.step(np.array([ACTIONS.index(action)]))
    heading = math.radians(90 + 8.4 * turn)
    step = 0.125
    x, y, degrees = pose_of(batch)
    assert degrees == pytest.approx(90 + 8.4 * turn, abs=1e-3)
    dx, dy = ahead * math.cos(heading), ahead * math.sin(heading)
    dx, dy = dx - right * math.sin(heading), dy + right * math.cos(heading)
    assert (x, y) == pytest.approx((10.5 + step * dx, 5.5 + step * dy), abs=1e-5)
    expected = [step * ahead, step * right, 0, 0, 0, math.radians(8.4 * turn)]
    assert batch.observation["velocity"][0] == pytest.approx(expected, abs=1e-5)


def test_speed_rises_smoothly_to_the_full_speed_and_falls_again() -> None:
    batch = started(maze(), **BLIND)
    open_room(batch)
    place(batch, 3.5, 5.5, 0)
    speeds = []
    for action in [0] * 8 + [5] * 6:
        batch.step(np.array([action]))
        speeds.append(np.hypot(*batch.observation["velocity"][0, :2]))
    assert speeds[:3] == pytest.approx([0.125, 0.1875, 0.21875], abs=1e-4)
    assert speeds[7] == pytest.approx(0.25, abs=2e-3)
    assert speeds[-1] < 0.01


def test_a_wall_stops_the_agent_flush_and_lets_it_slide() -> None:
    batch = started(maze(), **BLIND)
    open_room(batch)
    place(batch, 10.5, 1.4, -30 % 360)
    for _ in range(12):
        batch.step(np.array([0]))
    x, y, _ = pose_of(batch)
    assert y == pytest.approx(1 + RADIUS, abs=0.01)  # at the wall
    assert x > 12  # and on along it
    assert batch.observation["velocity"][0, 1] != 0  # what the wall took shows in the velocity


def test_walls_are_never_entered() -> None:
    batch = started(maze(layout="all_random", speed=0.5), 32, **BLIND)
    rng = np.random.default_rng(0)
    grids = np.stack([squares(batch, i) for i in range(32)])
    for _ in range(400):
        batch.step(rng.choice([0, 0, 0, 1, 2, 3, 6, 7], 32))
        x, y, _ = batch.info["position"].T
        for dx in (-RADIUS, RADIUS):
            for dy in (-RADIUS, RADIUS):
                corner = (y + dy).astype(int), (x + dx).astype(int)
                assert (grids[np.arange(32), corner[0], corner[1]] < 128).all()


def test_a_goal_pays_and_keeps_the_episode_and_the_goal() -> None:
    """Checklist A: +10, no end; respawn at rest and far away; apples back; the goal stays."""
    batch = started(maze(), 16, **BLIND)
    before = [objects(batch, i) for i in range(16)]
    reached = np.zeros(16, int)
    for _ in range(899):
        was = batch.info["position"].copy()
        batch.step(oracle_actions(batch))
        assert not batch.ended.any()
        for i in map(int, np.flatnonzero(batch.reward >= 10)):
            reached[i] += 1
            assert objects(batch, i) == before[i]
            assert np.hypot(*(batch.info["position"][i, :2] - was[i, :2])) > 1
            assert (batch.observation["velocity"][i] == 0).all()
    assert (reached >= 3).all()
    assert (batch.info["goals"][:, 0] == reached).all()
    assert (batch.info["latency"] > 0).all()
    batch.step(oracle_actions(batch))
    assert batch.truncated.all()  # 900 steps
    assert not batch.terminated.any()


def test_latencies_are_the_steps_to_the_first_and_later_goals() -> None:
    batch = started(maze(), **BLIND)
    times = []
    for t in range(899):
        batch.step(oracle_actions(batch))
        if batch.reward[0] >= 10:
            times.append(t + 1)
    later = np.diff(times)
    assert batch.info["latency"][0] == pytest.approx([times[0], later.mean()])


def test_apples_pay_once_until_the_map_starts_again() -> None:
    batch = started(maze(), **BLIND)
    (row, column), *_ = [at for at, kind in objects(batch).items() if kind == NUMBER["apple"]]
    place(batch, column + 0.5, row + 0.5, 0)
    batch.step(np.array([4]))
    assert batch.reward[0] == 1
    assert (row, column) not in objects(batch)
    batch.step(np.array([5]))
    assert batch.reward[0] == 0
    i = batch.states["counts"][0, s.GOAL_OBJECT]
    place(batch, batch.states["object_x"][0, i], batch.states["object_y"][0, i], 0)
    batch.step(np.array([4]))
    assert batch.reward[0] == 10
    assert objects(batch)[row, column] == NUMBER["apple"]


def test_spawns_look_in_multiples_of_a_turn_that_divides_the_circle() -> None:
    batch = started(maze(turn=22.5, layout="all_random"), 64, **BLIND)
    turns = np.degrees(batch.info["position"][:, 2]) / 22.5
    assert turns == pytest.approx(np.round(turns), abs=1e-4)
    assert len(np.unique(np.round(turns))) > 10


def test_the_goal_of_the_i_maze_is_in_any_arm_and_stays() -> None:
    batch = started(IMaze(), 64, **BLIND)
    goals = [at for i in range(64) for at, k in objects(batch, i).items() if k == NUMBER["goal"]]
    assert set(goals) == {(1, 1), (1, 9), (11, 1), (11, 9)}
    for _ in range(300):
        batch.step(oracle_actions(batch))
    after = [at for i in range(64) for at, k in objects(batch, i).items() if k == NUMBER["goal"]]
    assert after == goals
    assert (batch.info["goals"] > 2).all()
    kinds = list(objects(started(IMaze(apples=False), **BLIND)).values())
    assert kinds == [NUMBER["goal"]]


def walk_to(batch: Batch, row: int, column: int) -> float:
    """Put the agent on a square, let it look left once and return the reward."""
    place(batch, column + 0.5, row + 0.5, 0)
    batch.step(np.array([4]))
    return float(batch.reward[0])


def test_seek_avoid_starts_again_when_the_last_apple_is_taken() -> None:
    batch = started(SeekAvoid(), **BLIND)
    things = objects(batch)
    apples = [at for at, kind in things.items() if kind == NUMBER["apple"]]
    lemons = [at for at, kind in things.items() if kind == NUMBER["lemon"]]
    assert (len(apples), len(lemons)) == (15, 8)
    assert walk_to(batch, *lemons[0]) == -1
    assert all(walk_to(batch, *at) == 1 for at in apples[:-1])
    assert len(objects(batch)) == 1 + 7
    assert walk_to(batch, *apples[-1]) == 1
    assert objects(batch) == things
    again = started(SeekAvoid(), seed=5, **BLIND)
    assert objects(again) == things  # static: the same places in every episode
    assert SeekAvoid().time_limit == 300


def test_collect_ends_after_ten_things() -> None:
    batch = started(Collect(good="hat", bad="can"), autoreset="disabled", **BLIND)
    things = objects(batch)
    assert sorted(things.values()) == [NUMBER["hat"]] * 10 + [NUMBER["can"]] * 10
    for number, (at, kind) in enumerate(list(things.items())[:10]):
        assert walk_to(batch, *at) == (1 if kind == NUMBER["hat"] else -1)
        assert batch.terminated[0] == (number == 9)


def test_the_stairway_lets_nobody_have_both() -> None:
    batch = started(StairwayToMelon(), **BLIND)
    grid = squares(batch)
    row = 3
    assert (grid[row, 1:-1] < 128).all()
    assert walk_to(batch, row, 16) == 0  # the gate of the melon's way
    assert grid[row, 14] == 128  # is shut behind
    assert walk_to(batch, row, 17) == -1
    assert walk_to(batch, row, 19) == 20
    assert grid[row, 14] < 128  # a new start
    assert pose_of(batch)[:2] == (12.5, 3.5)
    assert walk_to(batch, row, 8) == 0
    assert grid[row, 10] == 128
    apples = [at for at, kind in objects(batch).items() if kind == NUMBER["apple"]]
    assert sum(walk_to(batch, *at) for at in apples) == 14
    assert grid[row, 10] < 128


def test_the_platform_pays_for_five_steps_and_stays() -> None:
    batch = started(WaterMaze(), **BLIND)
    platform = batch.states["pose"][0, [s.PLATFORM_X, s.PLATFORM_Y]].copy()
    x, y, heading = pose_of(batch)
    centre = math.degrees(math.atan2(7.5 - y, 7.5 - x)) % 360
    assert heading == pytest.approx(centre, abs=0.01)  # it starts facing the centre
    assert np.hypot(*(platform - 7.5)) <= 5.8
    place(batch, platform[0], platform[1], 0)
    rewards = []
    for action in (4, 5, 4, 5, 4, 5):
        batch.step(np.array([action]))
        rewards.append(float(batch.reward[0]))
    assert rewards[:5] == [1, 1, 1, 1, 1]
    assert (batch.states["pose"][0, [s.PLATFORM_X, s.PLATFORM_Y]] == platform).all()
    assert np.hypot(*(batch.info["position"][0, :2] - 7.5)) > 5  # back at the wall
    far = started(WaterMaze(), 200, **BLIND).states["pose"][:, [s.PLATFORM_X, s.PLATFORM_Y]] - 7.5
    assert np.hypot(*far.T).max() <= 5.8
    assert (np.hypot(*far.T) < 5.8 / math.sqrt(2)).mean() == pytest.approx(0.5, abs=0.12)


def test_keys_open_doors_of_their_colour_and_are_used_up() -> None:
    batch = started(KeysDoors(), observations=("pose",), labels=())
    first = NUMBER["red_key"]
    doors = {int(v) & 3: at for at, v in np.ndenumerate(squares(batch)) if v & 192 == 192}
    assert len(doors) == 4
    in_hall = [at for at in objects(batch) if 5 <= at[1] <= 9]
    assert len(in_hall) == 1
    at, total = in_hall[0], 0.0
    for _ in range(4):
        colour = objects(batch)[at] - first
        assert walk_to(batch, *at) == 1
        assert batch.observation["pose"][0, 3] == 1 + colour
        others = [c for c in doors if c != colour and squares(batch)[doors[c]] >= 128]
        if others:  # no other door opens
            assert _push(batch, doors[others[0]]) == 0
            assert squares(batch)[doors[others[0]]] >= 128
        total += _push(batch, doors[colour])
        assert squares(batch)[doors[colour]] < 128
        assert batch.observation["pose"][0, 3] == 0
        side = -1 if doors[colour][1] == 4 else 1
        at = next(
            a
            for a in objects(batch)
            if (a[1] - doors[colour][1]) * side > 0
            and abs(a[0] - doors[colour][0]) < 4
            and (a[0] < 5) == (doors[colour][0] < 5)
        )
    assert total == 4
    assert walk_to(batch, *at) == 50
    assert len(objects(batch)) == 5
    assert (np.array([squares(batch)[d] for d in doors.values()]) >= 128).all()


def _push(batch: Batch, door: tuple[int, int]) -> float:
    """Walk from the hall into a door and return what that pays."""
    left = door[1] == 4
    place(batch, door[1] + (1.3 if left else -0.3), door[0] + 0.5, 180 if left else 0)
    batch.step(np.array([0]))
    return float(batch.reward[0])


@pytest.mark.parametrize("family", [NavMaze(layout="all_random"), KeysDoors(), Collect(noise=20)])
def test_nothing_depends_on_batch_size_or_threads(family: Maze) -> None:
    """Pictures, labels and rewards of environment i are those of a batch of one, bit for bit."""
    batches = [Batch(family, 6), Batch(family, 6, threads=3)]
    single = Batch(family, 1)
    for batch in batches:
        batch.reset(7)
    single.reset(7 + 4)
    rng = np.random.default_rng(1)
    for _ in range(40):
        actions = rng.integers(0, 8, 6)
        for batch in batches:
            batch.step(actions)
        single.step(actions[4:5])
        for name in ("observation", "label", "info"):
            for key, array in getattr(batches[0], name).items():
                assert np.array_equal(array, getattr(batches[1], name)[key], equal_nan=True)
                assert np.array_equal(array[4], getattr(single, name)[key][0], equal_nan=True)
        assert np.array_equal(batches[0].reward, batches[1].reward)


def test_a_random_goal_maze_is_solved_by_the_oracle_far_above_chance() -> None:
    rng = np.random.default_rng(0)
    returns = {}
    for who in ("oracle", "random"):
        batch = started(maze(cells=(3, 3), spawn_distance=1, apples=0.0), 16, **BLIND)
        total = np.zeros(16)
        for _ in range(batch.time_limit):
            batch.step(oracle_actions(batch) if who == "oracle" else rng.integers(0, 8, 16))
            total += batch.reward
        returns[who] = total.mean()
    assert returns["oracle"] > 30
    assert returns["oracle"] > 10 * returns["random"]
    with pytest.raises(ValueError, match="use NavMaze or IMaze"):
        oracle_actions(started(SeekAvoid(), **BLIND))
