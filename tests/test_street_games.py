"""The rules of the street games, against rewards computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from street_towns import (
    SYMBOLS,
    breadth_first,
    drive,
    one,
    place_at,
    put,
    write_graphml,
    write_line,
)

from daedalus.envs.batch import Batch
from daedalus.envs.streets.courier import draw_place, has_coin, reach_now
from daedalus.envs.streets.games import StreetCoins, StreetInstructions, StreetTaxi
from daedalus.envs.streets.oracle import oracle_for
from daedalus.envs.streets.state import LOG
from daedalus.envs.streets.town import find_landmarks

FORWARD, LEFT, FAR_LEFT, RIGHT, FAR_RIGHT = range(5)
TURN_ROUND = [FAR_RIGHT, FAR_RIGHT, RIGHT, RIGHT]  # 180 degrees


@pytest.fixture
def line(tmp_path: Path) -> str:
    """Return a file with ten places on a line to the north."""
    return write_line(tmp_path / "line.graphml")


def on_the_line(line: str, start: int, goal: int, **parameters: Any) -> Batch:
    """Return a taxi at place ``start`` of the line whose goal is place ``goal``."""
    family = StreetTaxi(streets=line, **({"coins": 0.0} | parameters))
    batch = one(family)
    places = [place_at(family, 0, 10 * k) for k in range(10)]
    put(batch, places[goal], places[start])
    return batch


# --------------------------------------------------------------------------------------- courier


def test_rewards_on_a_line_by_hand(line: str) -> None:
    """Ten places, radii 20 / 50 m, goal 90 m ahead: R = 10 places on the way.

    Less than 50 m away, at 40, 30 m: 10 (50 - d) / 30. Found at 20 m: 10.
    """
    batch = on_the_line(line, 0, 9, min_radius=20.001, max_radius=50.0)
    assert batch.states["goal_reward"][0] == 10
    rewards = drive(batch, [FORWARD] * 7)
    assert rewards == pytest.approx([0, 0, 0, 0, 10 / 3, 20 / 3, 10], abs=2e-3)
    assert batch.info["goals"][0] == 1
    assert batch.info["latency"][0, 0] == 7


def test_a_place_pays_once_and_only_a_new_least_distance_pays(line: str) -> None:
    batch = on_the_line(line, 4, 9, min_radius=20.001, max_radius=50.0)
    assert drive(batch, [FORWARD]) == pytest.approx([6 / 3], abs=2e-3)  # at 40 m; R = 6
    assert drive(batch, [*TURN_ROUND, FORWARD, *TURN_ROUND, FORWARD]) == [0.0] * 10
    assert drive(batch, [FORWARD]) == pytest.approx([4.0], abs=2e-3)  # at 30 m


def test_starting_within_the_radius_pays_for_progress_only(line: str) -> None:
    batch = on_the_line(line, 6, 9, min_radius=20.001, max_radius=50.0)
    assert drive(batch, [LEFT, RIGHT]) == [0.0, 0.0]
    assert drive(batch, [FORWARD]) == [4.0]  # found: R = 4


def test_success_weighted_by_path_length_by_hand(line: str) -> None:
    """From 3 to 0, found at 1: shortest 4 - 1; via 9 nine places are visited, actual 9 - 1."""
    batch = on_the_line(line, 3, 0, min_radius=15.0, max_radius=50.0)
    drive(batch, [LEFT, RIGHT, *[FORWARD] * 6, *TURN_ROUND, *[FORWARD] * 8])
    assert batch.info["goals"][0] == 1
    assert batch.states["spl"][0] == pytest.approx(3 / 8)
    assert batch.info["spl"][0] == pytest.approx(3 / 8 / 2)  # the unfinished goal counts


def test_a_goal_times_out_without_penalty(line: str) -> None:
    batch = on_the_line(line, 0, 9, goal_timeout=3, min_radius=1.0, max_radius=2.0)
    drive(batch, [LEFT] * 3)
    assert batch.states["since_goal"][0] == 3
    assert drive(batch, [LEFT]) == [0.0]
    assert batch.states["since_goal"][0] == 0
    assert batch.info["goals"][0] == 0
    assert not batch.ended[0]


def test_the_reward_of_a_goal_is_the_length_of_a_search() -> None:
    family = StreetTaxi()
    batch = Batch(family, 24, observations=SYMBOLS)
    batch.reset(5)
    for state in batch.states:
        moves = breadth_first(family.town, int(state["place"]))[state["goal"]]
        assert state["goal_reward"] == moves + 1


@pytest.mark.parametrize("streets", ["west_oakland", "city:3500:2"])
def test_the_oracle_finds_goals_with_an_spl_of_one(streets: str) -> None:
    family = StreetTaxi(streets=streets)
    batch, act = Batch(family, 16, observations=SYMBOLS), oracle_for(family)
    batch.reset(0)
    for _ in range(400):
        batch.step(act(batch))
    goals = batch.info["goals"][:, 0]
    assert goals.min() >= 1
    assert batch.states["spl"] == pytest.approx(goals)


def test_goals_are_neither_here_nor_the_last_and_within_the_reach() -> None:
    family = StreetTaxi(streets="city:2500", near=300, far=300)
    batch = one(family)
    state, params = batch.states[0], family.params
    position = family.town.graph.position
    here, last = int(state["place"]), int(state["goal"])
    rules = params.rules[0]
    drawn = [draw_place(state, params.places, params.cells, rules) for _ in range(20_000)]
    count = np.bincount(drawn, minlength=family.town.graph.size)
    allowed = np.hypot(*(position - position[here]).T) <= 300
    allowed[[here, last]] = False
    assert not count[~allowed].any()
    expected = len(drawn) / allowed.sum()
    chi = ((count[allowed] - expected) ** 2 / expected).sum()
    assert abs(chi - allowed.sum()) < 5 * np.sqrt(2 * allowed.sum())  # uniform


def test_the_curriculum_grows_with_steps() -> None:
    rules = StreetTaxi(curriculum_start=100, curriculum_steps=1000).params.rules[0]
    grown = [reach_now(steps, rules) for steps in (0, 100, 600, 1100, 9999)]
    assert grown == [500, 500, 500 + 3000 * 0.5**2, 3500, 3500]
    batch = one(
        StreetTaxi(near=200, far=1000, curriculum_steps=50, curriculum_rate=1), time_limit=10
    )
    reaches = []
    for _ in range(7):
        reaches.append(float(batch.states["reach"][0]))
        drive(batch, [LEFT] * 10)
    assert reaches == pytest.approx([200, 360, 520, 680, 840, 1000, 1000])
    batch.reset(0)
    assert batch.states["reach"][0] == 200  # a seed begins anew


# ---------------------------------------------------------------------------------------- motion


def test_headings_wrap_and_a_new_episode_looks_north() -> None:
    batch = one(StreetTaxi())
    seen = []
    for action in (LEFT, RIGHT, FAR_LEFT, FAR_RIGHT, FAR_RIGHT):
        batch.step([action])
        seen.append(int(batch.states["heading"][0]))
    assert seen == [15, 0, 13, 0, 3]
    assert batch.observation["yaw"][0] == pytest.approx(
        [np.sin(np.pi * 3 / 8), np.cos(np.pi * 3 / 8)]
    )
    batch.reset()
    assert batch.states["heading"][0] == 0


def test_forward_into_a_wall_stays(line: str) -> None:
    batch = on_the_line(line, 0, 9)
    place = int(batch.states["place"][0])
    drive(batch, [FAR_RIGHT, FORWARD])
    assert batch.states["place"][0] == place


# ----------------------------------------------------------------------------------------- coins


def test_a_coin_is_taken_once(line: str) -> None:
    batch = one(StreetCoins(streets=line, coins=1.0))
    batch.states["place"] = place_at(batch.family, 0, 0)
    assert drive(batch, [FORWARD, FORWARD]) == [1, 1]
    assert drive(batch, [*TURN_ROUND, FORWARD, FORWARD, FORWARD]) == [0] * 5 + [1, 0]
    assert batch.info["coins"][0] == 3


def test_exactly_the_share_holds_a_coin_and_others_each_episode() -> None:
    family = StreetTaxi()  # 1 % of 658 places
    batch, laid = one(family), []
    for _ in range(40):
        batch.reset()
        key = batch.states["coin_key"][0]
        rules = family.params.rules[0]
        laid.append([p for p in range(658) if has_coin(p, key, rules)])
    assert {len(coins) for coins in laid} == {7}
    assert len(set(map(tuple, laid))) == 40
    assert len({p for coins in laid for p in coins}) > 180  # of 280: all places have a chance


def test_coins_come_back_in_the_next_episode_also_after_a_long_one(line: str) -> None:
    batch = one(StreetCoins(streets=line, coins=1.0), time_limit=0)
    batch.states["logged"] = LOG + 7  # as if more places had been visited than the log holds
    drive(batch, [FORWARD] * 3)
    batch.reset()
    assert not batch.states["taken"].any()
    assert not batch.states["seen"].any()


def test_the_coin_oracle_takes_coin_after_coin() -> None:
    family = StreetCoins()
    batch, act = Batch(family, 4, observations=SYMBOLS), oracle_for(family)
    batch.reset(0)
    for _ in range(200):
        batch.step(act(batch))
    assert (batch.info["coins"] >= 50).all()


# ----------------------------------------------------------------------------------- observations


def test_the_goal_is_told_by_landmarks() -> None:
    family = StreetTaxi()
    batch = one(family, observations=("goal",))
    graph, goal = family.town.graph, int(batch.states["goal"][0])
    marks = find_landmarks(graph.position, 32)
    assert len(set(marks)) == 32
    distance = np.hypot(*(graph.position[marks] - graph.position[goal]).T)
    weight = np.exp(-0.002 * distance)
    assert batch.observation["goal"][0] == pytest.approx(weight / weight.sum(), rel=1e-3)


def test_coordinates_and_labels() -> None:
    family = StreetTaxi()
    batch = one(family)
    low, high = family.town.graph.latlng.min(0), family.town.graph.latlng.max(0)
    for array, label, where in (
        ("latlng", "latlng_label", "place"),
        ("target_latlng", "target_latlng_label", "goal"),
    ):
        scaled = (family.town.graph.latlng[batch.states[where][0]] - low) / (high - low)
        assert batch.observation[array][0] == pytest.approx(scaled, abs=1e-6)
        row, column = np.minimum(scaled * 32, 31).astype(int)
        assert batch.label[label][0, 0] == 32 * row + column
    assert batch.label["yaw_label"][0, 0] == 0


# ----------------------------------------------------------------------------------- instructions


@pytest.fixture
def crossing(tmp_path: Path) -> str:
    """Return a T: South Street, 200 m, ends at North Street, 200 m to each side."""
    nodes = {"a": (0, 0), "c": (0, 200), "d": (-200, 200), "e": (200, 200)}
    edges = [("a", "c", "South Street"), ("d", "c", "North Street"), ("c", "e", "North Street")]
    return write_graphml(tmp_path / "t.graphml", nodes, edges)


def test_instructions_say_the_turns_of_the_way(crossing: str) -> None:
    family = StreetInstructions(streets=crossing)
    batch, found = one(family), set()
    for seed in range(200):
        batch.reset(seed)
        state = batch.states[0]
        start, goal = family.town.graph.position[[state["way_place"][0], state["goal"]]]
        if start[1] > 150 or goal[1] < 199 or abs(goal[0] - 200) < 50:
            continue
        side = "right" if goal[0] > 200 else "left"
        first, second = family.instruction_texts(state)
        assert first.startswith("Go along South Street")
        assert second.startswith(f"Turn {side} into North Street")
        metres = [10 * int(tens) for tens in state["say"][:2, 2]]
        assert sum(metres) == pytest.approx(200 - start[1] + abs(goal[0] - 200), abs=25)
        corner = family.town.graph.position[state["way_place"][1]]
        assert np.hypot(*(corner - (200, 200))) <= 15
        found.add(side)
    assert found == {"left", "right"}


@pytest.mark.parametrize(
    ("game", "waypoint"),
    [("goal_instruction", 0.0), ("incremental_instruction", 0.5), ("step_by_step", 0.5)],
)
def test_following_pays_for_waypoints_and_the_goal_ends_it(game: str, waypoint: float) -> None:
    family = StreetInstructions(game=game)
    batch = Batch(family, 32, observations=("instructions",), autoreset="disabled")
    act = oracle_for(family)
    batch.reset(1)
    legs, running, total = batch.states["legs"].copy(), np.ones(32, bool), np.zeros(32)
    assert legs.max() >= 3
    while running.any():
        batch.step(act(batch))
        total += batch.reward * running
        assert not batch.truncated.any()
        running &= ~batch.terminated
        batch.states["ended"] = False  # those that are done drive on, unpaid
    assert total == pytest.approx(1.0 + waypoint * (legs - 1))


def test_step_by_step_shows_only_the_present_instruction() -> None:
    batch = one(
        StreetInstructions(game="step_by_step"), observations=("instructions", "thumbnails")
    )
    for seed in range(20):
        batch.reset(seed)
        if batch.states["legs"][0] > 1:
            break
    said = batch.states["say"][0]
    assert np.array_equal(batch.observation["instructions"][0, 0], said[0])
    assert not batch.observation["instructions"][0, 1:].any()
    assert batch.observation["thumbnails"].std() > 10
    other = one(StreetInstructions(), observations=("instructions",))
    other.reset(seed)
    assert np.array_equal(other.observation["instructions"][0], said)


def test_dense_rewards_by_hand(crossing: str) -> None:
    """Towards the end of South Street: 0.49 (50 - d) / 50 from 50 m on, each new least distance."""
    family = StreetInstructions(streets=crossing, dense=True)
    batch = one(family)
    a, corner = place_at(family, 200, 140), place_at(family, 200, 200)
    goal = place_at(family, 400, 200)
    batch.states["place"], batch.states["goal"], batch.states["legs"] = a, goal, 2
    batch.states["leg"], batch.states["best"], batch.states["heading"] = 0, 60.0, 0
    batch.states["way_place"][0, :3] = a, corner, goal
    shares = [0.49 * n / 50 for n in (0, 10, 20, 30, 40)]
    expected = [*shares[:4], 0.5 + shares[4]]
    assert drive(batch, [FORWARD] * 5) == pytest.approx(expected, abs=1e-4)  # at 50 ... 10 m
    batch.states["way_place"][0, 2] = batch.states["goal"] = corner  # 10 m ahead
    assert drive(batch, [FORWARD]) == pytest.approx([1.0 + 0.49], abs=1e-4)


# --------------------------------------------------------------------------------------- checking


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"min_radius": 500.0}, "min_radius must be between"),
        ({"coins": 1.5}, "coins must be between 0 and 1"),
        ({"spacing": 1.0}, "spacing must be between"),
        ({"image": (8, 84)}, "image height and width"),
        ({"near": 900.0, "far": 100.0}, "near must be between"),
        ({"streets": "nowhere.osm"}, "no street file nowhere.osm"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StreetTaxi(**parameters)


def test_coins_take_nothing_that_is_about_goals() -> None:
    with pytest.raises(ValueError, match="has no goals, so it takes no near, curriculum_rate"):
        StreetCoins(near=100.0, curriculum_rate=1.0)
