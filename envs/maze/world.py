"""The kernels of the maze world: what a step does and what is seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from daedalus.envs.maze import state as s
from daedalus.envs.maze.compiling import kernel
from daedalus.envs.maze.kinds import GATE, GOAL, KEY, NUMBER
from daedalus.envs.maze.labels import closes_loop, label_depth, remember
from daedalus.envs.maze.motion import accelerate, move, turn_of, wrapped
from daedalus.envs.maze.paint import paint_objects, paint_walls
from daedalus.envs.maze.placement import POOL, change_square, clear_square, lay_out, start_map
from daedalus.envs.maze.raycast import SOLID, look
from daedalus.envs.maze.state import Arrays, Params
from daedalus.envs.maze.symbolic import look_around, quarter_of
from daedalus.envs.random import NOISE, mix

KEY_TEXEL = 4 * 16 + 7
_FIRST_KEY = NUMBER["red_key"]


@kernel
def _touch(state: Any, rules: Any, square: int) -> float:
    """Touch the object on a square and return its reward."""
    i = np.int64(state.item[square]) - 1
    kind = np.int64(state.object_kind[i])
    effect, counts = rules.kind_effect[kind], state.counts
    if effect == KEY and counts[s.KEY_HELD] > 0:
        return 0.0
    clear_square(state, square, i)
    restart = effect == GOAL
    if effect == GATE:
        change_square(state, np.int64(state.object_link[i]), SOLID)
    else:
        counts[s.PICKUPS] += 1
    if effect == KEY:
        counts[s.KEY_HELD] = 1 + kind - _FIRST_KEY
    reward = np.float64(rules.kind_reward[kind])
    if effect == 0 and reward > 0:
        counts[s.LEFT] -= 1
        restart = counts[s.LEFT] == 0 and rules.restart_when_clear
    if effect == GOAL:
        _count_goal(counts)
    if restart:
        start_map(state, rules)
    return reward


@kernel
def _count_goal(counts: np.ndarray) -> None:
    steps = counts[s.POSITIONS] - counts[s.LAST_START]
    if counts[s.GOALS] == 0:
        counts[s.FIRST_GOAL] = steps
    else:
        counts[s.LATER_STEPS] += steps
    counts[s.GOALS] += 1


@kernel
def _swim(state: Any, rules: Any) -> float:
    """Return 1 on the hidden platform; enough hits start the map again."""
    pose = state.pose
    dx, dy = pose[s.X] - pose[s.PLATFORM_X], pose[s.Y] - pose[s.PLATFORM_Y]
    if dx * dx + dy * dy > rules.platform_radius * rules.platform_radius:
        return 0.0
    state.counts[s.HITS] += 1
    if state.counts[s.HITS] >= rules.platform_hits:
        _count_goal(state.counts)
        start_map(state, rules)
    return 1.0


@kernel
def _walk(state: Any, rules: Any, action: int) -> int:
    """Turn, accelerate and move; return the door that is pushed with its key, or -1."""
    pose = state.pose
    turn = turn_of(action) * rules.turn
    heading = wrapped(pose[s.HEADING] + turn)
    cosine, sine = np.float32(math.cos(heading)), np.float32(math.sin(heading))
    forward = accelerate(pose[s.FORWARD_SPEED], action, 0, rules.speed, rules.gain)
    right = accelerate(pose[s.SIDE_SPEED], action, 1, rules.speed, rules.gain)
    x0, y0 = pose[s.X], pose[s.Y]
    dx, dy = cosine * forward - sine * right, sine * forward + cosine * right
    x, y, door = move(state.grid, rules.width, (x0, y0), (dx, dy), state.counts[s.KEY_HELD])
    pose[s.X], pose[s.Y], pose[s.HEADING], pose[s.TURN] = x, y, heading, turn
    pose[s.FORWARD_SPEED] = cosine * (x - x0) + sine * (y - y0)
    pose[s.SIDE_SPEED] = cosine * (y - y0) - sine * (x - x0)
    remember(state)
    return door


@kernel
def advance(state: Any, rules: Any, action: int) -> tuple[float, bool]:
    """Move, then take what lies there; return the reward and whether the episode is over."""
    door = _walk(state, rules, action)
    reward = 0.0
    if door >= 0:
        change_square(state, door, np.int64(1))
        state.counts[s.KEY_HELD] = 0
        reward += rules.door_reward
    square = np.int64(state.pose[s.Y]) * rules.width + np.int64(state.pose[s.X])
    if state.item[square] > 0:
        reward += _touch(state, rules, square)
    if rules.task == POOL:
        reward += _swim(state, rules)
    return reward, rules.max_pickups > 0 and state.counts[s.PICKUPS] >= rules.max_pickups


@kernel
def _add_noise(key: np.uint64, table: np.ndarray, rgb: np.ndarray) -> None:
    """Add normal noise from a table, read from another place in every frame."""
    at, mask = mix(key), np.uint64(table.size - 1)
    for i in range(rgb.size):
        if i & 63 == 0:
            at = mix(at)
        value = np.int64(rgb[i]) + np.int64(table[(at + np.uint64(i & 63)) & mask])
        rgb[i] = np.uint8(min(max(value, 0), 255))


@kernel
def _show_key(colour: int, width: int, rgb: np.ndarray) -> None:
    """Show the held key's colour at the bottom, over a tenth of the width."""
    height = rgb.size // (3 * width)
    for y in range(height - height // 12 - 1, height):
        for k in range(width * 9 // 20, width * 11 // 20 + 1):
            for c in range(3):
                rgb[3 * (y * width + k) + c] = np.uint8((colour >> (8 * c)) & 255)


@kernel
def draw_view(
    grid: np.ndarray,
    pose: np.ndarray,
    objects: tuple[np.ndarray, np.ndarray, np.ndarray],
    params: Params,
    rgb: np.ndarray,
    depth_label: np.ndarray,
) -> None:
    """Draw the first-person picture and the depth label, each if its array is not empty.

    Args:
        grid: uint8 (N,).
        pose: float32 (8,), see `state`.
        objects: x and y float32 (K,), kind uint8 (K,).
        params: All parameters.
        rgb: uint8 (H * W * 3,), or empty.
        depth_label: uint8 (4, 16), or empty.
    """
    rules = params.rules[0]
    width = params.slope.size
    n = objects[2].size
    scratch = np.empty(3 * width + 4 * n, np.float32)
    columns, seen = scratch[: 3 * width].reshape(3, width), scratch[3 * width :].reshape(n, 4)
    texel, depth = np.empty((2, width), np.int32), columns[0]
    heading = pose[s.HEADING]
    cosine, sine = np.float32(math.cos(heading)), np.float32(math.sin(heading))
    camera = (pose[s.X], pose[s.Y], cosine, sine)
    look(grid, rules.width, camera, params.slope, columns, texel)
    if depth_label.size > 0:
        label_depth(depth, params.background.size, rules.focal, rules.depth_edges, depth_label)
    if rgb.size > 0:
        textures, background = params.textures, params.background
        paint_walls(columns, texel[0], textures, background, rules.focal, rgb)
        sprites, sizes = params.sprites, rules.sizes
        paint_objects(depth, rules.focal, camera, objects, sprites, sizes, seen, rgb)


@kernel
def _observe_view(state: Any, params: Params, rgb: np.ndarray, depth: np.ndarray) -> None:
    counts = state.counts
    n = np.int64(counts[s.OBJECTS])
    objects = (state.object_x[:n], state.object_y[:n], state.object_kind[:n])
    draw_view(state.grid[:], state.pose[:], objects, params, rgb, depth)
    if rgb.size > 0:
        if counts[s.KEY_HELD] > 0:
            sprite = _FIRST_KEY + np.int64(counts[s.KEY_HELD]) - 1
            _show_key(np.int64(params.sprites[sprite, KEY_TEXEL]), params.slope.size, rgb)
        if params.noise.size > 0:
            key = state.stream_key[NOISE] + np.uint64(counts[s.POSITIONS])
            _add_noise(key, params.noise, rgb)


@kernel
def _observe_pose(state: Any, out: np.ndarray) -> None:
    """Fill ``pose``: offsets ahead and right in the square, angle beyond the window's, key."""
    quarter = quarter_of(state.pose[s.HEADING])
    x, y, heading = state.pose[s.X], state.pose[s.Y], state.pose[s.HEADING]
    dx, dy = x - np.floor(x) - np.float32(0.5), y - np.floor(y) - np.float32(0.5)
    cosine, sine = (1, 0, -1, 0)[quarter], (0, 1, 0, -1)[quarter]
    angle = heading - np.float32(quarter * (math.pi / 2))
    out[0] = cosine * dx + sine * dy
    out[1] = cosine * dy - sine * dx
    out[2] = angle - np.float32(2 * math.pi) if angle > np.float32(math.pi) else angle
    out[3] = state.counts[s.KEY_HELD]


def reset(state: Any, params: Params) -> None:
    """Lay out a new episode and start its map."""
    rules = params.rules[0]
    lay_out(state, rules)
    start_map(state, rules)


def step(state: Any, action: int, params: Params) -> tuple[float, bool]:
    """Act once; see `advance`."""
    return advance(state, params.rules[0], action)


def observe(state: Any, params: Params, out: Arrays) -> None:
    """Fill the arrays that are asked for."""
    rules, pose, counts = params.rules[0], state.pose, state.counts
    if out.image.size > 0 or out.depth.size > 0:
        _observe_view(state, params, out.image.reshape(-1), out.depth)
    if out.velocity.size > 0:
        out.velocity[0], out.velocity[1] = pose[s.FORWARD_SPEED], pose[s.SIDE_SPEED]
        out.velocity[5] = pose[s.TURN]
    if out.window.size > 0:
        look_around(state.symbols, rules, pose, out.window)
    if out.pose.size > 0:
        _observe_pose(state, out.pose)
    if out.loop_closure.size > 0:
        out.loop_closure[0] = closes_loop(state, rules.loop_near, rules.loop_far)
    if out.position.size > 0:
        out.position[0], out.position[1], out.position[2] = pose[s.X], pose[s.Y], pose[s.HEADING]
    if out.cell.size > 0:
        row, column = np.int64(pose[s.Y]), np.int64(pose[s.X])
        out.cell[0] = (row >> rules.cell_shift) * rules.cell_columns + (column >> rules.cell_shift)
    if out.goals.size > 0:
        out.goals[0] = counts[s.GOALS]
    if out.latency.size > 0:
        later = counts[s.GOALS] - 1
        out.latency[0] = counts[s.FIRST_GOAL]
        out.latency[1] = counts[s.LATER_STEPS] / later if later > 0 else -1.0
