"""Agents of several-agent worlds: losses, weights and networks by hand, routing, and learning."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from daedalus.accelerators.step_replay import StepReplay
from daedalus.agents.base import Agent, Spaces
from daedalus.agents.comm import (
    AgnosticSender,
    Comm,
    InformedSender,
    Receiver,
    effective_symbols,
    mutual_information,
    reinforce_loss,
)
from daedalus.agents.comm import Config as CommConfig
from daedalus.agents.iql import IQL, ImportanceWeights, others, probability, q_target, td_loss
from daedalus.agents.iql import Config as IQLConfig
from daedalus.agents.roles import FORBIDDEN, Roles, allowed, choices
from daedalus.evaluation.cooperative import purity
from daedalus.evaluation.evaluate import evaluate

CPU = torch.device("cpu")
GAME = "daedalus/ReferentialGame-v0"
SMALL = {"features": 8, "concepts": 4, "symbols": 4, "spread": 0.2}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fill(layer: Any, *values: float) -> None:
    """Set the weights of a linear layer, row by row, and its bias to 0."""
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(values).view_as(layer.weight))
        if layer.bias is not None:
            layer.bias.zero_()


def mean_return(agent: Agent) -> float:
    return float(np.mean([episode["r"] for episode in agent.ep_info_buffer]))


# --------------------------------------------------------------------------- comm, by hand


def test_reinforce_by_hand() -> None:
    log_pi = torch.tensor([-1.0, -2.0], requires_grad=True)
    entropy = torch.tensor([0.5, 0.5], requires_grad=True)
    advantage = torch.tensor([2.0, -1.0], requires_grad=True)
    loss = reinforce_loss(log_pi, entropy, advantage, 0.1)
    assert loss.item() == pytest.approx(-(2 * -1 + -1 * -2 + 0.1 * 1.0) / 2)
    loss.backward()
    assert log_pi.grad is not None
    assert entropy.grad is not None
    assert log_pi.grad.tolist() == [-1.0, 0.5]
    assert entropy.grad.tolist() == pytest.approx([-0.05, -0.05])
    assert advantage.grad is None
    none = torch.zeros(0)
    assert reinforce_loss(none, none, none, 0.1).item() == 0.0  # nobody had a choice


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_informed_sender_by_hand() -> None:
    config = CommConfig(embedding=1, filters=1, temperature=2.0)
    sender = InformedSender(2, 1, 2, config)
    fill(sender.embed, 1.0)
    fill(sender.compare, 1.0, -1.0)
    fill(sender.combine, 2.0)
    fill(sender.speak, 3.0, -3.0)
    logit = 3 * sigmoid(2 * sigmoid(1.0 - 0.25)) / 2
    found = sender(torch.tensor([[[1.0], [0.25]]]))
    assert found[0].tolist() == pytest.approx([logit, -logit])


def test_the_agnostic_sender_and_the_receiver_by_hand() -> None:
    config = CommConfig(embedding=1)
    sender = AgnosticSender(2, 1, 1, config)
    fill(sender.embed[0], 2.0)
    fill(sender.embed[1], -1.0)
    fill(sender.speak, 1.0, 10.0)
    images = torch.tensor([[[1.0], [0.5]]])
    assert sender(images).item() == pytest.approx(sigmoid(2.0) + 10 * sigmoid(-0.5))
    receiver = Receiver(1, 2, config)
    fill(receiver.embed, 3.0)
    fill(receiver.listen, 1.0, -1.0)  # the symbols' embeddings
    assert receiver(images, torch.tensor([[0.0, 1.0]]))[0].tolist() == pytest.approx([-3.0, -1.5])


def test_symbols_and_purity_are_counted() -> None:
    assert effective_symbols(torch.tensor([0, 1, 2, 3]), 10).item() == pytest.approx(4.0)
    assert effective_symbols(torch.tensor([5, 5, 5]), 10).item() == pytest.approx(1.0)
    assert purity(np.array([0, 0, 0, 1, 1]), np.array([3, 3, 1, 2, 2])) == pytest.approx(0.8)


def test_what_the_sender_tells_by_hand() -> None:
    """Two situations with a symbol each: log 2 nats; one symbol for both, or chance: none.

    With 3/4, 1/4 and 1/4, 3/4: log 2 - (log 4 - 3/4 log 3) = 0.1308. The third action is missing.
    """
    rows = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[1, 0, 0], [1, 0, 0]], [[0.5, 0.5, 0]] * 2])
    found = [mutual_information(pair).item() for pair in rows]
    assert found == pytest.approx([math.log(2), 0.0, 0.0], abs=1e-6)
    logits = torch.tensor([[math.log(3), 0, FORBIDDEN], [0, math.log(3), FORBIDDEN]])
    logits.requires_grad_()
    information = mutual_information(logits.softmax(-1))
    assert information.item() == pytest.approx(math.log(2) - math.log(4) + 0.75 * math.log(3))
    information.backward()
    assert logits.grad is not None
    slope = logits.grad
    assert slope[0, 0] > 0 > slope[0, 1]
    assert slope[:, 2].tolist() == [0.0, 0.0]


def test_a_rollout_without_the_senders_turn_has_no_signalling_term() -> None:
    """With one step a rollout, the sender speaks in the first and the receiver points in the next.

    What was said in the first rollout is log 4 nats at most; the second has nobody's words.
    """
    settings = CommConfig(n_steps=1, signalling_weight=1.0)
    agent = Comm(GAME, settings, num_envs=4, env_kwargs=SMALL, device="cpu")
    assert agent.collector is not None
    found = []
    for _ in range(2):
        rollout = agent.collector.collect(1)
        assert rollout is not None
        found.append(agent.update(rollout))
    spoken, heard = found
    assert 0.0 <= float(spoken["information_0"]) < math.log(4)  # type: ignore[arg-type]
    assert {"entropy_0", "symbols_0"} <= set(spoken)
    assert {"entropy_1", "symbols_1"} <= set(heard)
    assert not {"information_0", "entropy_0", "symbols_0"} & set(heard)


def test_signalling_moves_the_sender_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing else in the loss, what changes are the first agent's policy's weights."""
    settings = CommConfig(signalling_weight=1.0, entropy_weight=0.0, value_weight=0.0)
    agent = Comm(GAME, settings, num_envs=4, env_kwargs=SMALL, device="cpu")
    assert agent.collector is not None
    rollout = agent.collector.collect(2)
    assert rollout is not None
    nothing = torch.zeros_like(rollout.reward)
    monkeypatch.setattr(agent, "_advantage", lambda *_: (nothing, nothing))
    metrics = agent.update(rollout)
    sizes = [float(metrics[f"gradient_norm_{i}"]) for i in (0, 1)]  # type: ignore[arg-type]
    assert sizes[0] > 0.0
    assert sizes[1] == 0.0
    first = float(metrics["information_0"])  # type: ignore[arg-type]
    assert 0.0 < first < math.log(4)
    *_, last = (agent.update(rollout)["information_0"] for _ in range(10))
    assert float(last) > first  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="several agents"):
        Comm("daedalus/Catch-v0", settings, num_envs=1, device="cpu")


def test_a_time_limit_bootstraps_from_the_last_observation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Values 1 to 4, 9 of the last observations; gamma and lambda 1/2; the first copy is cut.

    Its step then gains 1 + 9/2 - 2 = 3.5, the other's 1 - 2 = -1; a quarter of that comes to the
    step before, which gains 1 + 2/2 - 1 = 1 by itself.
    """
    settings = CommConfig(n_steps=3, gamma=0.5, gae_lambda=0.5)
    agent = Comm("daedalus/Catch-v0", settings, num_envs=2, device="cpu")
    assert agent.collector is not None
    collected = agent.collector.collect(3)
    assert collected is not None
    ends = torch.tensor([[False, False], [True, True], [False, False]])
    rollout = collected._replace(
        reward=torch.tensor([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]]),
        truncated=ends & torch.tensor([True, False]),
        terminated=ends & torch.tensor([False, True]),
        final_index=torch.tensor([[1, 0], [1, 1]]),
        final_observation={"shown": torch.tensor([9.0, 9.0])},
    )
    monkeypatch.setattr(agent.network, "value", lambda seen: seen["shown"])
    value = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]])
    advantage, returns = agent._advantage(rollout, value)
    assert advantage.tolist() == [[1 + 3.5 / 4, 1 - 1 / 4], [3.5, -1.0], [1.0, 1.0]]
    assert torch.equal(returns, advantage + value[:-1])


def test_what_is_logged_leaves_out_steps_that_only_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Returns of 1, 2, 3 and 6, values of 1, 2, 3 and 4: 1 - Var(0, 0, 0, 2) / Var = 11/14.

    The values of the other two steps, and their returns, are far apart.
    """
    settings = CommConfig(n_steps=3, entropy_weight=0.0)
    agent = Comm("daedalus/Catch-v0", settings, num_envs=2, device="cpu")
    assert agent.collector is not None
    collected = agent.collector.collect(3)
    assert collected is not None
    rollout = collected._replace(valid=torch.tensor([[True, True], [False, False], [True, True]]))
    value = torch.tensor([1.0, 2.0, 50.0, -50.0, 3.0, 4.0, 0.0, 0.0], requires_grad=True)
    returns = torch.tensor([[1.0, 2.0], [-50.0, 50.0], [3.0, 6.0]])
    gains = torch.tensor([[0.0, 0.0], [9.0, 9.0], [0.0, 0.0]])
    monkeypatch.setattr(agent, "_advantage", lambda *_: (gains, returns))
    monkeypatch.setattr(agent.network, "value", lambda _: value)
    row: Any = agent.update(rollout)
    assert row["explained_variance"]().item() == pytest.approx(11 / 14)
    assert row["value_loss"].item() == pytest.approx(0.5 * 2**2 / 4)
    slopes = [p.grad for p in agent.network.policies.parameters()]
    assert not any(slope.any() for slope in slopes if slope is not None)


def test_a_rollout_that_only_resets_changes_nothing() -> None:
    """As that of one step behind an episode's end, in Gymnasium's vectors."""
    agent = Comm("daedalus/Catch-v0", CommConfig(n_steps=1), num_envs=2, device="cpu")
    assert agent.collector is not None
    rollout = agent.collector.collect(1)
    assert rollout is not None
    before = [p.clone() for p in agent.network.parameters()]
    assert agent.update(rollout._replace(valid=torch.zeros(1, 2, dtype=torch.bool))) == {}
    assert all(torch.equal(a, b) for a, b in zip(before, agent.network.parameters(), strict=True))


def test_advantages_and_gradients_are_scaled_role_by_role(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 and 3 of the sender, 10 and 30 of the receiver: less than their means by 1 / sqrt 2 each.

    Where a role has no choice its advantage, 99, is not looked at.
    """
    settings = CommConfig(normalize_advantage=True, max_gradient_norm=1e-3, sender="agnostic")
    agent = Comm(GAME, settings, num_envs=2, env_kwargs=SMALL, device="cpu")
    assert agent.collector is not None
    rollout = agent.collector.collect(2)
    assert rollout is not None
    gains = torch.tensor([[1.0, 99.0, 3.0, 99.0], [99.0, 10.0, 99.0, 30.0]])
    monkeypatch.setattr(agent, "_advantage", lambda *_: (gains, torch.ones(2, 4)))
    seen = []

    def watched(log_pi: Tensor, entropy: Tensor, advantage: Tensor, beta: float) -> Tensor:
        seen.append(advantage.tolist())
        return reinforce_loss(log_pi, entropy, advantage, beta)

    monkeypatch.setattr("daedalus.agents.comm.reinforce_loss", watched)
    agent.update(rollout)
    root = math.sqrt(0.5)
    assert seen == [pytest.approx([-root, root])] * 2
    for role in (0, 1):
        slopes = [p.grad for _, p in agent.network.of(role) if p.grad is not None]
        norm = torch.cat([slope.flatten() for slope in slopes]).norm()
        assert norm.item() == pytest.approx(1e-3, rel=0.01)


# ------------------------------------------------------------------------------------- roles


class _Times(torch.nn.Module):
    """Multiplies what it sees by a weight."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight))

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        return observation["x"] * self.weight


def test_each_row_goes_to_the_network_of_its_agent_and_no_other_learns() -> None:
    roles = Roles(2, lambda i: _Times(10.0 ** (i + 1)))
    who = torch.tensor([[0.0, 1], [1, 0], [0, 1], [1, 0]])
    found = roles({"x": torch.tensor([[1.0], [2], [3], [4]]), "agent": who}).squeeze(1)
    assert found.tolist() == [100, 20, 300, 40]
    found[[0, 2]].sum().backward()
    first, second = (next(network.parameters()).grad for network in roles.networks)
    assert first is None or first.item() == 0.0
    assert second is not None
    assert second.item() == 4.0


def test_what_an_agent_cannot_do_has_no_probability_and_one_way_is_no_choice() -> None:
    seen = {"action_mask": torch.tensor([[1, 0, 1], [1, 0, 0]])}
    output = allowed(torch.zeros(2, 3), seen)
    assert output.softmax(-1).tolist() == [[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]]
    assert choices(seen, torch.zeros(2)).tolist() == [True, False]


def test_no_gradient_passes_through_the_symbol() -> None:
    """The receiver's rows move nothing of the sender, and the other way round."""
    agent = Comm(GAME, num_envs=4, env_kwargs=SMALL, device="cpu")
    assert agent.collector is not None
    rollout = agent.collector.collect(2)
    assert rollout is not None
    seen = {name: value[:2].flatten(0, 1) for name, value in rollout.observation.items()}
    policy = agent.network.distribution
    log_pi, _ = policy.log_prob_entropy(agent.network.policy(seen), rollout.action.flatten())
    who = seen["agent"].argmax(-1)
    for role in (0, 1):
        agent.network.zero_grad()
        mine = log_pi[(who == role) & choices(seen, log_pi)]
        mine.sum().backward(retain_graph=True)
        sizes = [
            sum(float(p.grad.abs().sum()) for p in network.parameters() if p.grad is not None)
            for network in agent.network.policies.networks
        ]
        assert sizes[role] > 0.0
        assert sizes[1 - role] == 0.0


def test_the_roles_share_no_parameter() -> None:
    agent = Comm(GAME, num_envs=2, env_kwargs=SMALL, device="cpu")
    first, second = ({id(p) for _, p in agent.network.of(i)} for i in (0, 1))
    assert not first & second
    assert len(first | second) == len(list(agent.network.parameters()))


def test_wrong_settings_of_comm_are_named() -> None:
    with pytest.raises(ValueError, match="informed"):
        Comm(GAME, CommConfig(sender="loud"), num_envs=1, device="cpu")


# ------------------------------------------------------------------------------- iql, by hand


def test_the_probability_of_an_epsilon_greedy_action() -> None:
    q = torch.tensor([[1.0, 3.0, 2.0, -1e9], [1.0, 3.0, 2.0, -1e9]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0]])
    found = probability(q, torch.tensor([1, 0]), mask, 0.3)
    assert found.tolist() == pytest.approx([0.8, 0.1])  # .3 / 3 + .7, and .3 / 3
    plain = probability(q[:, :3], torch.tensor([1, 0]), None, 0.3)
    assert plain.tolist() == pytest.approx([0.8, 0.1])


def test_what_the_others_did_leaves_oneself_out() -> None:
    assert others(torch.tensor([[1.0, 2.0, 4.0]])).tolist() == [[6.0, 5.0, 3.0]]


def test_an_action_that_is_not_taken_any_more_weighs_least_for_the_others() -> None:
    """The second of three has probability 0 now: a ratio of 0 for the others, clipped to 0.01."""
    now = torch.tensor([[1.0, 0.0, 0.5]]).log()
    then = torch.tensor([[0.5, 0.5, 0.5]]).log()
    weights = ImportanceWeights(3)
    found = weights(others(now), others(then))
    raw = [0.1, math.sqrt(2.0), 0.1]  # the second: 1 / 0.5 * 0.5 / 0.5, to the power 1 / 2
    average = 0.99 + 0.01 * sum(raw) / 3
    assert found[0].tolist() == pytest.approx([value / average for value in raw], rel=1e-5)


def test_without_exploration_at_the_end_importance_weights_stay_finite() -> None:
    """At epsilon 0 old steps hold actions whose probability is exactly 0 now."""
    config = IQLConfig(
        n_steps=2, learning_starts=8, batch_size=16, importance=True,
        exploration_end=0.0, exploration_fraction=0.1,
    )  # fmt: skip
    agent = IQL("daedalus/ClimbingGame-v0", config, num_envs=4, seed=1, device="cpu").learn(800)
    assert agent.epsilon == 0.0
    assert all(torch.isfinite(p).all() for p in agent.network.parameters())
    assert math.isfinite(agent.weights.average.item())


class _Tells(torch.nn.Module):
    """Prefers the action that the observation names, and the one after it at another age than 0.7.

    The values are those of three actions: 1 for the preferred one, 0 for the others.
    """

    def forward(self, seen: dict[str, Tensor]) -> Tensor:
        old = (seen["fingerprint"][:, 1] - 0.7).abs() > 1e-6
        best = (seen["observation"][:, 0].long() + old.long()) % 3
        return torch.eye(3)[best]


def test_importance_weights_compare_now_with_then_by_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At epsilon 0.3 of 3 actions: 0.8 for the greedy one and 0.1 for another.

    The first step was (greedy, another) by the networks of now, with 0.4 and 0.2 then; the second
    one (another, greedy), with 0.5 and 0.64 then. Each agent's weight is the other's ratio.
    """
    settings = IQLConfig(importance=True, exploration_end=0.0, exploration_fraction=1.0)
    agent = IQL("daedalus/ClimbingGame-v0", settings, num_envs=2, device="cpu")
    agent.network = _Tells()
    agent.num_timesteps, agent.total_timesteps = 70, 100  # e = 0.7, epsilon = 0.3
    best = torch.tensor([[1.0, 0.0], [2.0, 2.0]])
    batch = {
        "observation/observation": best.unsqueeze(-1),
        "observation/agent": torch.eye(2).expand(2, 2, 2),
        "next/observation": best.unsqueeze(-1) + 1,
        "next/agent": torch.eye(2).expand(2, 2, 2),
        "action": torch.tensor([[1, 1], [0, 2]]),
        "reward": torch.zeros(2, 2),
        "terminated": torch.zeros(2, 2, dtype=torch.bool),
        "fingerprint": torch.tensor([0.9, 0.1]).expand(2, 2, 2),
        "log_probability": torch.tensor([[0.4, 0.2], [0.5, 0.64]]).log(),
    }
    seen = {"observation": batch["observation/observation"].flatten(0, 1)}
    found = agent._weights(batch, seen)
    raw = torch.tensor([[0.1 / 0.2, 0.8 / 0.4], [0.8 / 0.64, 0.1 / 0.5]])
    average = 0.99 + 0.01 * raw.mean()
    torch.testing.assert_close(found, raw / average)
    shown = []  # what a gradient step hands over: the observations, not those that follow

    def watched(batch: Any, seen: Any) -> Tensor:
        shown.append(seen["observation"])
        return torch.ones(2, 2)

    monkeypatch.setattr(agent, "_weights", watched)
    monkeypatch.setattr(agent, "target", _Tells())
    monkeypatch.setattr("daedalus.agents.iql.descend", lambda _, loss, *rest: loss)
    agent._learn(batch)
    assert torch.equal(shown[0], seen["observation"])


def test_the_probability_kept_is_that_of_the_moment_of_acting() -> None:
    """Both acted at epsilon 0.3, where the first action was greedy; later it is another one."""
    config = IQLConfig(importance=True, exploration_end=0.0, exploration_fraction=1.0)
    agent = IQL("daedalus/ClimbingGame-v0", config, num_envs=8, seed=1, device="cpu")
    assert agent.collector is not None
    agent.network = _Tells()
    agent.num_timesteps, agent.total_timesteps = 70, 100
    rollout = agent.collector.collect(8)
    assert rollout is not None
    agent.num_timesteps = 100  # nobody explores any more, and the greedy action has changed
    steps = agent._steps(rollout)
    best = rollout.observation["observation"][0, 0, 0].long()
    expected = torch.where(steps["action"] == best, 0.8, 0.1)
    assert {0.1, 0.8} == {round(x, 3) for x in expected.unique().tolist()}
    torch.testing.assert_close(steps["log_probability"].exp(), expected)


def test_importance_weights_are_clipped_rooted_and_averaged() -> None:
    weights = ImportanceWeights(3)
    ratio = torch.tensor([[100.0, 1e-9, 1.0, 0.25]])
    found = weights(ratio.log(), torch.zeros(1, 4))
    raw = [math.sqrt(2.0), math.sqrt(0.01), 1.0, 0.5]  # clipped to [.01, 2], power 1 / (3 - 1)
    average = 0.99 + 0.01 * sum(raw) / 4
    assert weights.average.item() == pytest.approx(average)
    assert found[0].tolist() == pytest.approx([value / average for value in raw])
    alone = ImportanceWeights(1)
    assert alone(torch.zeros(2, 1), torch.zeros(2, 1)).tolist() == [[1.0], [1.0]]


def test_q_targets_and_loss_by_hand() -> None:
    following = torch.tensor([[1.0, 4.0], [1.0, 4.0]])
    ends = torch.tensor([False, True])
    target = q_target(torch.tensor([1.0, 1.0]), following, ends, 0.5)
    assert target.tolist() == [3.0, 1.0]
    q = torch.tensor([[0.0, 2.0], [5.0, 0.0]])
    weight = torch.tensor([1.0, 0.5])
    loss = td_loss(q, torch.tensor([1, 0]), target, weight)
    assert loss.item() == pytest.approx((1 * (3 - 2) ** 2 + 0.5 * (1 - 5) ** 2) / 2)


class _Says(torch.nn.Module):
    """Gives the same values of two actions to every observation."""

    def __init__(self, first: float, second: float) -> None:
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor([first, second]))

    def forward(self, seen: dict[str, Tensor]) -> Tensor:
        return self.values.expand(len(seen["x"]), 2)


def test_targets_are_those_of_the_network_that_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Q = (1, 2) and Q- = (3, 8), gamma 1/2: targets 1 + 4 and, where the episode ends, 1.

    The first action has (5 - 1)^2, the second (1 - 2)^2: 17 / 2. With Q in the place of Q-:
    (2 - 1)^2 + (1 - 2)^2, 1.
    """
    spaces = Spaces({"x": Box(-1, 1, (1,))}, Discrete(2), {})
    agent = IQL(spaces, IQLConfig(gamma=0.5, fingerprint=False), device="cpu")
    now, follows, losses = _Says(1.0, 2.0), _Says(3.0, 8.0), list[Tensor]()
    monkeypatch.setattr(agent, "network", now)
    monkeypatch.setattr(agent, "target", follows)
    monkeypatch.setattr("daedalus.agents.iql.descend", lambda _, loss, *rest: losses.append(loss))
    batch = {
        "observation/x": torch.zeros(2, 1, 1),
        "next/x": torch.zeros(2, 1, 1),
        "action": torch.tensor([[0], [1]]),
        "reward": torch.ones(2, 1),
        "terminated": torch.tensor([[False], [True]]),
        "fingerprint": torch.zeros(2, 1, 2),
    }
    metrics: Any = agent._learn(batch)
    assert losses[0].item() == pytest.approx(17 / 2)
    assert metrics["td_error"]().item() == pytest.approx((4 + 1) / 2)
    losses[0].backward()
    assert now.values.grad is not None
    assert now.values.grad.tolist() == [-4.0, 1.0]  # -(target - Q), of the mean of two
    assert follows.values.grad is None
    seen = {"x": torch.zeros(1, 1), "action_mask": torch.tensor([[1.0, 0.0]])}
    masked = agent.q(follows, seen, torch.zeros(1, 2))
    assert masked.max(-1).values.tolist() == [3.0]  # the second is not there


def test_the_target_follows_after_its_number_of_gradient_steps() -> None:
    """Two an update, copied after three: before the fourth, and after the sixth."""
    config = IQLConfig(
        n_steps=1, hidden=4, learning_starts=0, batch_size=4, gradient_steps=2,
        target_update_interval=3,
    )  # fmt: skip
    agent = IQL("daedalus/Catch-v0", config, num_envs=2, seed=1, device="cpu")
    like, moved = list[bool](), list[bool]()
    before = agent.target.state_dict()["head.bias"].clone()
    for _ in range(3):
        agent.learn(2, reset_num_timesteps=False)
        here, there = agent.network.state_dict(), agent.target.state_dict()
        like.append(all(torch.equal(here[name], there[name]) for name in here))
        moved.append(not torch.equal(before, there["head.bias"]))
    assert like == [False, False, True]
    assert moved == [False, True, True]


def test_what_follows_the_last_step_of_an_episode_is_its_last_observation() -> None:
    """Catch ends with its ball at the bottom; the next observation is of another episode."""
    agent = IQL("daedalus/Catch-v0", IQLConfig(n_steps=12, hidden=8), num_envs=2, device="cpu")
    assert agent.collector is not None
    rollout = agent.collector.collect(12)
    assert rollout is not None
    (name,) = rollout.observation
    steps = agent._steps(rollout)
    following = steps[f"next/{name}"].view(12, 2, *rollout.observation[name].shape[2:])
    assert len(rollout.final_index) == 2
    for k, (t, b) in enumerate(rollout.final_index.tolist()):
        last = rollout.final_observation[name][k]
        assert not torch.equal(last, rollout.observation[name][t + 1, b])
        assert torch.equal(following[t, b], last)
        assert torch.equal(following[t - 1, b], rollout.observation[name][t, b])
    valid = torch.ones(12, 2, dtype=torch.bool)
    valid[3, 1] = False  # it only resets
    cut = rollout._replace(
        valid=valid, truncated=rollout.terminated, terminated=torch.zeros_like(rollout.terminated)
    )
    again = agent._steps(cut)
    assert not again["terminated"].any()
    assert len(again["terminated"]) == len(again["reward"]) == 23


def test_fingerprints_are_those_of_the_step_also_behind_the_bootstrap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = IQLConfig(n_steps=1, learning_starts=0, batch_size=8, gradient_steps=1)
    env_kwargs = {"game": "two_step"}
    agent = IQL("daedalus/ClimbingGame-v0", config, num_envs=2, env_kwargs=env_kwargs, device="cpu")
    agent.learn(400)
    held = agent.replay.fields["fingerprint"][: agent.replay.count]
    # step k of 100 was taken when 4 k of 400 were counted: e = k / 100, epsilon = 1 - .98 e / .6
    share = torch.arange(100).repeat_interleave(2) / 100
    assert torch.allclose(held[:, 0, 1], share)
    assert torch.allclose(held[:, 0, 0], (1 - 0.98 * share / 0.6).clamp(min=0.02), atol=1e-6)
    shown = []
    real = IQL.q

    def watched(self: IQL, network: Any, seen: Any, fingerprint: Tensor) -> Tensor:
        shown.append(fingerprint.clone())
        return real(self, network, seen, fingerprint)

    monkeypatch.setattr(IQL, "q", watched)
    batch = agent.replay.sample(8, np.random.default_rng(0))
    agent._learn(batch)
    assert len(shown) == 2  # Q(o, u), and Q- of what followed
    assert all(torch.equal(f, batch["fingerprint"].flatten(0, 1)) for f in shown)


def test_a_finished_task_is_played_at_the_age_at_which_it_was_learnt(tmp_path: Path) -> None:
    """Also after saving; the next task begins with random actions and a share of 0 again."""
    config = IQLConfig(n_steps=5, hidden=8, learning_starts=20)
    agent = IQL("daedalus/Catch-v0", config, num_envs=4, seed=1, device="cpu").learn(100)
    end = agent.now(1)
    assert end[0].tolist() == pytest.approx([0.02, 1.0])
    agent.finish_task("a")
    assert torch.equal(agent.now(1), end)
    agent.save(tmp_path / "saved")
    assert torch.equal(IQL.load(tmp_path / "saved", device="cpu").now(1), end)
    agent.learn(100, reset_num_timesteps=False)
    ages = agent.replay.fields["fingerprint"][: agent.replay.count, 0]
    assert ages[0].tolist() == [1.0, 0.0]
    assert ages[-1, 1].item() == pytest.approx(0.96)  # of the last of 25 steps


def test_a_task_that_was_stopped_early_is_finished_all_the_same() -> None:
    config = IQLConfig(n_steps=5, hidden=8, learning_starts=20)
    agent = IQL("daedalus/Catch-v0", config, num_envs=4, seed=1, device="cpu")
    agent.learn(100, callback=lambda *_: agent.num_timesteps < 60)
    assert agent.progress == 0.6
    agent.finish_task("a")
    assert agent.now(1)[0].tolist() == pytest.approx([0.02, 1.0])


def learned_from_two_ages(**settings: Any) -> Tensor:
    """Return Q(row player's actions) now, from steps with a random and steps with a settled other.

    The column player once drew at random (epsilon 1) and now plays the first column.
    """
    config = IQLConfig(learning_rate=5e-3, gamma=0.0, **settings)
    agent = IQL("daedalus/ClimbingGame-v0", config, num_envs=1, seed=0, device="cpu")
    table = torch.tensor([[11.0, -30, 0], [-30, 7, 6], [0, 0, 5]])
    rng = np.random.default_rng(0)
    old = np.arange(600) < 300
    row, column = rng.integers(0, 3, (2, 600))
    action = torch.from_numpy(np.stack([row, np.where(old, column, 0)], 1))
    age = torch.from_numpy(np.where(old[:, None], [1.0, 0.0], [0.02, 1.0])).float()
    ones = torch.ones(600, 2, 1)
    who = torch.eye(2).expand(600, 2, 2)
    fields = {"observation/observation": ones, "observation/agent": who}
    fields |= {"next/observation": ones, "next/agent": who, "action": action}
    fields |= {"reward": table[action[:, 0], action[:, 1]][:, None].expand(600, 2)}
    fields |= {"terminated": torch.ones(600, 2, dtype=torch.bool)}
    fields |= {"fingerprint": age[:, None].expand(600, 2, 2)}
    agent.replay.add({name: value.contiguous() for name, value in fields.items()})
    for _ in range(500):
        agent._learn(agent.replay.sample(64, agent.rng))
    now = torch.tensor([[0.02, 1.0]])
    seen = {"observation": torch.ones(1, 1), "agent": torch.tensor([[1.0, 0.0]])}
    with torch.no_grad():
        return agent.q(agent.network, seen, now)[0]


def test_plain_replay_keeps_stale_values_and_the_fingerprint_does_not() -> None:
    """The first column alone: 11, -30, 0; mixed half and half with row means -19/3, -17/3, 5/3."""
    fresh = learned_from_two_ages()
    assert fresh.tolist() == pytest.approx([11.0, -30.0, 0.0], abs=3.0)
    stale = learned_from_two_ages(fingerprint=False)
    assert stale.tolist() == pytest.approx([7 / 3, -107 / 6, 5 / 6], abs=3.0)


def test_iql_says_which_actions_it_can_take() -> None:
    spaces = Spaces({"x": Box(-1, 1, (2,))}, Box(-1, 1, (1,)), {})
    with pytest.raises(TypeError, match="use ppo"):
        IQL(spaces, device="cpu")


# ---------------------------------------------------------------------------------- the replay


def test_the_replay_keeps_the_latest_steps() -> None:
    replay = StepReplay(4, CPU)
    with pytest.raises(ValueError, match="empty"):
        replay.sample(1, np.random.default_rng(0))
    replay.add({"x": torch.arange(3)})
    replay.add({"x": torch.arange(3, 6)})
    assert sorted(replay.fields["x"].tolist()) == [2, 3, 4, 5]
    replay.add({"x": torch.arange(10, 20)})
    assert sorted(replay.fields["x"].tolist()) == [16, 17, 18, 19]
    again = StepReplay(4, CPU)
    again.set_state(replay.get_state())
    for held in (replay, again):
        held.add({"x": torch.tensor([99])})
    drawn = [held.sample(20, np.random.default_rng(1))["x"] for held in (replay, again)]
    assert torch.equal(*drawn)
    with pytest.raises(ValueError, match="at least 1"):
        StepReplay(0, CPU)


def test_steps_from_a_checkpoint_come_to_the_learners_device() -> None:
    """A fresh agent has no field yet that could tell where they belong."""
    saved = StepReplay(4, CPU)
    saved.add({"x": torch.arange(3)})
    elsewhere = StepReplay(4, torch.device("meta"))
    elsewhere.set_state({name: value.numpy() for name, value in saved.get_state().items()})
    assert (elsewhere.fields["x"].device.type, elsewhere.count) == ("meta", 3)
    agent = IQL("daedalus/Catch-v0", num_envs=1, device="cpu")
    assert agent.replay.device is agent.device


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_on_a_gpu_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    config = IQLConfig(n_steps=5, hidden=8, learning_starts=20)
    agent = IQL("daedalus/Catch-v0", config, num_envs=4, seed=1, device="cuda").learn(100)
    agent.save(tmp_path / "saved")
    again = IQL.load(tmp_path / "saved", env="daedalus/Catch-v0", device="cuda")
    assert {field.device.type for field in again.replay.fields.values()} == {"cuda"}
    again.learn(100, reset_num_timesteps=False)


# -------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("sender", ["informed", "agnostic"])
def test_two_agents_agree_on_a_code(sender: str) -> None:
    config = CommConfig(sender=sender, learning_rate=1e-2)
    agent = Comm(GAME, config, num_envs=32, seed=1, env_kwargs=SMALL).learn(48_000)
    score = evaluate(agent, GAME, 300, deterministic=True, env_kwargs=SMALL).mean
    assert 0.9 <= score <= 1.0


def test_random_symbols_leave_only_chance() -> None:
    deaf = {**SMALL, "channel_noise": 1.0}
    config = CommConfig(learning_rate=1e-2)
    agent = Comm(GAME, config, num_envs=32, seed=1, env_kwargs=deaf).learn(20_000)
    assert 0.4 <= evaluate(agent, GAME, 500, env_kwargs=deaf).mean <= 0.6


@pytest.mark.parametrize("name", ["comm", "iql"])
def test_a_time_limit_does_not_end_the_value(name: str) -> None:
    """Reward 1 for ever, cut after 20 steps: V = 1 / (1 - 0.9) = 10 (as an end: below 8.8)."""
    env, one = "daedalus/ConstantReward-v0", {"one": torch.ones(1, 1)}
    if name == "comm":
        settings = CommConfig(n_steps=5, gamma=0.9, learning_rate=5e-3, hidden=32)
        comm = Comm(env, settings, num_envs=16, seed=1).learn(30_000)
        value = comm.network.value(one).item()
    else:
        config = IQLConfig(gamma=0.9, hidden=32, target_update_interval=20, learning_rate=2e-3)
        iql = IQL(env, config, num_envs=16, seed=1).learn(60_000)
        value = iql.q(iql.network, one, iql.now(1)).max().item()
    assert 9.5 < value < 10.5


def test_iql_learns_catch() -> None:
    config = IQLConfig(n_steps=4, learning_rate=2e-3, gradient_steps=2)
    agent = IQL("daedalus/Catch-v0", config, num_envs=16, seed=1).learn(32_000)
    assert 0.8 <= evaluate(agent, "daedalus/Catch-v0", 100, deterministic=True).mean <= 1.0


def test_comm_learns_catch() -> None:
    config = CommConfig(n_steps=9, gamma=0.99, learning_rate=5e-3)
    agent = Comm("daedalus/Catch-v0", config, num_envs=16, seed=1).learn(60_000)
    assert 0.8 <= mean_return(agent) <= 1.0


def test_iql_with_importance_weights_and_networks_of_their_own_trains_in_a_skirmish() -> None:
    config = IQLConfig(importance=True, shared=False, learning_starts=200, batch_size=16)
    agent = IQL("daedalus/Skirmish-v0", config, num_envs=4, seed=1).learn(1500)
    batch = agent.replay.fields
    taken = batch["observation/action_mask"][: agent.replay.count]
    action = batch["action"][: agent.replay.count]
    assert taken.gather(-1, action.unsqueeze(-1)).all()  # only what was allowed
    assert 0.1 < agent.weights.average.item() < math.sqrt(2) + 1e-6
