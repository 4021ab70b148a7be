"""What a consolidation logs of itself, by hand; and what it does not hold of `crossq`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from daedalus.agents import make_agent
from daedalus.agents.consolidation import L2
from daedalus.agents.sb3_fisher import likelihoods_of
from daedalus.agents.si import SI, correlation, quantile


def two_layers() -> list[nn.Parameter]:
    """A weight (2, 2) with a bias, and a weight (1, 2) with a bias and a gain: 6 and 4 numbers."""
    shapes: list[tuple[int, ...]] = [(2, 2), (2,), (1, 2), (1,), (1,)]
    return [nn.Parameter(torch.zeros(shape)) for shape in shapes]


def told(kept: Any) -> dict[str, float]:
    """Return what is logged, as numbers."""
    found = kept.metrics().items()
    return {name: float(value() if callable(value) else value) for name, value in found}


def test_a_layer_is_a_weight_and_what_follows_it() -> None:
    assert L2(two_layers(), 1.0).layers() == [slice(0, 6), slice(6, 10)]
    gain_first = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))]
    assert L2(gain_first, 1.0).layers() == [slice(0, 3), slice(3, 7)]
    assert L2([nn.Parameter(torch.zeros(3))], 1.0).layers() == [slice(0, 3)]


def test_the_trace_is_told_layer_by_layer() -> None:
    """Importances 0 to 9: 0 + ... + 5 = 15 and 6 + ... + 9 = 30."""
    kept = L2(two_layers(), 1.0)
    assert kept.metrics() == {}
    kept.put("a", torch.arange(10.0), torch.zeros(10))
    found = told(kept)
    assert (found["importance_trace_0"], found["importance_trace_1"]) == (15.0, 30.0)
    assert found["importance_trace"] == 45.0


def test_the_distance_is_told_plain_and_weighted() -> None:
    """Off by 2 and 3, importances 4 and 0: distance 2 (the other is free), weighted 4."""
    w = nn.Parameter(torch.zeros(2))
    kept = L2([w], 1.0)
    kept.put("a", torch.tensor([4.0, 0.0]), torch.tensor([2.0, 3.0]))
    found = told(kept)
    assert found["consolidation_distance"] == pytest.approx(2.0)
    assert found["consolidation_weighted_distance"] == pytest.approx(4.0)
    assert found["consolidation_penalty"] == pytest.approx(0.5 * 4.0**2)


def test_the_two_gradients_of_a_step_are_told() -> None:
    """The task's is (3, 4), the penalty's 2 * 1 * (1, 0) and, in the next step, of where that led.

    Without what was kept before there is nothing to tell apart.
    """
    w, other = nn.Parameter(torch.tensor([1.0, 0.0])), nn.Parameter(torch.tensor([100.0]))
    kept, optimizer = L2([w, other], 2.0), torch.optim.SGD([w], 0.1)  # another moves the other
    kept.attach(optimizer)
    w.grad = torch.tensor([3.0, 4.0])
    optimizer.step()
    assert kept.metrics() == {}
    kept.put("a", torch.ones(3), torch.zeros(3))
    with torch.no_grad():
        w.copy_(torch.tensor([1.0, 0.0]))
    w.grad = torch.tensor([3.0, 4.0])
    optimizer.step()
    assert w.tolist() == pytest.approx([1 - 0.1 * 5, -0.1 * 4])
    found = told(kept)
    assert found["task_gradient_norm"] == pytest.approx(5.0)
    assert found["consolidation_gradient_norm"] == pytest.approx(2.0)


def test_quantile_and_correlation_by_hand() -> None:
    """(0, 1, 2, 3): 1.5 at one half. (1, 2, 3) with (1, 2, 3), its mirror image and (1, 3, 2)."""
    assert quantile(torch.arange(4.0), 0.5).item() == 1.5
    up = torch.tensor([1.0, 2.0, 3.0])
    assert correlation(up, 2 * up + 1).item() == pytest.approx(1.0)
    assert correlation(up, -up).item() == pytest.approx(-1.0)
    assert correlation(up, torch.tensor([1.0, 3.0, 2.0])).item() == pytest.approx(0.5)
    assert correlation(up, torch.ones(3)).item() == 0.0


def test_si_tells_how_far_tasks_need_the_same_parameters() -> None:
    """Task 1 moves the first of two parameters; doing so again gives 1, moving the other -1.

    A step of 0.1 down a gradient of 10 moves by -1: omega = 10, Omega = 10 / (1 + 1) = 5.
    """
    for moved, expected in ((0, 1.0), (1, -1.0)):
        w = nn.Parameter(torch.zeros(2))
        kept, optimizer = SI([w], 0.0, damping=1.0), torch.optim.SGD([w], lr=0.1)

        def step(k: int, w: Any = w, kept: Any = kept, optimizer: Any = optimizer) -> None:
            w.grad = torch.zeros(2)
            w.grad[k] = 10.0
            kept.before_step()
            optimizer.step()
            kept.after_step()

        step(0)
        assert "si_correlation" not in kept.metrics()
        kept.finish("first", [])
        assert told(kept)["si_correlation"] == 0.0  # nothing has moved yet
        step(moved)
        found = told(kept)
        assert found["si_correlation"] == pytest.approx(expected)
        assert found["importance_median_0"] == pytest.approx(2.5)
        assert found["importance_q99_0"] == pytest.approx(0.99 * 5.0)


@pytest.mark.parametrize("method", ["ewc", "si"])
def test_an_agent_logs_them(method: str) -> None:
    """All layers of a feed-forward actor-critic, finite, and their traces sum to the whole."""
    config = {"hidden": 8, "lstm": 0, "consolidation": method, "fisher_samples": 20, "n_steps": 5}
    agent_class = make_agent("actor_critic")
    agent: Any = agent_class("daedalus/Catch-v0", agent_class.Config(**config), device="cpu")
    agent.learn(800)
    agent.finish_task("plain")
    agent.learn(800, reset_num_timesteps=False)
    found = told(agent.consolidation)
    assert np.isfinite(list(found.values())).all()
    traces = [value for name, value in found.items() if name.startswith("importance_trace_")]
    assert len(traces) == len(agent.consolidation.layers()) > 2
    assert sum(traces) == pytest.approx(found["importance_trace"], rel=1e-4)
    assert found["consolidation_weighted_distance"] > 0


def test_crossq_is_asked_in_evaluation_mode_and_its_statistics_are_not_held() -> None:
    """Running statistics are no parameters: what is needed stays, and values change all the same.

    With the statistics of the end of the task put back, the values are what they were.
    """
    crossq = make_agent("crossq")
    settings = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "net_arch": (16,)}
    ewc = {"consolidation": "ewc", "consolidation_weight": 1e9, "fisher_samples": 20}
    config = crossq.Config(**settings, **ewc)
    agent: Any = crossq("Pendulum-v1", config, num_envs=1, device="cpu", seed=1)
    agent.learn(100)
    critic = agent.model.policy.critic
    statistics = [value for name, value in critic.named_buffers() if ".ra_" in name]
    before = [value.clone() for value in statistics]
    assert len(list(likelihoods_of(agent))) == 20
    assert all(torch.equal(old, new) for old, new in zip(before, statistics, strict=True))
    seen = torch.linspace(-1, 1, 30).view(10, 3)

    def values() -> torch.Tensor:
        agent.model.policy.set_training_mode(False)
        return torch.cat(critic(seen, torch.zeros(10, 1)), 1).detach()

    agent.finish_task("first")
    learnt = values()
    agent.learn(100, reset_num_timesteps=False)
    assert (values() - learnt).abs().mean() > 0.05
    for old, new in zip(before, statistics, strict=True):
        assert not torch.equal(old, new)
        new.copy_(old)
    assert (values() - learnt).abs().mean() < 0.005
