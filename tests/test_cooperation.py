"""Worlds of several agents: values by hand, equality with MPE2, the faces, and rows of agents."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

from daedalus.accelerators.agent_rows import AgentRows
from daedalus.accelerators.vector import make_batch
from daedalus.agents import make_agent
from daedalus.envs.batch import Batch
from daedalus.envs.cooperation import WORLDS
from daedalus.envs.cooperation.climbing import ClimbingGame
from daedalus.envs.cooperation.family import Cooperative
from daedalus.envs.cooperation.oracles import team_for
from daedalus.envs.cooperation.particle_worlds import (
    CooperativeNavigation,
    PredatorPrey,
    SpeakerListener,
)
from daedalus.envs.cooperation.referential import ReferentialGame
from daedalus.envs.cooperation.skirmish import Skirmish
from daedalus.evaluation.evaluate import evaluate

LEFT, RIGHT, DOWN, UP = 1, 2, 3, 4
every_world = pytest.mark.parametrize("name", sorted(WORLDS))


def started(family: Any, num_envs: int = 1, **kwargs: Any) -> Batch:
    """Return a batch after its first reset, with seed 0."""
    batch = Batch(family, num_envs, **kwargs)
    batch.reset(0)
    return batch


def act(batch: Batch, *actions: int) -> list[float]:
    """Step a batch of one and return each agent's reward."""
    batch.step(np.array([actions]))
    assert isinstance(batch.family, Cooperative)
    return list(batch.family.rewards(batch.states)[0])


def put(batch: Batch, places: list[tuple[float, float]]) -> None:
    """Put bodies and landmarks somewhere, at rest."""
    flat = np.array(places, float).ravel()
    batch.states["position"][0, : flat.size] = flat
    batch.states["velocity"][0] = 0.0


# ------------------------------------------------------------------------------- particles


def test_a_particle_moves_with_its_old_velocity() -> None:
    batch = started(CooperativeNavigation())
    put(batch, [(0, 0), (-1, -1), (1, 1), (0, 0), (0, 0), (0, 0)])
    act(batch, RIGHT, 0, 0)  # x = 0 + 0 * .1; v = 0 * .75 + 5 * .1
    assert batch.states["position"][0, 0] == 0.0
    assert batch.states["velocity"][0, 0] == pytest.approx(0.5)
    act(batch, UP, 0, 0)  # x = 0 + .5 * .1; v = .5 * .75
    assert batch.states["position"][0, :2] == pytest.approx([0.05, 0.0])
    assert batch.states["velocity"][0, :2] == pytest.approx([0.375, 0.5])


def test_openai_moves_with_the_new_velocity_and_calls_right_one() -> None:
    batch = started(CooperativeNavigation(convention="openai"))
    put(batch, [(0, 0), (-1, -1), (1, 1), (0, 0), (0, 0), (0, 0)])
    act(batch, LEFT, 0, 0)
    assert batch.states["position"][0, 0] == pytest.approx(0.05)
    act(batch, 0, 0, 0)  # v = .5 * .75; x = .05 + .375 * .1
    assert batch.states["position"][0, 0] == pytest.approx(0.0875)


def test_contact_pushes_apart_as_much_as_it_overlaps() -> None:
    batch = started(CooperativeNavigation())
    put(batch, [(0, 0), (0.2, 0), (1, 1), (0, 0), (0, 0), (0, 0)])
    act(batch, 0, 0, 0)  # depth .1 in units of k = .001: softplus(100) = 100; force 100 * .1 = 10
    assert batch.states["velocity"][0, :4] == pytest.approx([-1.0, 0.0, 1.0, 0.0])


LINE = [(0, 0), (0.2, 0), (1, 0), (0, 0.5), (0.2, 0), (1, 1)]
"""Two agents that touch and one apart; landmarks at distances 0.5, 0 and 1 of the nearest."""


def test_navigation_pays_half_for_covering_and_half_for_own_collisions() -> None:
    batch = started(CooperativeNavigation())
    put(batch, LINE)
    # covering = -(.5 + 0 + 1); collisions -1, -1, 0
    assert act(batch, 0, 0, 0) == pytest.approx([-1.25, -1.25, -0.75])
    assert batch.reward[0] == pytest.approx(-3.25 / 3)
    batch = started(CooperativeNavigation(local_ratio=0.0))
    put(batch, LINE)
    assert act(batch, 0, 0, 0) == pytest.approx([-1.5] * 3)


def test_openais_navigation_sums_over_agents_that_collide_with_themselves() -> None:
    batch = started(CooperativeNavigation(convention="openai"))
    put(batch, [(0, 0), (0.5, 0), (1, 0), (0, 0.5), (0.5, 0), (1, 1)])
    # nobody touches: 3 * (-1.5 - 1)
    assert act(batch, 0, 0, 0) == pytest.approx([-7.5] * 3)


def test_the_listener_hears_one_step_late() -> None:
    batch = started(SpeakerListener())
    seen = batch.observation["observation"][0]
    goal = int(batch.states["goal"][0])
    colour = [0.15] * 3
    colour[goal] = 0.65
    assert seen[0, :3] == pytest.approx(colour)
    assert seen[1, 8:].tolist() == [0, 0, 0]
    act(batch, 2, 0)
    assert seen[1, 8:].tolist() == [0, 0, 1]
    act(batch, 0, 0)
    assert seen[1, 8:].tolist() == [1, 0, 0]


def test_speaker_and_listener_pay_the_squared_distance() -> None:
    batch = started(SpeakerListener())
    put(batch, [(0, 0), (0.3, 0.4), (0, 0), (0, 0), (0, 0)])
    assert act(batch, 0, 0) == pytest.approx([-0.25, -0.25])
    assert batch.states["position"][0, :2].tolist() == [0, 0]  # the speaker cannot move


def test_hunters_share_ten_for_each_touch_and_are_slower_than_the_prey() -> None:
    batch = started(PredatorPrey())
    put(batch, [(0, 0), (0.1, 0), (-1, -1), (0.05, 0), (0.9, 0.9), (-0.9, 0.9)])
    assert act(batch, 0, 0, 0) == [20.0] * 3
    put(batch, [(-1, 0), (-1, -0.5), (-1, -1), (-0.5, 0), (5, 5), (5, 6)])
    for _ in range(10):
        act(batch, RIGHT, RIGHT, RIGHT)
    speed = batch.states["velocity"][0, :8].reshape(4, 2)
    assert np.hypot(*speed.T)[:3] == pytest.approx([1.0] * 3)
    assert 1.0 < np.hypot(*speed[3]) <= 1.3 + 1e-12


# ------------------------------------------------------------------------------------ MPE2


def twin(world: Any, batch: Batch) -> None:
    """Give a world of MPE2 the state of ours."""
    places = batch.states["position"][0].reshape(-1, 2)
    speeds = batch.states["velocity"][0].reshape(-1, 2)
    for k, entity in enumerate(world.entities):
        entity.state.p_pos = places[k].copy()
        entity.state.p_vel = np.zeros(2) if k >= len(world.agents) else speeds[k].copy()
    if hasattr(world.agents[0], "_goal_b"):
        world.agents[0].goal_b = world.landmarks[int(batch.states["goal"][0])]


@pytest.mark.parametrize(
    ("module", "family"),
    [
        ("simple_spread_v3", CooperativeNavigation()),
        ("simple_speaker_listener_v4", SpeakerListener()),
        ("simple_tag_v3", PredatorPrey()),
    ],
)
@pytest.mark.parametrize("crowd", [1.0, 0.2])
def test_particles_step_as_mpe2_does(module: str, family: Any, crowd: float) -> None:
    mpe2 = pytest.importorskip(f"mpe2.{module}")
    theirs, batch = mpe2.parallel_env(max_cycles=25), started(family)
    rng = np.random.default_rng(0)
    for seed in range(6):
        theirs.reset(seed=seed)
        batch.reset(seed)
        batch.states["position"][0] *= crowd  # 0.2: everyone touches someone
        twin(theirs.unwrapped.world, batch)
        for _ in range(24):
            action = rng.integers(0, family.action_space.nvec)
            rewards = act(batch, *action)
            given = dict(zip(family.agent_names, action, strict=True))
            if "agent_0" in theirs.agents and "adversary_0" in theirs.agents:
                given["agent_0"] = batch.states["prey_action"][0]
            observed, paid, *_ = theirs.step(given)
            for i, agent in enumerate(family.agent_names):
                width = family.widths["observation"][i]
                mine = batch.observation["observation"][0, i]
                np.testing.assert_allclose(mine[:width], observed[agent], atol=1e-6)
                assert not mine[width:].any()
                assert rewards[i] == pytest.approx(paid[agent], abs=1e-6)


# ---------------------------------------------------------------------------- referential game


def test_the_sender_has_the_target_first_and_the_receiver_has_it_where_the_game_says() -> None:
    batch = started(ReferentialGame(images=3), 200)
    images, place = batch.observation["images"], batch.states["place"]
    assert set(place) == {0, 1, 2}
    for copy in range(200):
        target, first, second = images[copy, 0]
        rest = [first, second]
        rest.insert(place[copy], target)
        assert np.array_equal(images[copy, 1], rest)
    assert np.linalg.norm(images, axis=3) == pytest.approx(np.ones((200, 2, 3)), abs=1e-6)


def test_the_sender_speaks_the_receiver_points_and_both_get_one() -> None:
    batch = started(ReferentialGame(), 2)
    mask, message = batch.observation["action_mask"], batch.observation["message"]
    assert mask[0].tolist() == [[1] * 10, [1] + [0] * 9]
    assert not message.any()
    place = batch.states["place"].copy()
    batch.step(np.array([[7, 0], [7, 0]]))
    assert batch.reward.tolist() == [0, 0]
    assert mask[0].tolist() == [[1] + [0] * 9, [1, 1] + [0] * 8]
    assert message[0].tolist() == [[0] * 10, [0] * 7 + [1, 0, 0]]
    batch.step(np.array([[0, place[0]], [0, 1 - place[1]]]))
    assert batch.reward.tolist() == [1, 0]
    assert batch.terminated.all()
    assert batch.final_info["rewards"].tolist() == [[1, 1], [0, 0]]
    assert batch.final_info["symbol"].tolist() == [[7], [7]]


def test_distractors_are_of_other_concepts_or_of_the_same() -> None:
    other, same = (started(ReferentialGame(images=3, same_concept=s), 300) for s in (False, True))
    assert all(len(set(row)) == 3 for row in other.states["concept"])
    assert all(len(set(row)) == 1 for row in same.states["concept"])
    assert set(other.states["concept"][:, 0]) == set(range(20))


def closeness(batch: Batch) -> np.ndarray:
    """Return the cosine of the sender's and the receiver's image of the target, (B,)."""
    images, rows = batch.observation["images"], np.arange(batch.num_envs)
    product = images[rows, 0, 0] * images[rows, 1, batch.states["place"]]
    return np.asarray(product.sum(1))


def test_controls_take_away_what_the_agents_could_share() -> None:
    assert closeness(started(ReferentialGame(), 400)) == pytest.approx(np.ones(400), abs=1e-5)
    # the prototype has length 1, each noise .5: cosine 1 / (1 + .25)
    concepts = closeness(started(ReferentialGame(same_images=False), 400)).mean()
    assert concepts == pytest.approx(0.8, abs=0.02)
    noise = started(ReferentialGame(same_images=False, noise_images=True), 400)
    assert abs(closeness(noise).mean()) < 0.02
    deaf = started(ReferentialGame(channel_noise=1.0), 2000)
    deaf.step(np.full((2000, 2), (3, 0)))
    heard = deaf.observation["message"][:, 1].mean(0)
    assert heard == pytest.approx(np.full(10, 0.1), abs=0.03)
    assert (deaf.info["symbol"] == 3).all()


# ------------------------------------------------------------------------------ climbing game


def test_the_climbing_games_pay_their_tables() -> None:
    batch = started(ClimbingGame(), 9)
    batch.step(np.array(list(np.ndindex(3, 3))))
    assert batch.reward.tolist() == [11, -30, 0, -30, 7, 6, 0, 0, 5]
    assert batch.terminated.all()
    batch = started(ClimbingGame(game="two_step"))
    assert act(batch, 1, 0) == [0, 0]
    assert batch.observation["observation"][0].tolist() == [[0, 0, 1]] * 2
    assert act(batch, 1, 1) == [8, 8]
    assert batch.terminated[0]


# ----------------------------------------------------------------------------------- skirmish

STOP, SHOOT = 1, 6


def field(places: list[tuple[int, int]], **kwargs: Any) -> Batch:
    """Return a skirmish with marines at given cells, yours first."""
    batch = started(Skirmish(marines=len(places) // 2, **kwargs), autoreset="disabled")
    batch.states["x"][0], batch.states["y"][0] = np.array(places).T
    return batch


def test_both_sides_shoot_and_pay_for_what_it_costs() -> None:
    batch = field([(5, 5), (5, 6), (8, 5), (12, 12)])
    # two hits of 6; the enemy in reach of both hits the nearest: 12 - 6 / 2
    assert act(batch, SHOOT, STOP) == [6 - 3] * 2
    assert batch.states["health"][0].tolist() == [39, 45, 39, 45]
    # marine 0 and the enemy have to wait a step, marine 1 is ready but at a distance of 10 ** .5
    assert act(batch, SHOOT, SHOOT) == [0, 0]
    assert act(batch, SHOOT, STOP) == [3, 3]


def test_what_is_allowed_follows_reach_edge_and_death() -> None:
    batch = field([(0, 5), (9, 9), (3, 5), (15, 15)])
    act(batch, STOP, STOP)
    mask = batch.observation["action_mask"][0]
    assert mask[0].tolist() == [0, 1, 0, 1, 1, 1, 1, 0]  # no way left; the first enemy in reach
    batch.states["health"][0, 0] = 6.0
    batch.states["wait"][0] = 0
    act(batch, STOP, STOP)
    assert batch.states["health"][0, 0] == 0
    assert mask[0].tolist() == [1] + [0] * 7
    assert not batch.observation["observation"][0, 0].any()


def test_marines_see_what_is_near() -> None:
    batch = field([(5, 5), (5, 9), (9, 5), (5, 14)])
    act(batch, STOP, STOP)  # the enemies walk to (8, 5) and (5, 13)
    seen = batch.observation["observation"][0, 0]
    comrade, near, far = seen[4:9], seen[9:14], seen[14:19]
    assert seen[:4] == pytest.approx([1, 0, 5 / 16, 5 / 16])
    assert comrade == pytest.approx([1, 0, 4 / 4.5, 4 / 4.5, 1])
    assert near == pytest.approx([1, 3 / 4.5, 0, 3 / 4.5, 1])
    assert not far.any()


def test_a_win_pays_its_bonus_and_ends() -> None:
    batch = field([(5, 5), (8, 5)], reward_scale=0.01)
    batch.states["health"][0, 1] = 6.0
    assert act(batch, SHOOT) == pytest.approx([0.01 * (6 - 3 + 200 + 39)])
    assert batch.terminated[0]
    assert batch.info["won"].tolist() == [[1]]


def test_marines_do_not_share_cells_or_leave_the_field() -> None:
    batch = started(Skirmish(), 200)
    rng = np.random.default_rng(0)
    for _ in range(80):
        batch.step(rng.integers(0, 9, (200, 3)))
        states = batch.states
        cells = np.where(states["health"] > 0, states["x"] * 16 + states["y"], -1 - np.arange(6))
        assert all(len(set(row)) == 6 for row in cells)
        assert states["x"].min() >= 0
        assert states["x"].max() < 16
        assert states["y"].min() >= 0
        assert states["y"].max() < 16


# ------------------------------------------------------------------------------- all of them


def mean_return(batch: Batch, team: Any) -> float:
    """Return the mean return of one episode in each environment."""
    batch.reset(0)
    total, running = np.zeros(batch.num_envs), np.ones(batch.num_envs, bool)
    while running.any():
        batch.step(team(batch))
        total += batch.reward * running
        running &= ~batch.ended
    return float(total.mean())


@every_world
def test_teams_that_know_the_answer_do_far_better_than_chance(name: str) -> None:
    env: Any = gymnasium.make(WORLDS[name])
    batch, rng = Batch(env.unwrapped.family, 32), np.random.default_rng(0)
    shape = 32, batch.family.agents
    chance = mean_return(batch, lambda b: rng.integers(0, b.action_space.nvec, shape))
    assert mean_return(batch, team_for(batch.family)) > chance + 0.3 * abs(chance)


@every_world
def test_pettingzoos_tests_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pettingzoo")
    from pettingzoo.test import max_cycles_test, parallel_api_test, parallel_seed_test, seed_test
    from pettingzoo.test.render_test import render_test

    import daedalus.envs.cooperation as cooperation

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr("daedalus.envs.window.Window.show", lambda *_: None)
    world: Any = getattr(cooperation, name)
    env = world.parallel_env()
    parallel_api_test(env, num_cycles=60)
    parallel_seed_test(world.parallel_env, num_cycles=30)
    seed_test(world.env, num_cycles=30)
    render_test(world.env)
    if env.family.time_limit:
        max_cycles_test(SimpleNamespace(parallel_env=world.parallel_env, env=world.env))
    assert env.metadata["name"] == WORLDS[name].removeprefix("daedalus/")


def test_pettingzoos_registry_knows_the_worlds() -> None:
    pettingzoo = pytest.importorskip("pettingzoo", minversion="1.27")
    env = pettingzoo.make("parallel", "daedalus/CooperativeNavigation-v0", max_cycles=7, agents=4)
    assert env.reset(seed=0)[0]["agent_3"].shape == (24,)
    assert set(WORLDS.values()) <= set(pettingzoo.aec_registry)


def test_pettingzoo_shows_each_agent_its_own() -> None:
    pytest.importorskip("pettingzoo")
    from daedalus.envs.cooperation import (
        parallel_env,
        referential_game_v0,
        speaker_listener_v0,
    )

    env = speaker_listener_v0.parallel_env(max_cycles=3)
    observed, _ = env.reset(seed=1)
    assert {name: seen.shape for name, seen in observed.items()} == {
        "speaker_0": (3,),
        "listener_0": (11,),
    }
    assert [env.action_space(agent).n for agent in env.agents] == [3, 5]
    seen = referential_game_v0.parallel_env(symbols=4).reset(seed=0)[0]["receiver"]
    assert seen["action_mask"].tolist() == [1, 0]
    with pytest.raises(TypeError, match=r"gymnasium\.make"):
        parallel_env("daedalus/Catch-v0")


def test_pettingzoo_tells_every_agent_what_gymnasium_does() -> None:
    """Symbol and concept of the game; the rewards go to each by themselves."""
    pytest.importorskip("pettingzoo")
    from daedalus.envs.cooperation import referential_game_v0

    env = referential_game_v0.parallel_env()
    _, told = env.reset(seed=0)
    assert {agent: info["symbol"].tolist() for agent, info in told.items()} == {
        "sender": [-1],
        "receiver": [-1],
    }
    told = env.step({"sender": 7, "receiver": 0})[4]
    assert [told[agent]["symbol"].tolist() for agent in env.agents] == [[7], [7]]
    assert sorted(told["sender"]) == ["concept", "cost", "symbol"]
    assert told["sender"]["symbol"] is not told["receiver"]["symbol"]


def test_pettingzoos_step_checks_its_actions() -> None:
    pytest.importorskip("pettingzoo")
    from daedalus.envs.cooperation import climbing_game_v0

    env = climbing_game_v0.parallel_env()
    env.reset(seed=0)
    first, second = env.agents
    with pytest.raises(ValueError, match=f"every agent acts in every step: no action of {second}"):
        env.step({first: 0})
    with pytest.raises(ValueError, match=rf"{second}: expected an integer action, got 1\.7"):
        env.step({first: 0, second: 1.7})
    assert list(env.step({first: np.array([1]), second: np.int64(1)})[1].values()) == [7, 7]
    assert env.agents == []
    assert env.step({}) == ({}, {}, {}, {}, {})


@pytest.mark.parametrize(
    ("family", "arguments", "message"),
    [
        (CooperativeNavigation, {"agents": 1}, "agents from 2 to 16"),
        (CooperativeNavigation, {"convention": "gym"}, "mpe2 or openai"),
        (PredatorPrey, {"obstacles": 9}, "obstacles from 0 to 6"),
        (ReferentialGame, {"images": 30}, "images <= concepts"),
        (ReferentialGame, {"channel_noise": 2}, "channel_noise from 0 to 1"),
        (ClimbingGame, {"game": "chess"}, "climbing, penalty, two_step"),
        (Skirmish, {"marines": 0}, "marines from 1 to 7"),
    ],
)
def test_wrong_parameters_are_named(family: Any, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        family(**arguments)


# ------------------------------------------------------------------------------ rows of agents


def test_every_agent_is_a_row_with_its_own_reward() -> None:
    rows, joint = (
        AgentRows(started(CooperativeNavigation(), 4)),
        started(CooperativeNavigation(), 4),
    )
    rows.reset(0)
    assert rows.num_envs == 12
    actions = np.random.default_rng(0).integers(0, 5, (30, 4, 3))
    ends = 0
    for action in actions:
        rows.step(action.ravel())
        joint.step(action)
        theirs = joint.observation["observation"].reshape(12, 18)
        assert np.array_equal(rows.observation["observation"], theirs)
        own = np.array(rows.reward).reshape(4, 3)
        assert own.mean(1) == pytest.approx(joint.reward, abs=1e-5)
        assert np.array_equal(rows.truncated, joint.truncated.repeat(3))
        ends += len(rows.pop_episodes())
    assert ends == 12
    assert rows.observation["agent"][4].tolist() == [0, 1, 0]


def test_an_agent_with_fewer_actions_takes_its_last() -> None:
    rows = AgentRows(started(SpeakerListener(), 1))
    assert rows.action_space == gymnasium.spaces.Discrete(5)
    rows.step(np.array([4, 4]))
    assert rows.batch.states["said"][0] == 2
    assert rows.batch.states["force"][0, 3] == 5.0


@pytest.mark.parametrize("agent", ["actor_critic", "ppo"])
def test_single_agent_algorithms_train_play_save_and_resume(agent: str, tmp_path: Path) -> None:
    env_id, config = "daedalus/ClimbingGame-v0", {}
    config = {"n_steps": 8} if agent == "actor_critic" else {"n_steps": 8, "batch_size": 16}
    cls = make_agent(agent)
    made = cls(env_id, cls.Config(**config), num_envs=4, device="cpu").learn(64)
    assert (made.num_envs, made.copies) == (8, 4)
    scores = evaluate(made, env_id, 20)
    assert set(scores.returns) <= {11, -30, 0, 7, 6, 5}
    made.save(tmp_path / "saved")
    again = cls.load(tmp_path / "saved", env=env_id, device="cpu")
    assert again.num_envs == 8
    for twin in (made, again):
        twin.learn(64, reset_num_timesteps=False)
    ours, theirs = (a.get_state()[0] for a in (made, again))
    assert all(np.array_equal(np.asarray(ours[k]), np.asarray(theirs[k])) for k in ours)


def test_a_joint_batch_stays_one_player_who_moves_all() -> None:
    batch = make_batch("daedalus/CooperativeNavigation-v0", 2, seed=0)
    assert batch.action_space == gymnasium.spaces.MultiDiscrete([5, 5, 5])
    with pytest.raises(ValueError, match="several"):
        AgentRows(make_batch("daedalus/Catch-v0", 2))  # type: ignore[arg-type]
