# mypy: ignore-errors
"""The probes, by values worked out by hand."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from daedalus.envs.batch import Batch
from daedalus.envs.probes.catch import Catch
from daedalus.envs.probes.chains import Chain, DeepSea
from daedalus.envs.probes.credit import TwoStep
from daedalus.envs.probes.grids import Cliff, FourRooms, GridWorld, TwoRooms
from daedalus.envs.probes.heavier import WhichIsHeavier
from daedalus.envs.probes.keydoor import DOOR, KeyDoor, MontezumaRooms
from daedalus.envs.probes.oracles import oracle_for
from daedalus.envs.probes.search import BinarySearch
from daedalus.envs.probes.signals import Identity, Recall
from daedalus.envs.probes.tape import (
    Copy,
    DuplicatedInput,
    RepeatCopy,
    Reverse,
    ReversedAddition,
)
from daedalus.envs.probes.taxi import Taxi
from daedalus.envs.probes.terrain import BAR, GAP, HURDLE, TerrainRunner
from daedalus.envs.probes.towers import Towers

LEFT, DOWN, RIGHT, UP = range(4)


def started(family: Any, num_envs: int = 1, seed: int = 0, **options: Any) -> Batch:
    batch = Batch(family, num_envs, **options)
    batch.reset(seed)
    return batch


def play(batch: Batch, actions: list[Any]) -> list[float]:
    """Return the rewards of environment 0 for the same actions in all."""
    rewards = []
    for action in actions:
        batch.step(np.array([action] * batch.num_envs))
        rewards.append(round(float(batch.reward[0]), 6))
    return rewards


def oracle_returns(family: Any, num_envs: int = 64, steps: int = 600) -> np.ndarray:
    """Return the returns of the oracle's first episodes, one for each environment."""
    batch = started(family, num_envs)
    act, total, running = oracle_for(family), np.zeros(num_envs), np.ones(num_envs, bool)
    for _ in range(steps):
        batch.step(act(batch))
        total += batch.reward * running
        running &= ~batch.ended
    assert not running.any()
    return total


# -------------------------------------------------------------------------------------- tables


def test_taxi_is_gymnasiums_in_every_transition() -> None:
    table = gymnasium.make("Taxi-v4").unwrapped
    moves = Taxi().params.moves.reshape(500, 6)
    for state, actions in table.P.items():
        for action, [(_, following, reward, ends)] in actions.items():
            move = moves[state, action]
            assert (move["following"], move["reward"], move["ends"]) == (following, reward, ends)
    assert set(Taxi().params.starts) == set(np.flatnonzero(table.initial_state_distrib))


@pytest.mark.parametrize(
    ("family", "start", "gamma", "value"),
    [
        (Cliff(), 36, 1.0, -13.0),
        (DeepSea(size=10), 0, 1.0, 0.99),
        (DeepSea(size=8, mapping=3), 0, 1.0, 0.99),
        (GridWorld(), 0, 0.95, 0.95**14),
        (GridWorld(map="S.#.T ..... .#.#. ..... ....."), 0, 0.95, 0.95**5),
        (Chain(), 1, 1.0, 0.2 + 0.8 * 0.01),  # a fair walk from 1 reaches 5 before 0: one in five
    ],
    ids=lambda value: type(value).__name__,
)
def test_optimal_values(family: Any, start: int, gamma: float, value: float) -> None:
    assert family.optimal_values(gamma)[start] == pytest.approx(value, abs=1e-6)


def test_a_map_of_strange_letters_is_refused() -> None:
    with pytest.raises(ValueError, match="the map has 'xy'; it is made of"):
        GridWorld(map="SyxT")


def test_cliff_puts_one_back_at_the_start() -> None:
    batch = started(Cliff())
    assert play(batch, [RIGHT, UP, RIGHT, DOWN]) == [-100, -1, -1, -100]
    assert batch.states["place"][0] == 36
    assert play(batch, [UP, *[RIGHT] * 11, DOWN]) == [-1.0] * 13
    assert batch.terminated[0]


def test_the_chain_pays_one_only_after_its_end() -> None:
    """Luck is switched off: right always succeeds."""
    family = Chain()
    family.params.moves.flags.writeable = True
    family.params.moves["slip"] = 0.0
    batch = started(family)
    assert play(batch, [0]) == [0.01]
    assert batch.terminated[0]
    assert play(batch, [1] * 4 + [0] * 5) == [0.0] * 8 + [1.0]


def test_right_on_the_chain_succeeds_half_of_the_time() -> None:
    batch = started(Chain(), 4096)
    batch.step(np.ones(4096, int))
    assert batch.terminated.mean() == pytest.approx(0.5, abs=0.03)


def test_deep_sea_counts_the_cost_of_going_right() -> None:
    batch = started(DeepSea(size=4))
    assert play(batch, [1, 1, 1, 1]) == [-0.0025, -0.0025, -0.0025, 0.9975]
    assert batch.terminated[0]
    assert play(batch, [1, 1, 0, 1]) == [-0.0025, -0.0025, 0, -0.0025]


def test_the_diver_stays_in_his_column_on_the_ground() -> None:
    """Of 4 columns, 80 pixels wide: the last after right alone, the first after two each way."""
    for moves, column in (([1, 1, 1, 1], 3), ([1, 1, 0, 0], 0), ([1, 1, 1, 0], 2)):
        batch = started(DeepSea(size=4), autoreset="disabled")
        play(batch, moves)
        pupil = (batch.render(0) == (60, 70, 90)).all(2)
        assert np.argwhere(pupil).mean(0) // 80 == pytest.approx([4, column])
        assert not batch.observation["place"].any()


def test_four_rooms_has_the_map_and_the_slip_of_its_source() -> None:
    """104 free squares; the intended move happens with 2/3 + 1/3 x 1/4."""
    family = FourRooms()
    assert family.params.starts.size == 104
    batch = started(family, 4096)
    batch.states["place"] = 2 * 13 + 3  # inside a room: all four moves lead elsewhere
    batch.states["goal"] = 11 * 13 + 11
    batch.step(np.full(4096, RIGHT))
    assert (batch.states["place"] == 2 * 13 + 4).mean() == pytest.approx(0.75, abs=0.02)
    assert (batch.states["place"] == 2 * 13 + 2).mean() == pytest.approx(1 / 12, abs=0.02)


def test_four_rooms_shows_agent_and_goal() -> None:
    batch = started(FourRooms(slip=0.0))
    batch.states["place"], batch.states["goal"] = 1 * 13 + 1, 1 * 13 + 3
    assert play(batch, [RIGHT]) == [0]
    assert batch.observation["place"][0].tolist() == [1, 2, 1, 3]
    assert play(batch, [RIGHT]) == [1]
    assert batch.terminated[0]


def test_two_rooms_start_in_the_room_without_the_goal() -> None:
    for task in range(6):
        family = TwoRooms(task=task)
        columns = family.params.starts % 18
        assert (columns > 11).all() if task % 2 == 0 else (columns < 6).all()
        assert (family.target % 18 < 6) == (task % 2 == 0)
    batch = started(TwoRooms())
    play(batch, [UP])
    assert batch.observation["place"][0, -4:].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("looks", [{}, {"flipped": True}, {"inverted": True}])
def test_the_looks_of_catch_change_nothing_but_the_picture(looks: dict[str, bool]) -> None:
    plain, other = started(Catch()), started(Catch(**looks))
    for action in (0, 0, 1, 2):
        plain.step([action])
        other.step([action])
    board = plain.observation["board"][0]
    board = board[:, ::-1] if looks.get("flipped") else board
    board = 1 - board if looks.get("inverted") else board
    assert np.array_equal(board, other.observation["board"][0])


# ---------------------------------------------------------------------------------------- keys


def test_the_door_needs_the_key() -> None:
    """A 5 x 5 world: walls at column 2, the door drawn; the rest is set by hand."""
    batch = started(KeyDoor(size=5))
    state = batch.states[0]
    state["door"], state["key"], state["place"], state["goal"] = 7, 16, 6, 13
    assert play(batch, [RIGHT]) == [0]
    assert batch.states["place"][0] == 6, "locked"
    assert play(batch, [DOWN, RIGHT]) == [0, 0]
    assert batch.states["place"][0] == 11, "where the door might have been there is a wall"
    assert play(batch, [DOWN, UP, UP, RIGHT]) == [0, 0, 0, 0]
    things = [1, 2, 3, 1, 1, 2, 2, 3, 1, 1]  # in the door, key held, door open
    assert batch.observation["things"][0].tolist() == things
    assert play(batch, [RIGHT, DOWN]) == [0, 1]
    assert batch.terminated[0]


def test_planes_show_what_is_left_to_do() -> None:
    batch = started(KeyDoor(size=5), observations=("planes",))
    walls = batch.observation["planes"][0, 4]
    assert walls.sum() == 16 + 2
    assert [int(plane.sum()) for plane in batch.observation["planes"][0, :4]] == [1, 1, 1, 1]
    act = oracle_for(batch.family)
    while not batch.states["is_open"][0]:
        batch.step(act(batch))
    assert [int(plane.sum()) for plane in batch.observation["planes"][0, :4]] == [1, 0, 0, 1]


def test_montezumas_rooms_can_be_solved_in_one_life() -> None:
    family = MontezumaRooms()
    assert family.params.track.size == 8
    assert oracle_returns(family, 2).tolist() == [400, 400]
    assert (family.params.kind == DOOR).sum() == 1


def test_the_skull_kills_also_in_passing() -> None:
    batch = started(MontezumaRooms())
    batch.states["place"], batch.states["skull"] = 9 * 20 + 5, 0  # skull on column 4, moving right
    batch.step([LEFT])
    assert batch.terminated[0]
    assert batch.reward[0] == 0


# ---------------------------------------------------------------------------------------- tapes


def set_tape(batch: Batch, *rows: list[int], target: list[int]) -> None:
    state = batch.states[0]
    for row, symbols in enumerate(rows):
        state["tape"][row, : len(symbols)] = symbols
    state["length"], state["target_length"] = len(rows[0]), len(target)
    state["target"][: len(target)] = target


@pytest.mark.parametrize(
    ("family", "rows", "target"),
    [
        (Copy(), 1, lambda a: a),
        (Reverse(), 1, lambda a: a[::-1]),
        (RepeatCopy(), 1, lambda a: a + a[::-1] + a),
        (DuplicatedInput(), 1, lambda a: a[::2]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_to_be_written(family: Any, rows: int, target: Any) -> None:
    batch = started(family, 32)
    for state in batch.states:
        tape = state["tape"][0, : state["length"]].tolist()
        assert state["target"][: state["target_length"]].tolist() == target(tape)
    if isinstance(family, DuplicatedInput):
        assert (batch.states["tape"][:, 0, 0] == batch.states["tape"][:, 0, 1]).all()


def test_the_addition_carries() -> None:
    batch = started(ReversedAddition(), 64)
    for state in batch.states:
        n, m = int(state["length"]), int(state["target_length"])
        numbers = [sum(int(d) * 3**i for i, d in enumerate(row[:n])) for row in state["tape"]]
        result = sum(int(d) * 3**i for i, d in enumerate(state["target"][:m]))
        assert sum(numbers) == result
        assert m == n or state["target"][n] == 1


def test_pictures_show_all_that_is_due() -> None:
    """Of 63 symbols, of which 12 fit: each that is written changes the picture."""
    batch = started(RepeatCopy(min_length=19, max_length=19))
    set_tape(batch, [1] * 21, target=[1] * 63)
    seen = set()
    for written in range(64):
        batch.states["written"] = written
        seen.add(batch.render(0).tobytes())
    assert len(seen) == 64


def test_rewards_of_the_tape() -> None:
    batch = started(Copy(min_length=2, max_length=2))
    set_tape(batch, [3, 1], target=[3, 1])
    assert play(batch, [(1, 1, 3)]) == [1]
    assert batch.observation["symbol"][0].tolist() == [0, 1, 0, 0, 0, 0]
    assert play(batch, [(1, 0, 0)]) == [0]
    assert batch.observation["symbol"][0, 5] == 1, "the blank"
    assert play(batch, [(0, 1, 1)]) == [1]
    assert batch.terminated[0]
    set_tape(batch, [3, 1], target=[3, 1])
    assert play(batch, [(1, 1, 0)]) == [-0.5]
    assert batch.terminated[0]
    set_tape(batch, [3, 1], target=[3, 1])
    assert play(batch, [(1, 0, 0)] * 9) == [0] * 8 + [-1], "2 + 2 + 4 steps are allowed"


def test_each_environment_has_its_own_curriculum_and_a_seed_restarts_it() -> None:
    batch = started(Copy(), 2)
    act = oracle_for(batch.family)
    for _ in range(90):
        actions = act(batch)
        actions[1] = (1, 1, (actions[1, 2] + 1) % 5)  # the second always writes a wrong symbol
        batch.step(actions)
    assert batch.states["level"].tolist()[0] > 3
    assert batch.states["level"].tolist()[1] == 2
    batch.reset(0)
    assert batch.states["level"].tolist() == [2, 2]


def test_the_tenth_good_episode_lengthens_the_input() -> None:
    batch = started(Copy())
    act = oracle_for(batch.family)
    ended = 0
    while ended < 10:
        assert batch.states["level"][0] == 2
        batch.step(act(batch))
        ended += int(batch.ended[0])
    assert batch.states["level"][0] == 3


@pytest.mark.parametrize("family", [Copy(), Reverse(), RepeatCopy(), ReversedAddition()])
def test_the_tapes_can_be_solved(family: Any) -> None:
    batch = started(family, 32)
    due = batch.states["target_length"].copy()
    assert (oracle_returns(family, 32) == due).all()


@pytest.mark.parametrize(
    ("family", "best"), [(Identity(), 100), (Recall(), 1), (TwoStep(), 1), (Towers(), 1)]
)
def test_who_knows_the_answer_gets_the_best_return(family: Any, best: float) -> None:
    assert oracle_returns(family, 16) == pytest.approx(best)


# ------------------------------------------------------------------------- search, physics, running


def test_halving_finds_a_number_in_logarithmic_time() -> None:
    """In 512 entries at most 10 comparisons, each after one average."""
    batch = started(BinarySearch(low=512, high=512), 64)
    act = oracle_for(batch.family)
    for step in range(20):
        batch.step(act(batch))
        if step == 0:
            assert (np.sort(batch.states["register"])[:, 1] == 256).all()
        for total, length in batch.pop_episodes():
            assert total == pytest.approx(10 * (1 - length / 1025), abs=1e-5)
            assert length <= 20
    assert (batch.states["episode"] > 1).all()


def test_registers_do_as_they_say() -> None:
    batch = started(BinarySearch(low=40, high=40))
    batch.states["place"] = 21
    play(batch, [(1, 0), (0, 1), (0, 1), (2, 2)])  # 20, 2, average of both
    assert batch.states["register"][0].tolist() == [20, 2, 11]
    assert play(batch, [(3, 0)]) == [0]
    assert batch.observation["outcome"][0].tolist() == [0, 0, 1, 0], "greater"
    assert play(batch, [(0, 0), (3, 0)]) == [0, pytest.approx(10 * (1 - 7 / 81), abs=1e-5)]
    assert batch.terminated[0]


def test_heights_are_inverse_to_masses() -> None:
    batch = started(WhichIsHeavier())
    batch.states["mass"] = [1.0, 0.5, 0.25, 0.125]
    first = []
    for block in range(4):
        batch.states["height"], batch.states["speed"] = 0.0, 0.0
        batch.step([block])
        first.append(float(batch.observation["heights"][0, block]))
    # four substeps from rest: (1 + 2 + 3 + 4) a dt^2 with a = 12 / m - 9.81
    expected = [10 * (12 / m - 9.81) * 0.025**2 for m in (1.0, 0.5, 0.25, 0.125)]
    assert first == pytest.approx(expected, abs=1e-6)
    assert first == sorted(first)


def test_the_answer_is_the_heaviest_block() -> None:
    batch = started(WhichIsHeavier(beta=3), 256)
    assert (batch.states["mass"].argmax(1) == batch.states["answer"]).all()
    batch.step(4 + batch.states["answer"])
    assert (batch.reward == 1).all()
    assert batch.terminated.all()


def test_large_beta_is_easy() -> None:
    def gap(beta: float) -> float:
        masses = np.sort(started(WhichIsHeavier(beta=beta), 2048).states["mass"])
        return float((masses[:, 3] - masses[:, 2]).mean())

    assert gap(10.0) > gap(5.0) > gap(3.0)


def test_the_number_of_bodies_is_uniform_and_glue_holds() -> None:
    batch = started(Towers(), 5000)
    counts = np.bincount(batch.states["bodies"], minlength=6)[1:]
    assert (abs(counts - 1000) < 120).all()
    assert (batch.states["body"].max(1) + 1 == batch.states["bodies"]).all()
    batch.step(np.full(5000, 1))  # push the lowest block along +x
    x = batch.observation["positions"][:, 0::3]
    together = batch.states["body"] == 0
    assert (x[together] > 0).all()
    assert np.allclose(x[batch.states["bodies"] == 1], x[batch.states["bodies"] == 1][:, :1])


def test_a_block_pushed_off_the_tower_falls() -> None:
    batch = started(Towers())
    batch.states["body"], batch.states["bodies"] = [0, 0, 0, 0, 1], 2
    for _ in range(30):
        batch.step([17])  # the highest block along +x
    positions = batch.observation["positions"][0].reshape(5, 3)
    assert positions[4, 2] == pytest.approx(0.5, abs=1e-3)
    assert positions[3, 2] == pytest.approx(3.5)
    assert play(batch, [21]) == [1.0]


def obstacle(kind: int, size: float) -> Batch:
    """Return a runner before one obstacle at 4 m."""
    batch = started(TerrainRunner())
    batch.states["kind"], batch.states["size"] = HURDLE, 0.0
    batch.states["kind"][0, 0], batch.states["size"][0, 0] = kind, size
    return batch


@pytest.mark.parametrize(
    ("kind", "size", "skill"), [(HURDLE, 0.4, 1), (GAP, 0.6, 1), (BAR, 0.7, 2)]
)
def test_each_obstacle_asks_for_its_skill(kind: int, size: float, skill: int) -> None:
    run, skilled = [1.0, -1.0, -1.0], [1.0, -1.0, -1.0]
    skilled[skill] = 1.0
    batch, furthest = obstacle(kind, size), 0.0
    for _ in range(60):
        batch.step([run])
        furthest = max(furthest, float(batch.states["x"][0])) if not batch.terminated[0] else 9.0
        if batch.terminated[0]:
            break
    assert batch.terminated[0] if kind == GAP else furthest <= 4.0
    batch, act = obstacle(kind, size), oracle_for(TerrainRunner())
    for _ in range(60):
        batch.step(act(batch))
        assert not batch.terminated[0]
    assert batch.states["x"][0] > 5.0


def test_the_track_grows_harder_and_the_blind_see_nothing() -> None:
    batch = started(TerrainRunner(), 512)
    hurdle = np.where(batch.states["kind"] == HURDLE, batch.states["size"], 0).max(0)
    assert hurdle[0] <= 0.4 < hurdle[39] <= 0.4 + 0.02 * 39
    assert batch.observation["ceiling"].max() == 2
    blind = started(TerrainRunner(blind=True))
    assert not blind.observation["ground"].any()
    assert not blind.observation["ceiling"].any()
