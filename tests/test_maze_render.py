"""What is seen in mazes: the picture against NumPy bit for bit, objects, labels, window, map."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from maze_tools import maze, objects, open_room, place, squares, started
from numpy.testing import assert_array_equal

from daedalus.envs.batch import Batch
from daedalus.envs.cache import jit
from daedalus.envs.maze import state as s
from daedalus.envs.maze.arena import Collect, SeekAvoid
from daedalus.envs.maze.family import DEPTH_EDGES, Maze
from daedalus.envs.maze.keys import KeysDoors
from daedalus.envs.maze.kinds import NUMBER
from daedalus.envs.maze.labels import closes_loop, remember
from daedalus.envs.maze.nav import NavMaze
from daedalus.envs.maze.oracle import oracle_actions
from daedalus.envs.maze.raycast import cast_ray, look

F = np.float32


def see(batch: Batch) -> np.ndarray:
    """Turn left and right again, so that the arrays show what was set by hand; return the image."""
    x, y, heading = (float(v) for v in batch.states["pose"][0, :3])
    place(batch, x, y, math.degrees(heading) - batch.family.options.turn)  # type: ignore[attr-defined]
    batch.step(np.array([5]))
    image: np.ndarray = batch.observation.get("image", np.zeros((1, 0)))[0]
    return image


def columns_of(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Return depth and first texel of every column of the picture."""
    params, state = batch.family.params, batch.states[0]
    width = params.slope.size
    depth, texel = np.zeros((3, width), F), np.zeros((2, width), np.int32)
    heading = float(state["pose"][s.HEADING])
    camera = (state["pose"][0], state["pose"][1], F(math.cos(heading)), F(math.sin(heading)))
    grid = np.array(state["grid"])
    look(grid, int(params.rules[0]["width"]), camera, params.slope, depth, texel)
    return depth[0], texel[0]


@pytest.mark.parametrize("image", [(84, 84), (42, 42), (21, 21), (120, 160), (16, 16), (37, 50)])
def test_the_picture_is_that_of_numpy(image: tuple[int, int]) -> None:
    """Walls, ceiling and floor, computed again without blocks and vectors, bit for bit."""
    batch = started(maze(image=image, apples=0.0, layout="all_random"))
    params = batch.family.params
    batch.states["object_first"] = batch.states["object_kind"] = 0  # nothing in sight but walls
    rng = np.random.default_rng(0)
    for _ in range(30):
        batch.step(rng.integers(0, 8, 1))
        depth, texel = columns_of(batch)
        step = depth * (F(16) / F(params.rules[0]["focal"]))
        start = F(24) - F(image[0] - 1) * F(0.5) * step
        rows = np.arange(image[0], dtype=np.float64)[:, None]
        at = (step.astype(float) * rows + start.astype(float)).astype(F).astype(int) - 16
        inside = (at >= 0) & (at < 16)
        wall = params.textures[np.where(inside, texel + at, 0)]
        pixels = np.where(inside, wall, params.background[:, None])
        expected = np.stack([pixels >> shift & 255 for shift in (0, 8, 16)], -1)
        assert_array_equal(batch.observation["image"][0], expected.astype(np.uint8))


def test_columns_between_traced_rays_see_what_a_ray_of_their_own_would() -> None:
    """The shortcut of `find_faces` against a march in small steps along every ray."""
    batch = started(maze(layout="all_random", cells=(9, 15)))
    rng = np.random.default_rng(0)
    for _ in range(15):
        batch.step(rng.integers(0, 8, 1))
        depth, _ = columns_of(batch)
        x, y, heading = (float(v) for v in batch.states["pose"][0, :3])
        grid, z = squares(batch), np.arange(0, 45, 0.002)
        for k, slope in enumerate(batch.family.params.slope.astype(float)):
            dx = math.cos(heading) - math.sin(heading) * slope
            dy = math.sin(heading) + math.cos(heading) * slope
            rows = np.clip((y + z * dy).astype(int), 0, grid.shape[0] - 1)
            columns = np.clip((x + z * dx).astype(int), 0, grid.shape[1] - 1)
            assert z[np.argmax(grid[rows, columns] >= 128)] == pytest.approx(depth[k], abs=0.03)


def test_a_ray_names_the_face_it_hits() -> None:
    grid = np.full((5, 7), 128, np.uint8)
    grid[1:-1, 1:-1] = 1
    hits = [(1, 0, 2 * 7 + 6, 0), (-1, 0, 2 * 7, 0), (0, 1, 4 * 7 + 3, 1), (0, -1, 3, 1)]
    for dx, dy, square, axis in hits:
        assert cast_ray(grid.ravel(), 7, F(3.5), F(2.5), F(dx), F(dy)) == 2 * square + axis


@pytest.mark.parametrize("distance", [0.3, 0.45, 0.7, 0.85, 1.0, 1.2, 1.5, 2.5])
def test_depth_of_a_wall_at_a_known_distance(distance: float) -> None:
    """The middle rows hold the wall's bin; the outer ones are capped by floor and ceiling."""
    batch = started(maze())
    open_room(batch)
    place(batch, 20 - distance, 5.5, 0)
    see(batch)
    label = batch.label["depth"][0]
    assert (label[1:3, 4:12] == int(np.digitize(distance, DEPTH_EDGES))).all()
    capped = min(distance, 42 * 0.5 / (1.5 * 0.15 * 84))
    assert (label[[0, 3], 4:12] == int(np.digitize(capped, DEPTH_EDGES))).all()


def test_depth_bins_follow_the_mean_over_columns() -> None:
    batch = started(maze(layout="all_random"))
    rng = np.random.default_rng(3)
    bounds = (0.05 * 84 + np.arange(17) * ((1 - 2 * 0.05) / 16 * 84)).astype(int)
    caps = 42 * 0.5 / (np.array([1.5, 0.5, 0.5, 1.5]) * 0.15 * 84)
    for _ in range(40):
        batch.step(rng.integers(0, 8, 1))
        depth, _ = columns_of(batch)
        groups = [depth[a:b] for a, b in itertools.pairwise(bounds)]
        means = np.array([[np.minimum(group, cap).mean() for group in groups] for cap in caps])
        close = np.abs(means[..., None] - DEPTH_EDGES).min(-1) < 1e-5
        assert ((batch.label["depth"][0] == np.digitize(means, DEPTH_EDGES)) | close).all()


def test_depth_bins_are_about_equally_frequent() -> None:
    batch = started(maze(layout="all_random"), 64, labels=("depth",), observations=("velocity",))
    rng = np.random.default_rng(0)
    counts = np.zeros(8)
    for t in range(150):
        batch.step(oracle_actions(batch) if t % 2 else rng.integers(0, 8, 64))
        counts += np.bincount(batch.label["depth"].ravel(), minlength=8)
    share = counts / counts.sum()
    assert share.min() > 0.03
    assert share.max() < 0.35


@jit
def _trace(states: Any, path: np.ndarray, near: np.float32, far: np.float32) -> np.ndarray:
    labels = np.zeros(path.shape[0], np.bool_)
    for k in range(path.shape[0]):
        states[0].pose[0], states[0].pose[1] = path[k, 0], path[k, 1]
        remember(states[0])
        labels[k] = closes_loop(states[0], near, far)
    return labels


def _labels(path: np.ndarray, near: float = 1.0, far: float = 2.0) -> np.ndarray:
    states = np.zeros(1, maze().state_dtype)
    labels: np.ndarray = _trace(states, path.astype(F), F(near), F(far))
    return labels


def test_loop_closure_on_a_square_path() -> None:
    """Round a square of side 4 in steps of 0.5: the label comes on less than 1 from the start."""
    t, zero, four = np.arange(0, 4, 0.5), np.zeros(8), np.full(8, 4.0)
    sides = [(t, zero), (four, t), (4 - t, four), (zero, 4 - t)]
    path = np.concatenate([np.stack(side, 1) for side in sides])
    path = np.concatenate([path, path[:1]])  # back at the start
    assert np.flatnonzero(_labels(path)).tolist() == [31, 32]  # (0, 0.5) and (0, 0)


def test_loop_closure_needs_a_far_place_in_between() -> None:
    short = np.concatenate([np.arange(0, 1.75, 0.25), np.arange(1.75, -0.25, -0.25)])
    assert not _labels(np.stack([short, 0 * short], 1)).any()  # never more than 2 away
    x = np.concatenate([np.arange(0, 3.1, 0.25), np.arange(3, -0.1, -0.25)])
    expected = [
        any(abs(x[t] - x[a]) < 1 and (abs(x[t] - x[a:t]) > 2).any() for a in range(t))
        for t in range(x.size)
    ]
    assert _labels(np.stack([x, 0 * x], 1)).tolist() == expected
    assert expected[-1]


def test_loop_closure_is_that_of_looking_at_every_pair() -> None:
    """Chunks and the ring against the definition, on walks with jumps."""
    rng = np.random.default_rng(0)
    for _ in range(4):
        turns = np.cumsum(rng.normal(0, 0.5, 700))
        path = np.cumsum(0.25 * np.stack([np.cos(turns), np.sin(turns)], 1), 0)
        path[300:] += rng.uniform(-5, 5, 2)
        path = path.astype(F)
        labels = _labels(path)
        for t in rng.integers(1, 700, 150):
            distance = ((path[:t] - path[t]) ** 2).sum(1)
            distant = np.flatnonzero(distance > 4)
            expected = distant.size > 0 and (distance[: distant[-1]] < 1).any()
            assert labels[t] == expected


def test_loop_closure_is_new_in_every_episode() -> None:
    batch = started(maze(), observations=("velocity",), labels=("loop_closure",))
    open_room(batch)
    place(batch, 3.5, 3.5, 0)
    seen = []
    for action in [0] * 20 + [1] * 24:
        batch.step(np.array([action]))
        seen.append(int(batch.label["loop_closure"][0, 0]))
    assert seen[:20] == [0] * 20
    assert seen[-1] == 1
    batch.reset()
    assert batch.label["loop_closure"][0, 0] == 0


def test_an_object_is_seen_in_its_colour_unless_a_wall_hides_it() -> None:
    batch = started(maze())
    open_room(batch)
    state = batch.states[0]
    state["object_x"][0], state["object_y"][0], state["object_kind"][0] = 8.5, 5.5, NUMBER["apple"]
    state["counts"][s.OBJECTS] = 1
    place(batch, 5.5, 5.5, 0)

    def red(image: np.ndarray) -> np.ndarray:
        pixels = image.astype(int)
        shown: np.ndarray = (pixels[..., 0] > 150) & (pixels[..., 1] < 70) & (pixels[..., 2] < 80)
        return shown

    rows, columns = np.nonzero(red(see(batch)))
    assert columns.mean() == pytest.approx(41.5, abs=1)  # straight ahead
    assert rows.min() > 41  # it stands on the floor,
    assert rows.max() <= 42 + 42 * 0.5 / 3 + 1  # three squares away
    assert np.ptp(columns) == pytest.approx(42 * 0.4 / 3 * 0.84, abs=2)
    squares(batch)[5, 7] = 128
    assert not red(see(batch)).any()
    squares(batch)[5, 7] = 1
    place(batch, 5.5, 5.5, 180)
    assert not red(see(batch)).any()


def test_the_nearer_object_covers_the_farther() -> None:
    def picture(order: list[int]) -> np.ndarray:
        batch = started(maze())
        open_room(batch)
        state = batch.states[0]
        for slot, which in enumerate(order):
            state["object_x"][slot], state["object_y"][slot] = (7.5, 9.0)[which], 5.5
            state["object_kind"][slot] = (NUMBER["apple"], NUMBER["watermelon"])[which]
        state["counts"][s.OBJECTS] = 2
        place(batch, 5.5, 5.5, 0)
        return see(batch)

    assert_array_equal(picture([0, 1]), picture([1, 0]))
    assert picture([0, 1])[50, 41, 0] > 150  # the apple in front


def test_the_key_that_is_held_is_shown() -> None:
    batch = started(KeysDoors())
    batch.states["counts"][0, s.KEY_HELD] = 3
    red, green, blue = see(batch)[82, 42].astype(int)
    assert blue > max(red, green) + 60


def test_inverted_colours_are_complements() -> None:
    plain, inverted = started(Collect()), started(Collect(invert_colors=True))
    assert_array_equal(255 - plain.observation["image"], inverted.observation["image"])


def test_noise_is_normal_and_the_same_for_the_same_seed() -> None:
    plain, noisy, again = started(Collect()), started(Collect(noise=12)), started(Collect(noise=12))
    difference = noisy.observation["image"].astype(int) - plain.observation["image"]
    inner = difference[(plain.observation["image"] > 60) & (plain.observation["image"] < 190)]
    assert inner.mean() == pytest.approx(0, abs=0.6)
    assert inner.std() == pytest.approx(12, abs=0.8)
    assert_array_equal(noisy.observation["image"], again.observation["image"])
    noisy.step(np.array([4]))
    assert not np.array_equal(noisy.observation["image"], again.observation["image"])


def test_textures_looks_and_black_things_differ() -> None:
    variants = [
        Collect(),
        Collect(textures=8),
        Collect(look="desert"),
        Collect(bad_color=(0, 0, 0)),
        Collect(good="mushroom", bad="lemon"),
    ]
    moments = []
    for variant in variants:
        batch = started(variant)
        place(batch, 8.5, 8.5, 0)
        images = []
        for _ in range(43):  # once round
            batch.step(np.array([5]))
            images.append(batch.observation["image"][0].copy())
        moments.append(np.stack(images))
    for a, b in itertools.combinations(moments, 2):
        assert (a != b).any()


def test_the_window_is_the_map_turned_with_the_agent() -> None:
    batch = started(maze(), observations=("window", "pose"), labels=())
    grid = squares(batch)
    symbols = (grid < 128).astype(int)
    for (row, column), kind in objects(batch).items():
        symbols[row, column] = 6 + kind
    padded = np.pad(symbols, 7)
    for row, column in np.argwhere((grid < 128) & (symbols == 1))[::3]:
        for quarter in range(4):
            place(batch, column + 0.7, row + 0.5, 90 * quarter + 8.4 + 5)
            batch.step(np.array([4]))
            around = padded[row : row + 15, column : column + 15]  # the agent in the middle
            turned = np.rot90(around, quarter + 1)  # what was ahead is up
            assert_array_equal(batch.observation["window"][0], turned[1:8, 4:11])
            ahead = np.array([math.cos(quarter * math.pi / 2), math.sin(quarter * math.pi / 2)])
            pose = [0.2 * ahead[0], 0.2 * -ahead[1], math.radians(5), 0]
            assert batch.observation["pose"][0] == pytest.approx(pose, abs=1e-4)


def test_the_cell_is_numbered_row_by_row() -> None:
    batch = started(maze(), observations=("velocity",), labels=())
    open_room(batch)
    for row, column in itertools.product(range(5), range(10)):
        place(batch, 2 * column + 1.5, 2 * row + 1.5, 0)
        batch.step(np.array([4]))
        assert batch.info["cell"][0, 0] == row * 10 + column


@pytest.mark.parametrize("family", [NavMaze(), NavMaze(image=(21, 42)), SeekAvoid(), KeysDoors()])
def test_the_picture_for_people_shows_view_and_map(family: Maze) -> None:
    batch = started(family)
    picture = batch.render(0)
    view = round(384 * family.options.image[1] / family.options.image[0])
    assert picture.shape == (384, view + 12 + 384, 3)
    assert picture.dtype == np.uint8
    assert_array_equal(picture, batch.render(0))
    assert len(np.unique(picture[:, :view].reshape(-1, 3), axis=0)) > 20
    batch.step(np.array([4]))
    assert not np.array_equal(picture, batch.render(0))


def test_the_window_cut_as_a_tile_is_the_one_walked_square_by_square() -> None:
    """Seven by seven squares are turned by one permutation, nine by nine are looked up."""
    common: dict[str, Any] = {"labels": (), "observations": ("window",)}
    tile = started(maze(layout="all_random"), 32, **common)
    squares_ = started(maze(layout="all_random", view_size=9), 32, **common)
    rng = np.random.default_rng(0)
    for _ in range(200):
        actions = rng.integers(0, 8, 32)
        tile.step(actions)
        squares_.step(actions)
        assert_array_equal(tile.observation["window"], squares_.observation["window"][:, 2:, 1:-1])
