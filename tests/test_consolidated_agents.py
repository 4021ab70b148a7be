"""EWC, SI and L2 with agents that learn action values, and with those of stable-baselines3."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from daedalus.accelerators.instances import SharedInstances
from daedalus.accelerators.vector import make_batch
from daedalus.agents import make_agent
from daedalus.agents.consolidation import L2
from daedalus.agents.ewc import diagonal_fisher
from daedalus.agents.sb3_fisher import likelihoods_of
from daedalus.agents.si import SI

CATCH, PENDULUM = "daedalus/Catch-v0", "Pendulum-v1"
SETTINGS: dict[str, dict[str, Any]] = {
    "dqn": {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "net_arch": (16,)},
    "sac": {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "net_arch": (16,)},
    "td3": {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "net_arch": (16,)},
    "tqc": {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "net_arch": (16,)},
    "qrdqn": {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "net_arch": (16,)},
    "ppo": {"n_steps": 10, "batch_size": 20, "n_epochs": 2, "net_arch": (16,)},
    "a2c": {"n_steps": 5, "net_arch": (16,)},
    "iql": {"learning_starts": 20, "batch_size": 8, "hidden": 16},
    "recurrent_ppo": {"n_steps": 10, "batch_size": 20, "n_epochs": 2},
    "feudal": {
        "n_steps": 12,
        "horizon": 3,
        "goal_size": 8,
        "embedding": 4,
        "hidden": 16,
        "lstm": 8,
    },
    "cpo": {"n_steps": 20, "net_arch": (16,)},
    "pdo": {"n_steps": 20, "net_arch": (16,)},
    "trpo_penalty": {"n_steps": 20, "net_arch": (16,)},
    "ppo_lagrangian": {"n_steps": 20, "net_arch": (16,)},
    "web": {"n_steps": 5, "hidden": 16, "demonstrations": 0},
    "qprop": {"n_steps": 20, "net_arch": (16,)},
    "urex": {"samples": 2, "n_steps": 20, "hidden": 16, "lstm": 8},
    "comm": {"hidden": 16, "embedding": 8},
}
WORLDS = {"sac": PENDULUM, "qprop": "daedalus/PointCircle-v0", "urex": "daedalus/Copy-v0"}
WORLDS |= {"comm": "daedalus/ReferentialGame-v0"}
"""Where agents train that cannot, or do not mean to, catch."""


class Masked(gymnasium.Env[Any, Any]):
    """Four actions, of which 0 and 2 are allowed; an observation of zeros."""

    def __init__(self) -> None:
        """Describe them."""
        self.action_space = gymnasium.spaces.Discrete(4)
        mask = gymnasium.spaces.Box(0.0, 1.0, (4,), np.float32)
        self.observation_space = gymnasium.spaces.Dict({"seen": mask, "action_mask": mask})

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        mask = np.array([1, 0, 1, 0], np.float32)
        return {"seen": np.zeros(4, np.float32), "action_mask": mask}, {}

    def step(self, action: int) -> Any:
        return self.reset()[0], 0.0, False, True, {}


def made(name: str, env: str = "", **settings: Any) -> Any:
    cls, env = make_agent(name), env or WORLDS.get(name, CATCH)
    config = cls.Config(**{**SETTINGS[name], "fisher_samples": 64, **settings})
    return cls(env, config, num_envs=2, seed=1, device="cpu")


def numbers(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def test_the_penalty_reaches_what_each_optimiser_moves_by_hand() -> None:
    """Two optimisers, anchors at 0: a step of .1 down 2 * 3 theta takes 1 to .4, and 2 stays 2."""
    first, second, free = numbers(1.0), numbers(2.0), numbers(5.0)
    kept = L2([first, second], 6.0)
    kept.put("latest", torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    optimizers = [torch.optim.SGD([p, free], lr=0.1) for p in (first, second)]
    for optimizer in optimizers:
        kept.attach(optimizer)
    free.grad = torch.zeros_like(free)
    optimizers[0].step()
    assert [first.item(), second.item(), free.item()] == pytest.approx([0.4, 2.0, 5.0])
    optimizers[1].step()
    assert second.item() == pytest.approx(2 - 0.1 * 6 * 2)


def test_the_path_integral_takes_the_gradient_of_the_step_that_is_taken() -> None:
    """Gradients that another loss left on the second parameter are none of the first one's step."""
    first, second = numbers(1.0), numbers(2.0)
    kept = SI([first, second], 1.0, 0.1)
    optimizer = torch.optim.SGD([first], lr=0.5)
    kept.attach(optimizer)
    first.grad, second.grad = torch.full_like(first, 3.0), torch.full_like(second, 7.0)
    optimizer.step()
    assert kept.omega.tolist() == [pytest.approx(3.0 * 1.5), 0.0]


@pytest.mark.parametrize("name", ["dqn", "ppo", "a2c"])
def test_the_fisher_information_of_last_biases_by_hand(name: str) -> None:
    """1 / A for each action's value; E[pi (1 - pi)] for an action, the loss's weight for V."""
    agent = made(name, consolidation="ewc").learn(60)
    model = agent.model
    if name == "dqn":
        fisher = diagonal_fisher([model.policy.q_net.q_net[-1].bias], likelihoods_of(agent))
        assert fisher.tolist() == pytest.approx([1 / 3] * 3)
        return
    parameters = [model.policy.action_net.bias, model.policy.value_net.bias]
    fisher = diagonal_fisher(parameters, likelihoods_of(agent))
    assert fisher[3].item() == pytest.approx(model.vf_coef)
    likely = torch.full((3,), 1 / 3)  # an untrained policy's, about
    torch.testing.assert_close(fisher[:3], likely * (1 - likely), rtol=0.1, atol=0)


@pytest.mark.parametrize("name", ["sac", "td3", "tqc"])
def test_the_fisher_information_of_actors_and_critics(name: str) -> None:
    """Last biases: 1 of a critic, 1 / q^2 of each of q quantiles; 1 / std^2 of an actor's mean."""
    agent = made(name, PENDULUM, consolidation="ewc", fisher_samples=1000).learn(40)
    policy = agent.model.policy
    first = policy.critic.q_networks[0] if name == "tqc" else policy.critic.qf0
    critic = diagonal_fisher([first[-1].bias], likelihoods_of(agent))
    assert critic.tolist() == pytest.approx([1 / len(critic) ** 2] * len(critic), rel=1e-4)
    if name == "td3":
        return
    actor = diagonal_fisher([policy.actor.mu.bias], likelihoods_of(agent))
    seen = agent.model.replay_buffer.sample(1000).observations
    with torch.no_grad():
        log_std = policy.actor.get_action_dist_params(seen)[1]
    assert actor.item() == pytest.approx(float((-2 * log_std).exp().mean()), rel=0.3)


def test_the_fisher_information_of_independent_learners_by_hand() -> None:
    agent = made("iql", consolidation="ewc").learn(80)
    bias = [p for name, p in agent.network.named_parameters() if name.endswith("bias")][-1]
    assert diagonal_fisher([bias], agent.likelihoods()).tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("name", ["trpo_penalty", "urex", "recurrent_ppo"])
def test_the_fisher_information_of_policies_by_hand(name: str) -> None:
    """E[pi (1 - pi)] for the last bias of an action: all are alike before training."""
    agent = made(name, consolidation="ewc", fisher_samples=64 if name != "urex" else 1500)
    last = {
        "trpo_penalty": lambda: agent.learner.network.policy.layers[-1].bias,
        "urex": lambda: agent.network.actor.bias,
        "recurrent_ppo": lambda: agent.model.policy.action_net.bias,
    }[name]()
    fisher = diagonal_fisher([last], agent.likelihoods())
    sizes = getattr(agent.spaces.action, "nvec", [len(last)])
    expected = torch.cat([torch.full((int(n),), 1 / n * (1 - 1 / n)) for n in sizes])
    torch.testing.assert_close(fisher, expected, rtol=0.25, atol=0)


def test_an_lstm_is_asked_in_the_state_that_it_acted_in() -> None:
    """What it says of all steps of a rollout, in which episodes go on and end, is what that holds.

    Each is seen with what came before it, in its episode and the rollout.
    """
    agent = made("recurrent_ppo", consolidation="ewc", fisher_samples=40, n_steps=20).learn(40)
    policy, lengths = agent.model.policy, list[int]()
    with torch.no_grad():
        policy.action_net.weight.mul_(100.0)
    asked = policy.get_distribution

    def watched(seen: Any, *rest: Any) -> Any:
        lengths.append(len(next(iter(seen.values())) if isinstance(seen, dict) else seen))
        return asked(seen, *rest)

    agent.rng = SimpleNamespace(integers=lambda count, size: np.arange(count)[:size])
    policy.get_distribution = watched
    said = list(likelihoods_of(agent))
    kept = agent.model.rollout_buffer
    assert not kept.episode_starts[0].any()
    rows = zip(said, kept.values.ravel(), kept.log_probs.ravel(), kept.actions.ravel(), strict=True)
    for outcomes, value, log_prob, action in rows:
        assert outcomes[-1][0] == agent.model.vf_coef
        assert outcomes[-1][1].item() == pytest.approx(float(value), abs=1e-5)
        assert outcomes[int(action)][1].item() == pytest.approx(float(log_prob), abs=1e-4)
    assert np.ptp(kept.values) > 1e-3
    since, expected = np.zeros(2, int), []
    for starts in kept.episode_starts:
        since = np.where(starts, 1, since + 1)
        expected += since.tolist()
    assert lengths == expected


def test_the_fisher_information_of_a_gaussian_policy_by_hand() -> None:
    """1 / sigma^2 = 1 of a mean's bias; E[(z^2 - 1)^2] = 2 of log sigma, from drawn actions."""
    agent = made("qprop", PENDULUM, consolidation="ewc", fisher_samples=4000, n_steps=2000)
    policy = agent.network.policy
    parameters = [policy.layers[-1].bias, policy.distribution.log_std]
    fisher = diagonal_fisher(parameters, agent.likelihoods())
    assert fisher.tolist() == pytest.approx([1.0, 2.0], rel=0.15)
    kept = {id(p) for p in agent.consolidation.parameters}
    assert kept == {id(p) for p in policy.parameters()}  # values and critic are as free as ever


def test_a_role_is_asked_in_its_own_steps_only() -> None:
    """The sender has a choice in one of the game's two steps, as the receiver: pi (1 - pi) / 4."""
    agent = made("comm", consolidation="ewc", sender="agnostic", fisher_samples=2000)
    bias = agent.network.policies.networks[0].network.speak.bias
    fisher, symbols = diagonal_fisher([bias], agent.likelihoods()), len(bias)
    assert fisher.mean() == pytest.approx(0.25 / symbols * (1 - 1 / symbols), rel=0.15)


def test_what_a_manager_is_worth_shows_in_actions() -> None:
    """The information of goals runs through them; as constants they would have none."""
    agent = made("feudal", consolidation="ewc").learn(100)
    policy = [p for name, p in agent.network.named_parameters() if name.startswith("manager.")]

    def worth(outcomes: int) -> float:
        seen = (each[:outcomes] for each in agent.likelihoods())
        return float(diagonal_fisher(policy, seen).sum())

    assert worth(3) > 0  # Catch's three actions, without the values


@pytest.mark.parametrize("name", ["cpo", "pdo", "ppo_lagrangian", "qprop", "feudal", "web"])
def test_all_hold_what_they_learnt_by_ewc(name: str) -> None:
    """The penalty is felt: with it parameters stay nearer to where the first task left them."""
    away = []
    more: dict[str, Any] = {"trust_region": False} if name == "qprop" else {}
    for weight in (0.0, 1e3):
        agent = made(name, consolidation="ewc", consolidation_weight=weight, **more).learn(120)
        agent.finish_task("first")
        before, (importance, _) = agent.consolidation.vector(), agent.consolidation.total()[0]
        agent.learn(300, reset_num_timesteps=False)
        moved = (agent.consolidation.vector() - before).square()
        away.append(float((importance * moved).sum()))
    assert 0 < away[1] < 0.8 * away[0]


def test_tapes_follow_one_another() -> None:
    """Groups of the next task begin in the same state, too, and see what happens now."""
    agent = made("urex").learn(40)
    agent.finish_task("copy")
    agent.set_env("daedalus/Copy-v0", env_kwargs={"base": 5})
    batch = agent.batch
    assert isinstance(batch, SharedInstances)
    for _ in range(3):
        agent.collector.collect(agent.rollout_length)
        symbol = batch.observation["symbol"]
        assert (symbol[::2] == symbol[1::2]).all()
    agent.learn(40, reset_num_timesteps=False)


def groups_of(task_id: str, task: str, copies: int = 4) -> SharedInstances:
    """Return groups of two in a sequence of two looks of Catch."""
    looks: dict[str, dict[str, Any]] = {"plain": {}, "flipped": {"flipped": True}}
    stages = [{"name": n, "env": CATCH, "env_kwargs": each} for n, each in looks.items()]
    world = {"stages": stages, "task_id": task_id, "task": task}
    made: Any = make_batch("daedalus/Sequence", copies, env_kwargs=world)
    return SharedInstances(made, 2, 12)


def test_groups_play_sequences_of_tasks() -> None:
    """Groups of tasks side by side see what their boards show, and go on from a saved state."""
    batch = groups_of("known", "all")
    batch.reset(1)
    boards = []
    for _ in range(60):
        boards.append(next(iter(batch.observation.values())).copy())
        batch.step(np.ones(4, np.int64))
    assert len({board.tobytes() for board in boards}) > 10
    while batch._clock:
        batch.step(np.ones(4, np.int64))
    saved = {k: np.array(v) for k, v in batch.get_state().items()}
    again = groups_of("known", "all")
    again.reset(7)
    again.set_state(saved)
    for _ in range(40):
        for each in (batch, again):
            each.step(np.ones(4, np.int64))
        for name, value in batch.observation.items():
            np.testing.assert_array_equal(value, again.observation[name])
    with pytest.raises(ValueError, match="play one task each"):
        groups_of("known", "all", 6)


@pytest.mark.parametrize(
    "name",
    ["dqn", "qrdqn", "ppo", "iql", "recurrent_ppo", "trpo_penalty", "cpo", "qprop", "urex", "comm"],
)
@pytest.mark.parametrize("method", ["ewc", "si", "l2"])
def test_it_goes_on_bit_for_bit(name: str, method: str, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    whole = made(name, consolidation=method, consolidation_weight=1.0).learn(80)
    whole.finish_task("first")
    whole.logger.sinks.append(lambda _, row: rows.append(dict(row)))
    whole.learn(40, reset_num_timesteps=False)
    assert rows[-1]["train/consolidation_distance"] > 0
    whole.save(tmp_path / "half")
    second = gymnasium.make_vec(WORLDS.get(name, CATCH), 2, "vector_entry_point")
    again = make_agent(name).load(tmp_path / "half", env=second, device="cpu")
    for agent in (whole, again):
        agent.learn(60, reset_num_timesteps=False)
        agent.finish_task("second")
    assert torch.equal(whole.consolidation.vector(), again.consolidation.vector())
    for key, value in whole.consolidation.get_state().items():
        assert torch.equal(value, again.consolidation.get_state()[key]), key


@pytest.mark.parametrize(
    "name",
    ["dqn", "sac", "a2c", "cpo", "pdo", "ppo_lagrangian", "trpo_penalty", "qprop", "urex", "comm"],
)
def test_what_was_learnt_is_held(name: str) -> None:
    """A strong penalty keeps all parameters nearer to where they were than none does."""
    away = []
    for weight in (0.0, 100.0):
        agent = made(name, consolidation="l2", consolidation_weight=weight).learn(80)
        agent.finish_task("first")
        before = agent.consolidation.vector()
        agent.learn(300, reset_num_timesteps=False)
        away.append(float((agent.consolidation.vector() - before).norm()))
    assert 0 < away[1] < 0.8 * away[0]


def test_what_is_annealed_begins_anew_with_a_task() -> None:
    """Exploration falls from 1 to .05 over half a task, and learning waits for 20 steps of it."""
    rates: list[tuple[float, int]] = []
    agent = made("dqn", consolidation="si", exploration_fraction=0.5)

    def watch(inside: dict[str, Any], _: Any) -> bool:
        rates.append((agent.model.exploration_rate, agent.model._n_updates))
        return True

    agent.learn(200, callback=watch)
    agent.finish_task("first")
    done, updates = len(rates), agent.model._n_updates
    agent.learn(200, callback=watch, reset_num_timesteps=False)
    first, second = rates[:done], rates[done:]
    assert [rate for rate, _ in second[1:]] == pytest.approx([rate for rate, _ in first[1:]])
    assert max(rate for rate, _ in second) > 0.9
    assert second[-1][0] == pytest.approx(0.05)
    assert first[9][1] == 0 < updates
    assert second[9][1] == updates < second[-1][1]


@pytest.mark.parametrize("name", ["dqn", "ppo", "iql"])
def test_counting_from_zero_again_begins_a_task(name: str) -> None:
    agent = made(name).learn(80)
    agent.finish_task("first")
    agent.learn(80)
    assert agent.num_timesteps == 80
    assert agent.task_started == 0


def test_independent_learners_wait_for_steps_of_the_task() -> None:
    agent = made("iql", learning_starts=40).learn(80)
    agent.finish_task("first")
    before = [p.clone() for p in agent.network.parameters()]
    agent.learn(16, reset_num_timesteps=False)
    assert all(torch.equal(a, b) for a, b in zip(before, agent.network.parameters(), strict=True))


def test_agents_that_act_together_go_from_world_to_world() -> None:
    cls, world = make_agent("iql"), "daedalus/CooperativeNavigation-v0"
    agent = cls(world, cls.Config(hidden=8, consolidation="ewc"), num_envs=2, device="cpu")
    agent.learn(1200).finish_task("first")
    agent.set_env(world)
    agent.learn(48, reset_num_timesteps=False)
    assert agent.copies == 2


def test_masked_actions_carry_no_information() -> None:
    """With actions 0 and 2 allowed and equally likely their biases have 1/2 (1 - 1/2)."""
    cls = make_agent("maskable_ppo")
    config = cls.Config(n_steps=8, batch_size=8, n_epochs=1, learning_rate=0.0, fisher_samples=16)
    agent = cls(Masked(), config, device="cpu").learn(8)
    bias = agent.model.policy.action_net.bias
    fisher = diagonal_fisher([bias], likelihoods_of(agent))
    torch.testing.assert_close(fisher, torch.tensor([0.25, 0.0, 0.25, 0.0]), rtol=0.01, atol=1e-6)


def test_few_rollouts_serve_where_they_are_long() -> None:
    """64 observations out of 200 steps of two environments are one rollout; 5 steps take seven."""
    for settings, number in ((100, 1), (5, 7)):
        agent = made("ppo", n_steps=settings, batch_size=10, n_epochs=1).learn(10)
        counted: list[int] = []
        collect = agent.collector.collect
        agent.collector.collect = lambda *a, c=collect, n=counted: (n.append(1), c(*a))[1]
        assert 64 <= len(list(likelihoods_of(agent))) <= 70
        assert len(counted) == number


def test_who_cannot_says_so() -> None:
    with pytest.raises(ValueError, match="of use_sde: take consolidation si or l2"):
        made("sac", PENDULUM, consolidation="ewc", use_sde=True)
    for name in ("dqn", "iql"):
        agent = made(name, consolidation="ewc").learn(80)
        agent.finish_task("first")
        with pytest.raises(ValueError, match="no steps of this task"):
            agent.finish_task("second")
    alone = made("iql", consolidation="ewc", replay=False, fingerprint=False).learn(80)
    with pytest.raises(ValueError, match="leave replay on"):
        alone.finish_task("first")
    for name in ("trpo", "ars"):
        assert not hasattr(make_agent(name).Config(), "consolidation")
    with pytest.raises(ValueError, match="none, l2, ewc, online_ewc or si"):
        made("dqn", consolidation="evc")
    assert made("dqn").consolidation is None


def test_a_task_has_lengths_and_a_price_of_its_own() -> None:
    settings: dict[str, Any] = {"cost_limit": 0.0, "multiplier_rate": 1.0, "multiplier_start": 0.5}
    agent = made("pdo", "daedalus/PointCircle-v0", **settings).learn(1200)
    assert agent.learner.lengths.mean > 0
    agent.learner.ledger.price(1.0, 3.0)
    agent.finish_task("first")
    assert agent.learner.lengths.mean == 0
    assert float(agent.learner.ledger.multiplier) == 0.5
    agent.set_env("daedalus/PointCircle-v0", num_envs=3)
    agent.learn(1300, reset_num_timesteps=False)


def test_a_refused_environment_leaves_the_agent_as_it_was() -> None:
    agent = made("ppo")
    stages = [{"name": str(i), "env": CATCH, "env_kwargs": {}} for i in range(2)]
    world = {"stages": stages, "task_id": "inferred", "task": "0"}
    with pytest.raises(ValueError, match="all tasks need the same spaces"):
        agent.set_env("daedalus/Sequence", env_kwargs=world)
    assert agent.task_model is None
    agent.learn(40)


def test_who_knows_the_task_stays_told_and_who_finds_out_finds_out() -> None:
    stages = [{"name": str(i), "env": CATCH, "env_kwargs": {}} for i in range(2)]
    worlds = {
        task_id: {"stages": stages, "task_id": task_id, "task": "1"}
        for task_id in ("known", "inferred")
    }
    agents = {}
    for task_id, world in worlds.items():
        cls = make_agent("actor_critic")
        config = cls.Config(hidden=16, lstm=0)
        agents[task_id] = cls("daedalus/Sequence", config, num_envs=2, env_kwargs=world)
    with pytest.raises(ValueError, match="made to be told"):
        agents["known"].set_env("daedalus/Sequence", env_kwargs=worlds["inferred"])
    agents["inferred"].set_env("daedalus/Sequence", env_kwargs=worlds["known"])
    assert agents["inferred"].batch.observation["task"].tolist() == [[0, 1], [0, 1]]


def test_groups_of_other_environments_begin_alike_after_a_resume() -> None:
    """CartPoles of a group have one seed, and so they have after their state was restored."""
    pair = [SharedInstances(make_batch("CartPole-v1", 4), 2, 6) for _ in range(2)]
    for i, batch in enumerate(pair):
        batch.reset(i)
        while batch._clock or (i == 0 and batch._rounds < 3):
            batch.step(np.zeros(4, np.int64))
    pair[1].set_state({k: np.array(v) for k, v in pair[0].get_state().items()})
    first, again = (next(iter(batch.observation.values())) for batch in pair)
    np.testing.assert_array_equal(again[::2], again[1::2])
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", ["cpo", "dqn"])
def test_each_method_has_a_weight_of_its_own(name: str) -> None:
    """One of EWC's size would let nothing move under SI."""
    found = {}
    for method in ("l2", "ewc", "online_ewc", "si"):
        consolidation = made(name, consolidation=method).consolidation
        assert consolidation is not None
        found[method] = consolidation.scale
    assert found == {"l2": 0.01, "ewc": 100.0, "online_ewc": 100.0, "si": 2 * 1.0}  # 2 c
    given = made(name, consolidation="si", consolidation_weight=0.0).consolidation
    assert given is not None
    assert given.scale == 0.0
