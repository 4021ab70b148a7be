"""Progressive networks: laterals by hand, columns frozen to the bit, tasks told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from torch import nn

from daedalus.accelerators.rollout import Inputs
from daedalus.accelerators.sequence import at_stage
from daedalus.agents.base import Spaces
from daedalus.agents.progressive import (
    Adapter,
    Column,
    Config,
    Progressive,
    _felt,
    fisher_sensitivity,
)
from daedalus.evaluation.sequence import train_sequence
from daedalus.scenarios import SEQUENCE

SMALL: dict[str, Any] = {"hidden": 4, "n_steps": 5}
LOOKS: list[dict[str, Any]] = [{}, {"flipped": True}]
TASKS: dict[str, Any] = {
    "task_id": "known",
    "stages": [
        {"name": n, "env": "daedalus/Catch-v0", "env_kwargs": k, "total_timesteps": 100}
        for n, k in zip(("plain", "mirrored"), LOOKS, strict=True)
    ],
}


def made(**settings: Any) -> Progressive:
    config = Config(**(SMALL | settings))
    kwargs = at_stage(SEQUENCE, TASKS, 0)
    return Progressive(SEQUENCE, config, num_envs=4, seed=1, device="cpu", env_kwargs=kwargs)


def test_an_adapter_by_hand() -> None:
    """f(V [2 h, 3 h']) of h = 1, h' = -1 with V = (5, 1): relu(10 - 3) = 7; V = (1, 1): 0."""
    adapter = Adapter(2, 1, 1, 1.0, maps=False)
    with torch.no_grad():
        adapter.alpha.copy_(torch.tensor([2.0, 3.0]))
        nn.init.zeros_(adapter.reduce.bias)  # type: ignore[arg-type]
        below = [torch.tensor([[1.0]]), torch.tensor([[-1.0]])]
        for weights, result in (((5.0, 1.0), 7.0), ((1.0, 1.0), 0.0)):
            adapter.reduce.weight.copy_(torch.tensor([weights]))
            assert adapter(below).item() == result


def column_of(x: float, *, second: bool, count: int = 2) -> tuple[Column, dict[str, torch.Tensor]]:
    """A column of one unit a layer and weights 1, alone or the last of ``count`` of them."""
    spaces = Spaces({"x": Box(-9, 9, (1,), np.float32)}, Discrete(2), {})
    config = Config(hidden=1)
    columns: list[Column] = []
    for _ in range(count if second else 1):
        columns.append(Column(spaces, config, columns))
        with torch.no_grad():
            for name, p in columns[-1].named_parameters():
                p.fill_(0.0 if "bias" in name else 1.0)
    return columns[-1], {"x": torch.tensor([[x]])}


def test_laterals_read_the_layer_below_and_the_input_has_none() -> None:
    """Units in column 1: x, x. In column 2: x; then x + x of layer 1, not of layer 2.

    With weights 1 throughout and twice the first layer of column 1, its units are 2x, 2x; column 2
    has x, x + 2x = 3x, and its heads read 3x and the lateral 2x. Read from the same layer, the
    second unit would be x + 2x as well, so the second layer of column 1 is made 5 times as large:
    2x, 10x, and still 3x, but the heads' lateral is 10x.
    """
    column, observation = column_of(3.0, second=True)
    first: Any = column.earlier[0]
    with torch.no_grad():
        first.dense[0].own.weight.fill_(2.0)
        first.dense[1].own.weight.fill_(5.0)
    assert [h.item() for h in first.layers(observation, [])] == [6.0, 30.0]
    assert column.output(observation).tolist() == [[9.0, 30.0]]
    assert column.dense[0].adapter is None


def test_a_fourth_column_reads_three_that_read_each_other() -> None:
    """Units of 6, 30; 3, 3 + 6; 3, 3 + 6 + 3; so 3, 3 + 6 + 3 + 3 here, and 30 + 9 + 12 beside."""
    column, observation = column_of(3.0, second=True, count=4)
    first: Any = column.earlier[0]
    with torch.no_grad():
        first.dense[0].own.weight.fill_(2.0)
        first.dense[1].own.weight.fill_(5.0)
    assert column.output(observation).tolist() == [[15.0, 51.0]]


def test_policy_and_value_read_laterals() -> None:
    """The value of column 2 is 3 + 3 + 3 = x, the lateral of layer 1, that of layer 2."""
    column, observation = column_of(3.0, second=True)
    assert column.output(observation).tolist() == [[6.0, 3.0]]
    assert column.critic(column.output(observation)).item() == 9.0
    alone, observation = column_of(3.0, second=False)
    assert alone.critic(alone.output(observation)).item() == 3.0


def test_fisher_sensitivity_by_hand() -> None:
    """Units of column 1 are x, x, those of column 2 x, 2x; its logits 2x + x of column 1, and 0.

    By units of its deviation, layer 2 counts 2 * 1 here and 1 * 1 there: squares of 4 and 1. Layer
    1 counts 1 here, and 2 there: by the adapter of layer 2, and by what column 1 makes of it.
    """
    column, _ = column_of(1.0, second=True)
    with torch.no_grad():
        column.actor.weight[1] = 0.0
    seen = {"x": torch.tensor([[1.0], [3.0], [4.0]])}
    shares = fisher_sensitivity(column, seen, torch.tensor([0, 1, 0]))
    assert torch.stack(shares).numpy() == pytest.approx(np.array([[0.8, 0.2], [0.2, 0.8]]))
    with torch.no_grad():
        column.actor.weight[0] = 0.0  # a policy that feels nothing
    nothing = fisher_sensitivity(column, seen, torch.tensor([0, 1, 0]))
    assert torch.stack(nothing).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_what_is_felt_is_the_mean_of_squares() -> None:
    """Deviation 1, gradients of 2 and -2: 4. Of a map: 1 + 4 and 1 + 4, summed over its places."""
    h = torch.tensor([[1.0], [3.0]])
    assert _felt(h, torch.tensor([[2.0], [-2.0]])).tolist() == [4.0]
    maps = torch.tensor([[[1.0, 3.0]], [[3.0, 1.0]]]).unsqueeze(2)
    slopes = torch.tensor([[[1.0, 2.0]], [[-1.0, -2.0]]]).unsqueeze(2)
    assert _felt(maps, slopes).tolist() == [5.0]


def test_what_is_logged_of_laterals() -> None:
    agent = made(alpha=0.5, learning_rate=1e-6)
    rows: list[dict[str, float]] = []
    agent.logger.sinks.append(lambda step, row: rows.append(dict(row)))
    agent.learn(40)
    assert not {name for row in rows for name in row if "fisher" in name}  # no earlier column
    agent.finish_task("plain")
    agent.set_env(SEQUENCE, env_kwargs=at_stage(SEQUENCE, TASKS, 1))
    first = agent.learners[0].optimizer.vector.double().sum()
    rows.clear()
    agent.learn(200, reset_num_timesteps=False)
    for row in rows:
        for layer in (1, 2):
            assert row[f"train/alpha_{layer}_0"] == pytest.approx(0.5, abs=0.01)
            shares = [row[f"train/fisher_{layer}_{column}"] for column in (0, 1)]
            assert sum(shares) == pytest.approx(1.0)
            assert min(shares) > 0
        assert 0 < row["train/lateral_gradient_share"] < 1
        assert row["train/frozen_sum"] == pytest.approx(first.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("actions", "size"),
    [(Discrete(5), 5), (MultiDiscrete([2, 4]), 6), (Box(-1, 1, (3,), np.float32), 3)],
)
def test_a_column_of_other_actions_reads_the_units_and_not_the_actions(
    actions: Any, size: int
) -> None:
    """The column before has 2 actions, both 15; what the next one reads of it are units of 3."""
    first, observation = column_of(3.0, second=False)
    with torch.no_grad():
        first.actor.weight.fill_(5.0)
    spaces = Spaces({"x": Box(-9, 9, (1,), np.float32)}, actions, {})
    column = Column(spaces, Config(hidden=1), [first])
    with torch.no_grad():
        for name, p in column.named_parameters():
            p.fill_(0.0 if "bias" in name else 1.0)
        read = column.output(observation)
    # x + the lateral of layer 1 = 6, and the lateral of layer 2, whose unit is x = 3
    assert read.tolist() == [[6.0, 3.0]]
    assert column.actor(read).tolist() == [[9.0] * size]


def test_no_gradient_reaches_an_earlier_column_or_is_a_part_of_a_later_one() -> None:
    column, observation = column_of(3.0, second=True)
    column.critic(column.output(observation)).sum().backward()
    assert all(p.grad is None for p in column.earlier[0].parameters())
    assert not {id(p) for p in column.parameters()} & {
        id(p) for p in column.earlier[0].parameters()
    }
    assert column.adapter is not None
    assert column.adapter.alpha.grad is not None  # the scalars learn


def test_a_column_standardises_images_by_those_of_its_own_task() -> None:
    """Inverted colours are 255 - x: the means of the two columns sum to 255."""
    world: dict[str, Any] = {"image": (21, 21)}
    given: dict[str, Any] = {"num_envs": 4, "seed": 1, "device": "cpu", "env_kwargs": world}
    agent = Progressive("daedalus/Collect-v0", Config(**SMALL), **given)
    columns: list[Any] = [learner.network for learner in agent.learners]
    agent.learn(40)
    assert [column.standardise.known for column in columns[:2]] == [True, False]
    agent.finish_task("plain")
    agent.set_env("daedalus/Collect-v0", env_kwargs={**world, "invert_colors": True})
    agent.learn(40, reset_num_timesteps=False)
    first, second = (float(column.standardise.mean) for column in columns[:2])
    assert first + second == pytest.approx(255, abs=30)
    assert abs(first - second) > 20


def test_a_rollout_that_only_resets_tells_nothing_of_laterals() -> None:
    agent = made(n_steps=1)
    agent.finish_task("plain")
    agent.set_env(SEQUENCE, env_kwargs=at_stage(SEQUENCE, TASKS, 1))
    assert agent.collector is not None
    rollout = agent.collector.collect(1)
    assert rollout is not None
    assert "frozen_sum" in agent.update(rollout)
    assert "frozen_sum" not in agent.update(rollout._replace(valid=torch.zeros_like(rollout.valid)))


def states(agent: Progressive, column: int) -> list[torch.Tensor]:
    learner = agent.learners[column]
    kept = [value.clone() for value in learner.network.state_dict().values()]
    return [*kept, learner.optimizer.state[next(iter(learner.optimizer.state))]["square_average"]]


def outputs(agent: Progressive, task: int) -> torch.Tensor:
    board = torch.rand(7, 10, 5, generator=torch.Generator().manual_seed(0))
    network: Any = agent.learners[task].network
    return network.output({"board": board})  # type: ignore[no-any-return]


def test_earlier_columns_and_what_they_say_are_frozen_to_the_bit() -> None:
    agent = made()
    untrained, new = states(agent, 0), states(agent, 1)
    agent.learn(200)
    agent.finish_task("plain")
    frozen, said = states(agent, 0), outputs(agent, 0)
    assert not torch.equal(untrained[0], frozen[0])
    assert all(torch.equal(a, b) for a, b in zip(new, states(agent, 1), strict=True))
    agent.set_env(SEQUENCE, env_kwargs=at_stage(SEQUENCE, TASKS, 1))
    agent.learn(200, reset_num_timesteps=False)
    assert all(torch.equal(a, b) for a, b in zip(frozen, states(agent, 0), strict=True))
    assert torch.equal(said, outputs(agent, 0))
    assert not any(torch.equal(a, b) for a, b in zip(new[:1], states(agent, 1)[:1], strict=True))


def test_every_row_is_played_by_the_column_of_its_task() -> None:
    agent = made()
    with torch.no_grad():  # column 0 always goes left, column 1 always right
        for column, wanted in ((0, 0), (1, 2)):
            agent.learners[column].network.actor.bias[wanted] = 100.0
    board = torch.zeros(4, 10, 5)
    task = torch.eye(2)[[0, 1, 1, 0]]
    none, start = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.bool)
    inputs = Inputs({"board": board, "task": task}, none, torch.zeros(4), start)
    with torch.no_grad():
        acted = agent.act(inputs, {})
    assert acted.action.tolist() == [0, 2, 2, 0]
    assert acted.extras["policy"].argmax(1).tolist() == [0, 2, 2, 0]


def test_training_continues_bit_for_bit(tmp_path: Path) -> None:
    whole = made().learn(100)
    whole.finish_task("plain")
    second = at_stage(SEQUENCE, TASKS, 1)
    whole.set_env(SEQUENCE, env_kwargs=second)
    whole.learn(60, reset_num_timesteps=False)
    whole.save(tmp_path / "half")
    from daedalus.accelerators.checkpoint import load_checkpoint

    saved = load_checkpoint(tmp_path / "half")
    again = Progressive.from_state(
        saved.tensors, saved.state, env=SEQUENCE, device="cpu", env_kwargs=second
    )
    for agent in (whole, again):
        agent.learn(60, reset_num_timesteps=False)
    for column in (0, 1):
        pairs = zip(states(whole, column), states(again, column), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def hidden(*names: str) -> dict[str, Any]:
    """Return a sequence of tasks that nothing tells apart."""
    (first, *_) = TASKS["stages"]
    return {"task_id": "hidden", "stages": [{**first, "name": name} for name in names]}


def test_what_is_scored_after_a_stage_is_its_own_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns by stage: all of training and all of the scores behind it, that of the stage.

    The task that comes again has a column of its own, as any stage. A checkpoint knows, too.
    """
    kwargs = hidden("a", "b", "a")
    agent = Progressive(
        SEQUENCE, Config(**SMALL), num_envs=4, seed=1, device="cpu",
        env_kwargs=at_stage(SEQUENCE, kwargs, 0),
    )  # fmt: skip
    used: set[int] = set()
    real = Progressive._columns

    def watched(self: Progressive, observation: dict[str, torch.Tensor]) -> torch.Tensor:
        column = real(self, observation)
        used.update(column.tolist())
        return column

    monkeypatch.setattr(Progressive, "_columns", watched)
    found = []

    def log(*_: Any) -> None:
        found.append(set(used))
        used.clear()

    train_sequence(agent, kwargs, 60, log, episodes=4)
    assert found == [{0}, {0}, {1}, {2}]
    again = Progressive.from_state(*agent.get_state(), device="cpu")  # type: ignore[arg-type]
    board = {"board": torch.zeros(2, 10, 5)}
    assert again._columns(board).tolist() == [2, 2]
    agent.learn(20, reset_num_timesteps=False)
    assert agent._columns(board).tolist() == [3, 3]
    agent.finish_task("b")
    with pytest.raises(ValueError, match=r"column 3 cannot be the 5\. to learn"):
        agent.learn(20, reset_num_timesteps=False)


def test_a_sequence_that_cannot_be_learnt_to_its_end_is_refused_at_its_start() -> None:
    def start(kwargs: dict[str, Any], **settings: Any) -> Progressive:
        config, first = Config(**(SMALL | settings)), at_stage(SEQUENCE, kwargs, 0)
        return Progressive(SEQUENCE, config, num_envs=4, device="cpu", env_kwargs=first)

    five = hidden(*"abcde")
    with pytest.raises(ValueError, match=r"each of 5 stages, and has 4: set columns to 5"):
        start(five)
    assert len(start(five, columns=5).learners) == 5
    with pytest.raises(ValueError, match=r"each of 2 tasks, and has 1: set columns to 2"):
        start(TASKS, columns=1)
    plain, mirrored = TASKS["stages"]
    back = {**TASKS, "stages": [plain, mirrored, plain]}
    with pytest.raises(ValueError, match="cannot train 'plain' again: its column is frozen"):
        start(back)


class Images(gymnasium.Env[Any, Any]):
    """Images and velocities, any action space; episodes of 4 steps."""

    def __init__(self, actions: Any) -> None:
        """Choose the actions."""
        self.action_space = actions
        self.observation_space = gymnasium.spaces.Dict(
            {
                "image": Box(0, 255, (21, 21, 3), np.uint8),
                "velocity": Box(-1, 1, (2,), np.float32),
            }
        )

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.count += 1
        return self.observation_space.sample(), 1.0, self.count == 4, False, {}


@pytest.mark.parametrize(
    "actions", [Discrete(3), MultiDiscrete([2, 3]), Box(-1, 1, (2,), np.float32)]
)
def test_images_and_every_action_space(actions: Any) -> None:
    """Without an array ``task``, the column is the one after the last finished task."""
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    env = gymnasium.vector.SyncVectorEnv([lambda: Images(actions)] * 2, autoreset_mode=mode)
    agent = Progressive(env, Config(hidden=8, n_steps=4, columns=3), device="cpu")
    rows: list[dict[str, float]] = []
    agent.logger.sinks.append(lambda step, row: rows.append(dict(row)))
    for task in ("a", "b", "c"):
        agent.learn(16, reset_num_timesteps=False)
        agent.finish_task(task)
    assert sum(rows[-1][f"train/fisher_3_{column}"] for column in range(3)) == pytest.approx(1.0)
    column: Any = agent.learners[2].network
    lateral = column.convolutions[1].adapter.reduce  # 1 x 1, from 2 columns to the width of one
    assert lateral.weight.shape == (16, 32, 1, 1)
    assert column.convolutions[0].adapter is None
    dense = column.dense[0]  # from the maps of 2 columns straight to its own width
    assert dense.adapter.reduce.weight.shape == (8, 2 * dense.own.in_features)
    assert dense.lateral.weight.shape == (8, 8)
    observation, _ = Images(actions).reset(seed=0)
    assert actions.contains(agent.predict(observation)[0])


def test_what_does_not_fit_is_said_in_one_line() -> None:
    for settings in ({"lstm": 8}, {"consolidation": "ewc"}):
        with pytest.raises(
            ValueError, match=r"lstm = 0 and consolidation = none; take actor_critic"
        ):
            made(**settings)
    agent = made()
    agent.finish_task("plain")
    with pytest.raises(ValueError, match=r"column 0 cannot be the 2\. to learn"):
        agent.learn(20)
    together = {**TASKS, "task": "all"}
    agent = Progressive(SEQUENCE, Config(**SMALL), num_envs=4, device="cpu", env_kwargs=together)
    with pytest.raises(ValueError, match="one task after another"):
        agent.learn(20)
