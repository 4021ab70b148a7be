"""A value that is not finite stops the run before it reaches a buffer or a weight, by name."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from daedalus.accelerators.guards import (
    NotFiniteError,
    OutOfSpaceError,
    StepGuard,
    check_finite,
    check_gradients,
)
from daedalus.agents import make_agent

BAD = [float("nan"), float("inf"), float("-inf")]
SPACES: dict[str, Space[Any]] = {
    "position": Box(-1.0, 1.0, (3,), np.float32),
    "image": Box(0, 255, (2, 2, 3), np.uint8),
    "door": Discrete(4),
}


def arrays(num_envs: int = 5) -> dict[str, np.ndarray]:
    """Observations (B, ...) of ``SPACES``, all in their spaces."""
    return {
        "position": np.zeros((num_envs, 3), np.float32),
        "image": np.full((num_envs, 2, 2, 3), 255, np.uint8),
        "door": np.zeros(num_envs, np.int64),
    }


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_the_first_bad_array_is_named_with_its_environment(bad: float, kind: str) -> None:
    values = {"a": np.zeros((4, 5, 2), np.float32), "b": np.zeros((4, 5), np.float32)}
    values["a"][3, 2, 1] = values["b"][0, 0] = bad
    given: Any = values
    if kind == "torch":
        given = {name: torch.from_numpy(array) for name, array in values.items()}
    with pytest.raises(NotFiniteError) as caught:
        check_finite(given, "rollout", env_axis=1)
    error = caught.value
    assert (error.name, error.where, error.index, error.env) == ("a", "rollout", (3, 2, 1), 2)
    assert str(error) == f"a is {bad} at index [3, 2, 1] (rollout), environment 2"


@pytest.mark.filterwarnings("error")
def test_opposite_infinities_do_not_cancel() -> None:
    values = np.zeros((2, 3), np.float32)
    values[0, 0], values[1, 1] = np.inf, -np.inf
    with pytest.raises(NotFiniteError):
        check_finite({"a": values})
    with pytest.raises(NotFiniteError):
        StepGuard(2, {"position": SPACES["position"]}).check({"position": values}, np.zeros(2))


@pytest.mark.filterwarnings("error")
def test_finite_values_pass_even_if_their_sum_overflows() -> None:
    large = np.full(1000, 3e38, np.float32)
    check_finite({"a": large, "b": torch.from_numpy(large), "c": np.zeros(0, np.float32)})
    check_finite({"integers": np.full(3, 255, np.uint8), "flags": torch.ones(2, dtype=torch.bool)})
    StepGuard(4, {"door": SPACES["door"]}).check({"door": np.zeros(4, np.int64)}, large)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["position", "reward"])
def test_a_step_is_stopped(bad: float, name: str) -> None:
    guard, observation, reward = StepGuard(5, SPACES), arrays(), np.zeros(5, np.float32)
    guard.check(observation, reward)
    (observation["position"][:, 2] if name == "position" else reward)[3] = bad
    with pytest.raises(NotFiniteError, match=f"{name} is {bad} .*environment 3"):
        guard.check(observation, reward)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("position", 1.5, r"position of environment 4 is 1.5 at index \[0\]"),
        ("position", -2.0, r"position of environment 4 is -2.0"),
        ("door", 4, r"door of environment 4 is 4 at index \[\], outside Discrete\(4\)"),
        ("door", -1, "door of environment 4 is -1"),
    ],
)
def test_a_value_outside_its_space_is_named(name: str, value: float, text: str) -> None:
    guard, observation = StepGuard(5, SPACES, check_bounds=True), arrays()
    guard.check(observation, np.zeros(5))
    observation[name][4] = value
    with pytest.raises(OutOfSpaceError, match=text):
        guard.check(observation, np.zeros(5))
    StepGuard(5, SPACES).check(observation, np.zeros(5))  # ours are tested instead


def test_spaces_of_every_kind_have_their_bounds() -> None:
    spaces: dict[str, Space[Any]] = {"many": MultiDiscrete([2, 3]), "bits": MultiBinary(2)}
    guard = StepGuard(1, spaces, check_bounds=True)
    good = {"many": np.array([[1, 2]]), "bits": np.array([[0, 1]], np.int8)}
    guard.check(good, np.zeros(1))
    for name, value in [("many", [[1, 3]]), ("many", [[-1, 0]]), ("bits", [[0, 2]])]:
        with pytest.raises(OutOfSpaceError, match=name):
            guard.check({**good, name: np.array(value)}, np.zeros(1))


class Stubborn(gymnasium.Env[Any, int]):
    """An environment whose third step returns what it was told to."""

    action_space: gymnasium.Space[Any] = Discrete(2)
    good: Any = np.zeros(3, np.float32), 1.0, False, False, {}

    def __init__(self, third: Any, space: Any = SPACES["position"]) -> None:
        """Return ``third`` at the third step."""
        self.observation_space, self.third, self.count = space, third, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Begin."""
        return self.good[0], {}

    def step(self, action: int) -> Any:
        """Count."""
        self.count += 1
        return self.third if self.count == 3 else self.good


@pytest.mark.parametrize(
    ("third", "text"),
    [
        ((np.zeros(4, np.float32), 0.0, False, False, {}), r"shape \(4,\) and dtype float32"),
        ((np.float32(0), 0.0, False, False, {}), r"shape \(\)"),
        ((None, 0.0, False, False, {}), "dtype object"),
        ((np.array(["a", "b", "c"]), 0.0, False, False, {}), "dtype <U1"),
        ((Stubborn.good[0], None, False, False, {}), "reward None, expected a number"),
        ((Stubborn.good[0], "1", False, False, {}), "reward '1'"),
        ((Stubborn.good[0], np.zeros(2), False, False, {}), r"reward array\(\[0., 0.\]\)"),
        (
            (Stubborn.good[0], 0.0, False, {}),
            r"a tuple of 4 from step\(\), expected \(obs",
        ),
        (None, "a NoneType from"),
        ((np.full(3, 2, np.float32), 0.0, False, False, {}), "of environment 0 is 2.0 at index"),
        ((np.full(3, np.nan, np.float32), 0.0, False, False, {}), "observation is nan"),
    ],
)
def test_what_a_users_environment_gets_wrong_is_named(third: Any, text: str) -> None:
    agent = make_agent("actor_critic")(Stubborn(third))
    before = {name: value.clone() for name, value in agent.get_state()[0].items()}
    with pytest.raises((OutOfSpaceError, NotFiniteError), match=text) as caught:
        agent.learn(100)
    assert "\n" not in str(caught.value)
    after = agent.get_state()[0]
    assert all(torch.equal(v, after[k]) for k, v in before.items() if k.startswith("network"))


def train_step(bad_in: str, guard: bool) -> torch.nn.Module:
    """One step of gradient descent with a NaN made in the loss or in one gradient."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    loss = network(torch.ones(4, 3)).pow(2).mean()
    if bad_in == "loss":
        loss = loss * float("nan")
    loss.backward()
    if bad_in == "gradient":
        gradient = network.get_parameter("1.weight").grad
        assert gradient is not None
        gradient[0, 1] = float("inf")
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    if guard:
        check_gradients(network.named_parameters, loss, norm)
    optimizer.step()
    return network


def test_a_bad_loss_or_gradient_is_named_before_the_step() -> None:
    with pytest.raises(NotFiniteError, match=r"^loss is nan"):
        train_step("loss", guard=True)
    with pytest.raises(NotFiniteError, match=r"^gradient 1\.weight is"):
        train_step("gradient", guard=True)
    train_step("nothing", guard=True)


@pytest.mark.parametrize("bad_in", ["loss", "gradient"])
def test_without_the_guard_the_weights_would_be_lost(bad_in: str) -> None:
    network = train_step(bad_in, guard=False)
    assert not all(p.isfinite().all() for p in network.parameters())
