"""Calibration, strangeness, sight and similarity against values computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from daedalus.accelerators.rollout import Inputs
from daedalus.agents import make_agent
from daedalus.agents.base import Spaces
from daedalus.evaluation.probes import sight
from daedalus.evaluation.probes.calibration import (
    aupr,
    auroc,
    brier,
    logistic,
    negative_log_likelihood,
    reliability,
    sigmoid,
    temperature,
)
from daedalus.evaluation.probes.similarity import similarity, svcca
from daedalus.evaluation.probes.steps import Steps, gather
from daedalus.evaluation.probes.trust import success, trust, value_calibration
from daedalus.evaluation.probes.trust_report import draw, text


def test_the_calibration_error_of_four_events() -> None:
    found = reliability(np.array([0.1, 0.1, 0.8, 0.9]), np.array([0, 1, 1, 1], bool), bins=2)
    np.testing.assert_allclose(found.confidence, [0.1, 0.85])
    np.testing.assert_allclose(found.frequency, [0.5, 1.0])
    assert found.ece == pytest.approx(0.5 * 0.4 + 0.5 * 0.15)
    assert found.mce == pytest.approx(0.4)
    assert brier(np.array([0.8, 0.1]), np.array([True, False])) == pytest.approx(0.025)


def test_a_bin_holds_its_upper_edge() -> None:
    found = reliability(np.array([0.0, 0.5, 1.0]), np.ones(3, bool), bins=2)
    assert found.number.tolist() == [2, 1]
    assert np.isnan(reliability(np.array([0.2]), np.array([True]), bins=2).confidence[1])


def test_temperature_undoes_a_known_overconfidence() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 40_000)
    happened = rng.random(40_000) < sigmoid(logit)
    assert temperature(3.0 * logit, happened) == pytest.approx(3.0, rel=0.05)
    assert temperature(logit, happened) == pytest.approx(1.0, rel=0.05)
    far = np.array([800.0, -800.0])
    assert negative_log_likelihood(far, np.array([False, True])) == pytest.approx(800.0)


def test_logistic_regression_finds_the_weights_of_its_data() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60_000, 2))
    happened = rng.random(60_000) < sigmoid(0.5 + x @ np.array([1.5, -1.0]))
    np.testing.assert_allclose(logistic(x, happened, 0.0), [0.5, 1.5, -1.0], atol=0.05)
    split = logistic(np.array([[-1.0], [1.0]]), np.array([False, True]))
    assert np.isfinite(split).all()  # separable: the ridge holds it


def test_areas_of_small_groups_by_hand() -> None:
    assert auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == pytest.approx(3.5 / 4)
    assert auroc(np.ones(3), np.ones(5)) == 0.5
    # order: 3+ 2+- 1-: precision 1, 2/3 at recall 1/2, 1
    assert aupr(np.array([3.0, 2.0]), np.array([2.0, 1.0])) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert aupr(np.ones(3), np.ones(5)) == pytest.approx(3 / 8)  # chance: the base rate


def steps_of(value: np.ndarray, outcome: np.ndarray, total: np.ndarray | None = None) -> Steps:
    """Steps of episodes of one step each."""
    count, nothing = len(value), np.full(len(value), np.nan)
    zero = np.zeros(count)
    total = outcome if total is None else total
    return Steps(np.arange(count), zero, value, outcome, zero, total, nothing, nothing, nothing)


def test_a_value_that_is_one_too_high_everywhere() -> None:
    outcome = np.repeat([0.0, 1.0, 2.0, 3.0], 25)
    found = value_calibration(steps_of(outcome + 1, outcome), bins=4)
    assert found.error == pytest.approx(1.0)
    assert found.bias == pytest.approx(1.0)
    assert found.explained == pytest.approx(1.0)
    np.testing.assert_allclose(found.predicted - found.outcome, 1.0)


def test_success_is_predicted_where_the_value_knows_it() -> None:
    rng = np.random.default_rng(2)
    value = rng.normal(size=4_000)
    won = rng.random(4_000) < sigmoid(2 * value)
    found = success(steps_of(value, won.astype(float)), threshold=1.0)
    assert found is not None
    assert found.temperature == pytest.approx(1.0, rel=0.2)
    assert found.after.ece < 0.05
    assert found.auroc > 0.75
    assert found.steps == 1_000
    assert success(steps_of(value, np.ones(4_000))) is None


def test_what_followed_is_discounted_and_goes_on_behind_a_time_limit() -> None:
    agent = make_agent("actor_critic")("daedalus/ConstantReward-v0", num_envs=2, device="cpu")
    steps = gather([agent], "daedalus/ConstantReward-v0", episodes=3, num_envs=2)
    gamma = agent.config.gamma
    first = steps.of([0])
    assert (first.total == len(first.time)).all()
    assert (first.so_far == first.time).all()
    chain = 1 + gamma * first.outcome[1:]  # reward 1 at every step
    np.testing.assert_allclose(first.outcome[:-1], chain, rtol=1e-6)
    assert first.outcome[-1] != pytest.approx(1.0, abs=1e-9)  # the last step's value is added


def test_outcomes_are_of_the_rewards_that_the_agent_learns_from() -> None:
    agent_class = make_agent("actor_critic")
    config = agent_class.Config(reward_clip=0.25)
    agent = agent_class("daedalus/ConstantReward-v0", config, num_envs=2, device="cpu")
    steps = gather([agent], "daedalus/ConstantReward-v0", episodes=1, num_envs=1)
    np.testing.assert_allclose(steps.outcome[:-1], 0.25 + config.gamma * steps.outcome[1:])
    assert steps.total[0] == len(steps.time)  # scores stay as they are


def test_an_agent_trusts_itself_and_two_disagree(tmp_path: Any) -> None:
    agents = [
        make_agent("actor_critic")("daedalus/Catch-v0", num_envs=2, seed=s, device="cpu")
        for s in (0, 1)
    ]
    found = trust(agents, "daedalus/Catch-v0", episodes=40, strange={"noise": 0.5})
    assert {s.score for s in found.strange} == {"confidence", "entropy", "disagreement"}
    assert all(0 <= s.auroc <= 1 and 0 < s.base_rate < 1 for s in found.strange)
    assert "AUROC" in text(found)
    assert draw(tmp_path / "t.png", found).stat().st_size > 5_000


# ------------------------------------------------------------------------------------ sight


def planted() -> tuple[Any, Inputs]:
    """An agent whose logits see the upper left corner alone, and two images for it."""
    spaces = Spaces({"image": Box(0, 255, (21, 21, 3), np.uint8)}, Discrete(2), {})
    agent_class = make_agent("actor_critic")
    agent = agent_class(spaces, agent_class.Config(lstm=0, hidden=8), seed=0, device="cpu")
    network = agent.modules["network"]
    with torch.no_grad():
        network.encoder.stacks["image"].standardise.deviation.fill_(255)  # black is 0, white 1
        for layer in network.encoder.stacks["image"].layers:
            layer.weight.abs_()
            layer.bias.zero_()
        network.encoder.first.weight.zero_()
        network.encoder.first.bias.zero_()
        maps = network.encoder.first.weight.view(8, 4, 4, 32)  # hidden, rows, columns, channels
        maps[:, 0, 0] = 1.0
        network.actor.weight.fill_(0.0)
        network.actor.weight[1] = 1.0
    rng = np.random.default_rng(0)
    images = rng.integers(200, 256, (2, 21, 21, 3)).astype(np.float32)
    rest = torch.zeros(2, dtype=torch.int64), torch.zeros(2), torch.ones(2, dtype=torch.bool)
    return agent, Inputs({"image": torch.from_numpy(images)}, *rest)


def corner_share(maps: np.ndarray) -> float:
    """Share of a map's mass on the 9 x 9 pixels that the corner of the last maps sees."""
    positive = np.maximum(maps, 0)
    return float(positive[:, :9, :9].sum() / positive.sum())


def test_every_kind_of_sight_finds_a_planted_corner() -> None:
    agent, inputs = planted()
    target = sight.best_action(agent, inputs, {})
    asked: Any = (agent, "image", inputs, {}, target)
    found, error = sight.integrated_gradients(*asked, baseline="black")
    assert corner_share(found) > 0.99
    assert error.max() < 0.01
    assert corner_share(sight.occlusion_map(*asked)) > 0.8
    cam = sight.grad_cam(*asked)
    assert cam.shape == (2, 21, 21)
    assert corner_share(cam) > 0
    order: Any = found
    falls = sight.deletion_curve(agent, "image", inputs, {}, target, order)
    order = np.random.default_rng(1).random(found.shape)
    chance = sight.deletion_curve(agent, "image", inputs, {}, target, order)
    assert falls[3].mean() < chance[3].mean()
    assert falls[0] == pytest.approx(chance[0])


def test_grad_cam_is_relu_of_weighted_maps() -> None:
    agent, inputs = planted()
    cam = sight.grad_cam(agent, "image", inputs, {}, sight.value_target)
    image = inputs.observation["image"].clone().requires_grad_()
    stack = agent.modules["network"].encoder.stacks["image"]
    x = image.permute(0, 3, 1, 2) / 255
    for layer in stack.layers:
        x = torch.relu(layer(x))
    maps = x.detach().requires_grad_()
    network = agent.modules["network"]
    rows = maps.permute(0, 2, 3, 1).reshape(2, -1)
    network.critic(network.encoder(rows)).sum().backward()
    slope = maps.grad
    assert slope is not None
    by_hand = torch.relu((slope.mean((2, 3))[:, :, None, None] * maps).sum(1)).detach().numpy()
    small = by_hand.max() if by_hand.max() > 0 else 1.0
    assert cam.max() <= by_hand.max() * 1.001 + 1e-9
    assert cam[:, 10, 10] / small == pytest.approx(
        torch.nn.functional.interpolate(
            torch.from_numpy(by_hand)[:, None], size=(21, 21), mode="bilinear"
        )[:, 0, 10, 10].numpy()
        / small
    )


def test_other_weights_give_another_map() -> None:
    agent, inputs = planted()
    asked: Any = ("image", inputs, {}, sight.value_target)
    before, _ = sight.integrated_gradients(agent, *asked)
    torch.manual_seed(0)
    for parameter in agent.modules["network"].parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    after, _ = sight.integrated_gradients(agent, *asked)
    correlation = np.corrcoef(np.abs(before).ravel(), np.abs(after).ravel())[0, 1]
    assert abs(correlation) < 0.5


def test_sight_needs_an_image() -> None:
    agent = make_agent("actor_critic")("CartPole-v1", num_envs=1, device="cpu")
    with pytest.raises(ValueError, match="observes no image"):
        sight.Sighted(agent, "grad_cam")


# -------------------------------------------------------------------------------- similarity


def test_svcca_does_not_see_linear_maps_but_sees_noise() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2_000, 6))
    assert svcca(x, x @ rng.normal(size=(6, 6))).mean == pytest.approx(1.0, abs=1e-9)
    apart = svcca(x, rng.normal(size=(2_000, 6)))
    assert apart.mean < 0.1
    assert apart.kept == (6, 6)
    assert apart.is_reliable
    half = svcca(x, np.column_stack([x[:, :3], rng.normal(size=(2_000, 3))]))
    np.testing.assert_allclose(half.correlations[:3], 1.0)
    assert half.correlations[3] < 0.15


def test_svcca_keeps_the_directions_of_99_percent() -> None:
    x = np.zeros((100, 3))
    x[:50, 0], x[50:, 0] = 10, -10
    x[::2, 1] = 0.5  # a four-hundredth of the variance: not kept
    assert svcca(x, x).kept == (1, 1)
    assert not svcca(x[:4], x[:4]).is_reliable
    with pytest.raises(ValueError, match="must be the same"):
        svcca(x, x[:50])


def test_an_agent_is_like_itself_layer_by_layer() -> None:
    agent = make_agent("actor_critic")("daedalus/Catch-v0", num_envs=2, device="cpu")
    other = make_agent("actor_critic")("daedalus/Catch-v0", num_envs=2, seed=9, device="cpu")
    same = similarity([agent, agent], "daedalus/Catch-v0", points=400)
    assert list(same) == ["encoded", "features", "output"]
    assert all(s.mean == pytest.approx(1.0, abs=1e-6) for s in same.values())
    assert similarity([agent, other], "daedalus/Catch-v0", points=400)["output"].mean < 0.99
