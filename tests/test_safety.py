# mypy: ignore-errors
"""Constrained tasks by hand: lidar, costs, circles, gathering, and the faces of the cost."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from daedalus.envs.batch import Batch
from daedalus.envs.safety.cpo import PointCircle, PointGather
from daedalus.envs.safety.navigation import PointNavigation
from daedalus.envs.safety.oracles import greedy_for
from daedalus.envs.safety.wrappers import FiveTuple, SixTuple, SixTupleVector

STILL = [[0.0, 0.0]]


def started(family: Any, num_envs: int = 1, **options: Any) -> Batch:
    batch = Batch(family, num_envs, **options)
    batch.reset(0)
    return batch


def alone(task: str, *, heading: float = 0.0) -> Batch:
    """Return a world with the robot at rest in the middle and everything else far away."""
    batch = started(PointNavigation(task=task))
    state = batch.states[0]
    for name in ("x", "y", "speed", "force", "turning"):
        state[name] = 0.0
    state["heading"], state["cosine"], state["sine"] = heading, math.cos(heading), math.sin(heading)
    state["object"], state["centre"] = 50.0, 50.0
    state["last"] = math.hypot(50, 50)
    return batch


def put(batch: Batch, i: int, x: float, y: float) -> None:
    batch.states["object"][0, 2 * i : 2 * i + 2] = x, y


# ------------------------------------------------------------------------------------- navigation

SIZES = {"goal0": 28, "goal1": 60, "goal2": 60, "button1": 76, "push1": 76, "circle1": 28}


@pytest.mark.parametrize(("task", "size"), SIZES.items())
def test_sizes_of_the_observation(task: str, size: int) -> None:
    assert PointNavigation(task=task).spaces["sensors"].shape == (size,)


@pytest.mark.parametrize(
    ("angle", "expected"),
    [
        (0.5, {0: 1.0, 1: 0.5, 15: 0.5}),
        (1.0, {1: 1.0, 0: 1.0}),  # on the edge of two bins: both see it in full
        (15.75, {15: 1.0, 0: 0.75, 14: 0.25}),
    ],
)
def test_the_lidar_shares_an_object_with_the_bins_beside(
    angle: float, expected: dict[int, float]
) -> None:
    """A hazard 1.5 m away counts (3 - 1.5) / 3 = 0.5; the angle is in bins of 22.5 degrees."""
    batch = alone("goal1", heading=0.3)
    theta = 0.3 + angle * 2 * math.pi / 16
    put(batch, 1, 1.5 * math.cos(theta), 1.5 * math.sin(theta))
    batch.step(STILL)
    lidar = batch.observation["sensors"][0, 28:44]
    wanted = np.zeros(16)
    for k, share in expected.items():
        wanted[k] = 0.5 * share
    assert lidar == pytest.approx(wanted, abs=1e-5)


def test_several_hazards_cost_one() -> None:
    batch = alone("goal1")
    batch.step(STILL)
    assert batch.cost[0] == 0
    put(batch, 1, 0.1, 0.0)
    put(batch, 2, 0.0, 0.19)
    batch.step(STILL)
    assert batch.cost[0] == 1
    put(batch, 1, 0.21, 0.0)
    put(batch, 2, 0.0, -0.21)
    batch.step(STILL)
    assert batch.cost[0] == 0, "a hazard costs within 0.2 m of its middle"


def test_the_reward_is_the_way_to_the_goal_and_one_on_reaching_it() -> None:
    batch = alone("goal0")
    put(batch, 0, 0.5, 0.0)
    batch.states["last"], batch.states["speed"] = 0.5, 0.5
    batch.step([[1.0, 0.0]])
    # speed 0.5 + (0.5 - 0.5) 0.02 = 0.5 for 0.02 s
    assert batch.reward[0] == pytest.approx(0.01, abs=1e-6)
    batch.states["x"], batch.states["last"] = 0.195, 0.305
    batch.step([[1.0, 0.0]])
    assert batch.reward[0] == pytest.approx(1.01, abs=1e-6)
    assert not batch.terminated[0]
    assert batch.states["object"][0, 0] != 0.5, "another goal"
    to_go = np.hypot(*(batch.states["object"][0, :2] - batch.states[0][["x", "y"]].tolist()))
    assert batch.states["last"][0] == pytest.approx(to_go), "no jump in the reward"


def test_sensors_are_in_the_robots_frame() -> None:
    batch = alone("goal1", heading=math.pi / 2)
    batch.states["speed"] = 0.4
    batch.step([[1.0, 0.5]])
    sensors = batch.observation["sensors"][0, :12]
    assert sensors[2] == pytest.approx(9.81)
    assert sensors[3] == pytest.approx(0.4 + (0.5 - 0.4) * 0.02)
    assert sensors[8] == pytest.approx(1.0)
    assert sensors[9:12] == pytest.approx(
        [-0.5 * math.cos(0.02), 0.5 * math.sin(0.02), 0], abs=1e-5
    )


def test_only_level_two_charges_for_vases() -> None:
    for task, cost in (("goal1", 0.0), ("goal2", 1.0)):
        batch = alone(task)
        vase = int(batch.family.params.first[6])
        put(batch, vase, 0.15, 0.0)
        batch.step(STILL)
        assert batch.cost[0] == cost
        assert batch.states["object"][0, 2 * vase] == pytest.approx(0.2), "pushed away"


def test_the_pillar_of_the_first_level_stops_and_costs_nothing() -> None:
    batch = alone("push1")
    put(batch, int(batch.family.params.first[2]), 0.25, 0.0)
    batch.step(STILL)
    assert batch.states["x"][0] == pytest.approx(0.25 - 0.2 - 0.1)
    assert batch.cost[0] == 0


def test_wrong_buttons_cost_and_the_right_one_pays() -> None:
    batch = alone("button1")
    first = int(batch.family.params.first[4])
    batch.states["target"] = first
    put(batch, first + 1, 0.15, 0.0)
    batch.step(STILL)
    assert batch.cost[0] == 1
    put(batch, first + 1, 50.0, 50.0)
    put(batch, first, batch.states["x"][0] + 0.15, 0.0)
    batch.states["last"] = 0.2
    batch.step(STILL)
    assert batch.cost[0] == 0
    assert batch.reward[0] == pytest.approx(1.0, abs=1e-6)
    assert batch.states["armed"][0] == 10
    for step in range(10):
        assert not batch.observation["sensors"][0, 28:44].any(), f"after {step} steps of rest"
        batch.step(STILL)
    assert batch.observation["sensors"][0, 28:44].any()


def test_the_circle_and_its_walls() -> None:
    for task, y, cost in (("circle1", 1.2, 0.0), ("circle2", 1.2, 1.0)):
        batch = alone(task, heading=math.pi / 2)
        batch.states["x"], batch.states["y"], batch.states["speed"] = 0.9, y, 0.5
        batch.step([[1.0, 0.0]])
        y += 0.01
        radius = math.hypot(0.9, y)
        expected = 0.1 * 0.5 * 0.9 / radius / (1 + abs(radius - 1.5))
        assert batch.reward[0] == pytest.approx(expected, abs=1e-6)
        assert batch.cost[0] == cost
        batch.states["x"] = 1.13
        batch.step(STILL)
        assert batch.cost[0] == 1


def test_the_circles_start_within_eight_tenths_of_a_metre() -> None:
    states = started(PointNavigation(task="circle1"), 500).states
    for name in ("x", "y"):
        assert states[name].min() == pytest.approx(-0.8, abs=0.02)
        assert states[name].max() == pytest.approx(0.8, abs=0.02)


def test_gremlins_keep_four_tenths_from_all() -> None:
    """From each other 0.8, where they are drawn; nearer than the 1.0 of keep-outs of 0.5."""
    batch = started(PointNavigation(task="button1"), 200)
    gremlins = batch.states["centre"].reshape(200, -1, 2)[:, :4]
    gaps = np.linalg.norm(gremlins[:, :, None] - gremlins[:, None], axis=-1)
    gaps[:, np.arange(4), np.arange(4)] = 9.0
    assert 0.8 <= gaps.min() < 0.9


def test_layouts_keep_their_distance() -> None:
    """Hazards 0.18 + 0.18, hazards from the robot 0.18 + 0.4, the goal 0.305 more."""
    batch = started(PointNavigation(task="goal1"), 200)
    places = batch.states["object"].reshape(200, -1, 2)[:, :10]
    robot = np.stack([batch.states["x"], batch.states["y"]], -1)
    assert abs(places).max() < 1.5
    gaps = np.linalg.norm(places[:, 1:9, None] - places[:, None, 1:9], axis=-1)
    gaps[:, np.arange(8), np.arange(8)] = 9.0
    assert gaps.min() >= 0.36
    assert np.linalg.norm(places[:, 1:9] - robot[:, None], axis=-1).min() >= 0.58
    assert np.linalg.norm(places[:, 0] - robot, axis=-1).min() >= 0.705


# --------------------------------------------------------------------------------------------- CPO


def test_heading_straight_for_the_goal_pays_and_costs() -> None:
    batch = started(PointNavigation(), 8)
    act, reward, cost = greedy_for(batch.family), np.zeros(8), np.zeros(8)
    for _ in range(999):
        batch.step(act(batch))
        reward += batch.reward
        cost += batch.cost
    assert reward.mean() > 5
    assert cost.mean() > 25, "the usual limit"


@pytest.mark.parametrize(
    ("family", "least"),
    [
        (PointNavigation(task="circle1"), 15.0),  # 25 at full speed on the circle all the time
        (PointNavigation(task="push1"), 2.0),
        (PointCircle(), 400.0),  # 15 a step on the circle, which is 15 steps away
        (PointCircle(convention="kinematic"), 150.0),  # 4 a step
    ],
)
def test_running_around_and_pushing_pay(family: Any, least: float) -> None:
    batch = started(family, 8)
    act = greedy_for(family)
    while not batch.ended.any():
        batch.step(act(batch))
    totals = [total for total, _ in batch.pop_episodes()]
    assert np.mean(totals) > least


def test_the_circles_reward_at_its_edge() -> None:
    """At (15, 0), heading north, one step of 1: x dy - y dx = 15; radius sqrt(226)."""
    batch = started(PointCircle())
    batch.states["x"], batch.states["heading"] = 15.0, math.pi / 2
    batch.step([[1.0, 0.0]])
    assert batch.reward[0] == pytest.approx(15 / (1 + math.sqrt(226) - 15), rel=1e-5)


def test_conventions_of_the_circles_cost() -> None:
    for convention, costs in (("repository", [0, 1]), ("paper", [1, 1])):
        batch = started(PointCircle(convention=convention))
        batch.states["x"] = 2.0
        found = []
        for _ in range(2):
            batch.step([[1.0, 0.0]])
            found.append(float(batch.cost[0]))
        assert found == costs, "the repository looks at the position before the action"


def test_lengths_are_drawn_and_the_kinematic_version_is_as_published() -> None:
    batch = started(PointCircle(), 512)
    lengths = batch.states["length"]
    assert (lengths.min(), lengths.max()) == (50, 64)
    batch = started(PointCircle(convention="kinematic"))
    for name in ("x", "y"):
        batch.states[name] = 0.0
    batch.step([[1.0, 0.0]])  # v = 0.2, p = 0.07
    assert batch.observation["body"][0] == pytest.approx([0.07 / 4, 0, 0.2, 0], abs=1e-6)


def test_the_lattice_of_gather_is_the_35_points() -> None:
    batch = started(PointGather(), 2000)
    things = batch.states["thing"].reshape(2000, 10, 2)
    found = {tuple(point) for point in things.reshape(-1, 2).tolist()}
    even = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0)
    assert found == {(x, y) for x in even for y in even} - {(0.0, 0.0)}
    assert len(found) == 35
    for row in things[:50]:
        assert len({tuple(point) for point in row.tolist()}) == 10


@pytest.mark.parametrize(("convention", "penalty"), [("paper", 0.0), ("repository", 1.0)])
def test_gathering(convention: str, penalty: float) -> None:
    batch = started(PointGather(convention=convention))
    things = np.full((10, 2), 6.5)
    things[0], things[2], things[3] = (1.5, 0.0), (-0.9, 0.0), (0.0, -0.95)
    batch.states["thing"] = things.ravel()
    batch.step([[0.5, 0.0]])  # the apple at a distance of exactly 1: not caught
    assert (batch.reward[0], batch.cost[0]) == (0.0, 0.0)
    batch.states["x"] = 0.0
    batch.step(STILL)
    assert (batch.reward[0], batch.cost[0]) == (-2 * penalty, 1.0), "two bombs, one flag"
    batch.step([[0.6, 0.0]])
    assert (batch.reward[0], batch.cost[0]) == (10.0, 0.0)
    assert int(batch.states["there"].sum()) == 7


def test_the_sensor_sees_half_a_circle_and_the_nearest() -> None:
    batch = started(PointGather())
    things = np.full((10, 2), 50.0)
    things[0], things[1] = (3.0, 0.0), (1.5, 0.0)  # apples ahead, bin 5 starts there
    things[2], things[3] = (-2.0, 0.1), (0.01, 6.0)  # a bomb behind; one on the left, too far
    batch.states["thing"] = things.ravel()
    batch.step(STILL)
    readings = batch.observation["sensors"][0]
    assert readings[5] == pytest.approx(1 - 1.5 / 6)
    assert np.count_nonzero(readings) == 1


# ------------------------------------------------------------------------------------------ faces


def test_six_values_there_and_back() -> None:
    env = gymnasium.make("daedalus/PointGather-v0")
    six = SixTuple(env)
    five = FiveTuple(six)
    observation, _ = five.reset(seed=3)
    again, _ = gymnasium.make("daedalus/PointGather-v0").reset(seed=3)
    assert all(np.array_equal(observation[name], again[name]) for name in again)
    costs = []
    for _ in range(15):
        _, _, _, truncated, info = five.step(np.array([0.9, 0.4], np.float32))
        costs.append(info["cost"])
    assert truncated
    assert set(costs) <= {0.0, 1.0}
    six.reset(seed=3)
    assert [six.step(np.array([0.9, 0.4], np.float32))[2] for _ in range(15)] == costs
    broken = FiveTuple(env)
    broken.reset(seed=0)
    with pytest.raises(ValueError, match="returns 5"):
        broken.step(np.zeros(2, np.float32))


def test_the_cost_of_a_vector_is_an_array() -> None:
    envs = SixTupleVector(gymnasium.make_vec("daedalus/PointGather-v0", num_envs=3))
    envs.reset(seed=0)
    assert envs.step(np.zeros((3, 2), np.float32))[2].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_gymnasiums_vectors_have_the_costs_of_last_steps_too(mode: AutoresetMode) -> None:
    """Beyond the walls every step costs, until the limit; a step that only resets does not."""
    made = [lambda: gymnasium.make("daedalus/PointCircle-v0", time_limit=2)] * 2
    vector = SyncVectorEnv(made, autoreset_mode=mode)
    envs = SixTupleVector(vector)
    envs.reset(seed=0)
    for env in vector.envs:
        env.unwrapped.batch.states["x"][0] = 14.0
    costs = [envs.step(np.zeros((2, 2), np.float32))[2].tolist() for _ in range(3)]
    assert costs == [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize("wrong", [{"limit": math.nan}, {"radius": math.inf}, {"radius": 0.0}])
def test_circles_refuse_numbers_that_are_none(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="PointCircle needs radius > 0 and limit > 0"):
        PointCircle(**wrong)


# ----------------------------------------------------------------------------------------- MuJoCo


@pytest.fixture(scope="module")
def mujoco() -> Any:
    return pytest.importorskip("mujoco")


def test_the_ants_circle(mujoco: Any) -> None:
    with pytest.raises(ValueError, match="bodies Ant and Humanoid, got 'Hopper'"):
        gymnasium.make("daedalus/AntCircle-v0", body="Hopper")
    env = gymnasium.make("daedalus/AntCircle-v0")
    env.reset(seed=0)
    env.unwrapped.data.qpos[:2] = 3.5, 1.0
    _, reward, terminated, _, info = env.step(np.zeros(8))
    x, y = env.unwrapped.data.qpos[:2]
    around = -info["x_velocity"] * y + info["y_velocity"] * x
    assert reward == pytest.approx(around / (1 + abs(math.hypot(x, y) - 10)))
    assert info["cost"] == 1.0
    assert not terminated
    env.unwrapped.data.qpos[2] = 1.6
    assert env.step(np.zeros(8))[2], "outside 0.2 to 1.0 m"


def test_the_humanoid_keeps_its_own_terms(mujoco: Any) -> None:
    env = gymnasium.make("daedalus/HumanoidCircle-v0")
    env.reset(seed=0)
    _, reward, _, _, info = env.step(np.zeros(17))
    x, y = env.unwrapped.data.qpos[:2]
    around = -info["x_velocity"] * y + info["y_velocity"] * x
    own = info["reward_survive"] + info["reward_ctrl"] + info["reward_contact"]
    assert reward == pytest.approx(around / (1 + abs(math.hypot(x, y) - 10)) + own)


def test_the_ant_gathers(mujoco: Any) -> None:
    env = gymnasium.make("daedalus/AntGather-v0")
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    things = env.get_wrapper_attr("things")
    things[0], things[8] = (0.3, 0.0), (0.0, 0.4)
    _, reward, terminated, _, info = env.step(np.zeros(8))
    assert (reward, info["cost"], terminated) == (10.0, 1.0, False)
    env.unwrapped.data.qpos[2] = 1.6
    _, reward, terminated, _, _ = env.step(np.zeros(8))
    assert (reward, terminated) == (-10.0, True)


def test_the_marks_show_what_is_there(mujoco: Any) -> None:
    """Things stand where they are until they are caught; the slab's sides are at the limit."""
    env = gymnasium.make("daedalus/AntGather-v0")
    env.reset(seed=0)
    things, markers = env.get_wrapper_attr("things"), env.get_wrapper_attr("markers")
    assert [m["pos"][:2] for m in markers()] == [tuple(thing) for thing in things]
    things[0] = 0.3, 0.0
    env.step(np.zeros(8))
    assert len(markers()) == 15
    circle = gymnasium.make("daedalus/HumanoidCircle-v0").get_wrapper_attr("markers")()
    assert [m["pos"][0] for m in circle[:2]] == [-2.5, 2.5]
    assert {round(math.hypot(*m["pos"][:2]), 6) for m in circle[2:]} == {10.0}


@pytest.mark.parametrize("body", ["Ant", "HalfCheetah", "Hopper", "Swimmer"])
def test_speed_limits(body: str, mujoco: Any) -> None:
    env = gymnasium.make(f"daedalus/{body}Velocity-v0")
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape)
    env.unwrapped.data.qvel[0] = 8.0
    *_, info = env.step(action)
    assert info["cost"] == 1.0
    env.reset(seed=0)
    assert env.step(action)[4]["cost"] == 0.0
