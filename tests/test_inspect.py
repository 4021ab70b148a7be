"""What agents and environments show to people who watch."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, Text
from training_runs import QUICK  # registers the small worlds too

from daedalus.accelerators.rollout import Acted, Inputs, Seen
from daedalus.agents import make_agent
from daedalus.evaluation.panels import as_panel
from daedalus.evaluation.policy import as_policy
from daedalus.evaluation.rollout import Moment, Player, open_for_people


def moments_of(name: str, env: str, count: int = 4, **settings: Any) -> tuple[Any, list[Moment]]:
    kind = make_agent(name)
    known = {field for field in vars(kind.Config())}
    quick = {key: value for key, value in {**QUICK, **settings}.items() if key in known}
    agent = kind(env, kind.Config(**quick), num_envs=4, seed=0, device="cpu")
    batch = open_for_people(env, labels=agent.labels_needed())
    player = Player(as_policy(agent, batch.action_space), batch)
    return agent, [player.begin(1), *(player.advance() for _ in range(count))]


@pytest.mark.parametrize("name", ["unreal", "nav", "ppo", "a2c"])
def test_probabilities_of_the_actions_are_shown(name: str) -> None:
    env = "CartPole-v1" if name in ("ppo", "a2c") else "tests/Pixels-v0"
    _, shown = moments_of(name, env)
    for moment in shown:
        probabilities = moment.panels["probabilities"]
        assert probabilities.shape == ((2,) if env == "CartPole-v1" else (3,))
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)
        for key, value in moment.panels.items():
            as_panel(key, value)


def test_a_q_network_shows_its_action_values() -> None:
    _, shown = moments_of("dqn", "CartPole-v1")
    assert shown[0].panels["action values"].shape == (2,)
    assert shown[0].value == pytest.approx(shown[0].panels["action values"].max(), abs=1e-6)


def test_nav_shows_depth_and_loop_closure_beside_the_labels() -> None:
    _, shown = moments_of("nav", "tests/Pixels-v0", depth_1=0.1)
    for moment in shown:
        for name in ("depth 1", "depth 2"):
            pair = moment.panels[name]
            assert pair["prediction"].shape == pair["target"].shape == (4, 16)
            assert 0 <= pair["prediction"].min() <= pair["prediction"].max() <= 7
        loop = moment.panels["loop closure"]
        assert 0 < loop["prediction"][0] < 1
        assert loop["target"][0] in (0.0, 1.0)
    assert len({float(m.panels["depth 2"]["target"][0, 0]) for m in shown}) > 1  # labels move on


def test_pixel_control_shows_the_change_that_came_and_what_it_forecast() -> None:
    agent, shown = moments_of("unreal", "tests/Pixels-v0")
    assert "pixel control" not in shown[0].panels  # nothing came before
    assert shown[1].panels["pixel control"]["prediction"].shape == (10, 10)
    task = agent.tasks["pixel_control"]
    black, white = (torch.full((1, 21, 21, 3), v, dtype=torch.uint8) for v in (0, 255))
    start, reward = torch.zeros(1, dtype=torch.bool), torch.zeros(1)
    generator = torch.Generator().manual_seed(0)
    seen = []
    for image, previous in ((black, 0), (white, 2)):
        velocity = torch.zeros(1, 6)
        inputs = Inputs(
            {"image": image, "velocity": velocity}, torch.tensor([previous]), reward, start
        )
        with torch.no_grad():
            output = torch.randn(1, task.head.spread.in_features, generator=generator)
        seen.append(Seen(inputs, Acted(torch.tensor([2]), {}, {"output": output})))
    with torch.no_grad():
        found = task.inspect(seen[1], seen[0])
        before, now = (task.head(s.acted.extras["output"])[0] for s in seen)
    assert torch.allclose(found["prediction"].flatten(), before[:, 2])  # of the action taken
    assert torch.allclose(
        found["target"].flatten(), 1.0 + task.gamma * now.amax(-1)
    )  # black, white


def test_what_a_person_does_instead_is_remembered_as_the_previous_action() -> None:
    kind = make_agent("actor_critic")
    agent = kind("daedalus/Catch-v0", kind.Config(hidden=8, lstm=8), num_envs=2, seed=0)
    batch = open_for_people("daedalus/Catch-v0")
    player = Player(as_policy(agent, batch.action_space), batch)
    for action in (0, 2):
        player.begin(3)
        player.advance(action)
        assert player.policy._now.inputs.previous_action.tolist() == [action]  # type: ignore[attr-defined]


class Office(gymnasium.Env[np.ndarray, int]):
    """Shows what its speakers said and where its tasks run."""

    observation_space: gymnasium.Space[Any] = Box(0, 1, (1,), np.float32)
    action_space: gymnasium.Space[Any] = Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.said = ["hello"]
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> Any:
        self.said.append(f"action {action}")
        return np.zeros(1, np.float32), 0.0, False, False, {"cost": 0.5}

    def panels(self) -> dict[str, Any]:
        return {"messages": self.said[-2:], "placement": [("cpu", 0, len(self.said))]}


gymnasium.register("tests/Office-v0", entry_point=f"{__name__}:Office")


def test_environments_show_panels_and_costs_of_their_own() -> None:
    batch = open_for_people("tests/Office-v0")
    player = Player(as_policy("random", batch.action_space), batch)
    first, second, third = player.begin(0), player.advance(0), player.advance(1)
    assert first.panels == {"messages": ["hello"], "placement": [("cpu", 0, 1)]}
    assert second.panels["messages"] == ["hello", "action 0"]
    assert third.panels["messages"] == ["action 0", "action 1"]
    assert [m.episode_cost for m in (first, second, third)] == [0.0, 0.5, 1.0]


class Told(Office):
    """Says in words what it wants."""

    observation_space = Dict({"place": Box(0, 1, (1,), np.float32), "words": Text(9)})

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        place, info = super().reset(seed=seed)
        return {"place": place, "words": "go"}, info


gymnasium.register("tests/Told-v0", entry_point=f"{__name__}:Told")


def test_words_are_left_out_for_people_as_they_are_in_training() -> None:
    with pytest.warns(UserWarning, match="agents do not see the observation words"):
        batch = open_for_people("tests/Told-v0")
    batch.reset([0])
    assert list(batch.observation) == ["place"]
