"""Rollouts: what follows what, in all autoreset modes, for single and vector environments."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from daedalus.accelerators.collector import Collector
from daedalus.accelerators.gymnasium_batch import EnvironmentGoneError, named_spaces
from daedalus.accelerators.rollout import Acted, Inputs, Rollout, State
from daedalus.accelerators.vector import EnvBatch, VectorEnvBatch, make_batch

LIMIT = 3


class Counter(gymnasium.Env[np.ndarray, int]):
    """Shows (episode, step); even episodes truncate after 3 steps, odd ones terminate."""

    observation_space = Box(0.0, 1000.0, (2,), np.float32)
    action_space: gymnasium.Space[Any] = Discrete(5)

    def __init__(self) -> None:
        """Begin before the first episode."""
        self.episode, self.count = -1, 0

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.count += 1
        over = self.count == LIMIT
        odd = self.episode % 2 == 1
        return self._observe(), float(self.count), over and odd, over and not odd, {}

    def _observe(self) -> np.ndarray:
        return np.array([self.episode, self.count], np.float32)


class Stub:
    """Acts with the step number and counts, as its recurrent state, steps of the episode."""

    def __init__(self, actions: int = 5) -> None:
        """Choose among ``actions``."""
        self.calls, self.actions = 0, actions

    def initial_state(self, num_envs: int) -> State:
        return {"h": torch.zeros(num_envs, 1)}

    def begin_with(self, observation: Mapping[str, torch.Tensor]) -> None:
        self.seen = {name: value.clone() for name, value in observation.items()}

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        self.calls += 1
        h = state["h"] * (~inputs.episode_start).unsqueeze(1) + 1
        action = torch.full(inputs.episode_start.shape, self.calls % self.actions)
        return Acted(action, {"h": h}, {"twice": 2 * h})


def collect(batch: EnvBatch, length: int, actions: int = 5) -> Rollout:
    rollout = Collector(batch, Stub(actions), torch.device("cpu"), [0] * batch.num_envs).collect(
        length
    )
    assert rollout is not None
    return rollout


def test_the_agent_sees_what_collecting_begins_with() -> None:
    actor = Stub()
    collector = Collector(vector(AutoresetMode.SAME_STEP), actor, torch.device("cpu"), [0, 0])
    for _ in range(2):
        collector.collect(4)
        assert actor.seen["observation"].tolist() == [[0.0, 0.0]] * 2


def vector(mode: AutoresetMode, kind: type = SyncVectorEnv) -> VectorEnvBatch:
    return VectorEnvBatch(kind([Counter, Counter], autoreset_mode=mode))


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_same_step_rollout_by_hand(mode: AutoresetMode, kind: type) -> None:
    batch = vector(mode, kind)
    rollout = collect(batch, 7)
    batch.close()
    seen = rollout.observation["observation"][:, 0].tolist()
    expected = [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1]]
    assert seen == expected
    assert rollout.reward[:, 0].tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert rollout.truncated[:, 0].tolist() == [False, False, True] + [False] * 4
    assert rollout.terminated[:, 0].tolist() == [False] * 5 + [True, False]
    assert rollout.valid.all()
    starts = [True, False, False, True, False, False, True, False]
    assert rollout.episode_start[:, 0].tolist() == starts
    assert rollout.previous_reward[:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert rollout.action[:, 0].tolist() == [1, 2, 3, 4, 0, 1, 2]
    assert rollout.previous_action[1:, 0].tolist() == [1, 2, 3, 4, 0, 1, 2]
    assert torch.stack(rollout.extras["twice"])[:, 0, 0].tolist() == [2, 4, 6, 2, 4, 6, 2]


def test_an_environment_whose_process_was_killed_is_named() -> None:
    batch = vector(AutoresetMode.SAME_STEP, AsyncVectorEnv)
    batch.reset(seed=0)
    assert isinstance(batch.env, AsyncVectorEnv)
    batch.env.processes[1].kill()
    batch.env.processes[1].join()
    with pytest.raises(EnvironmentGoneError, match=r"environment 1 has ended \(SIGKILL, perhaps"):
        batch.step(np.zeros(2, np.int64))
    batch.close()
    assert not any(process.is_alive() for process in batch.env.processes)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_final_observations_and_states_of_ended_episodes(mode: AutoresetMode) -> None:
    rollout = collect(vector(mode), 7)
    assert rollout.final_index.tolist() == [[2, 0], [2, 1], [5, 0], [5, 1]]
    last = rollout.final_observation["observation"].tolist()
    assert last == [[0, 3], [0, 3], [1, 3], [1, 3]]
    assert rollout.final_state["h"].squeeze(1).tolist() == [3, 3, 3, 3]
    final = rollout.final_inputs
    assert final.previous_action.tolist() == [3, 3, 1, 1]
    assert final.previous_reward.tolist() == [3, 3, 3, 3]
    assert not final.episode_start.any()


def test_next_step_mode_marks_the_step_that_only_resets() -> None:
    rollout = collect(vector(AutoresetMode.NEXT_STEP), 6)
    seen = rollout.observation["observation"][:, 0].tolist()
    assert seen == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1], [1, 2]]
    assert rollout.valid[:, 0].tolist() == [True, True, True, False, True, True]
    assert rollout.episode_start[:, 0].tolist() == [True, False, False, False, True, False, False]
    assert rollout.final_observation["observation"].tolist() == [[0, 3], [0, 3]]
    assert rollout.previous_reward[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 2]


@pytest.mark.parametrize("mode", ["same_step", "next_step"])
def test_native_vector_env_gives_the_same_rollout_as_its_batch(mode: str) -> None:
    made = [
        gymnasium.make_vec(
            "daedalus/Catch-v0", 3, "vector_entry_point", autoreset_mode=mode, rows=4
        )
        for _ in range(2)
    ]
    fast = collect(make_batch(made[0]), 9, 3)
    slow = collect(VectorEnvBatch(made[1]), 9, 3)
    for name in ("reward", "terminated", "truncated", "valid", "episode_start", "final_index"):
        assert torch.equal(getattr(fast, name), getattr(slow, name)), name
    one, other = fast.observation["board"], slow.observation["observation"]
    assert torch.equal(one, other)
    ended = fast.final_observation["board"], slow.final_observation["observation"]
    assert torch.equal(*ended)


def test_state_goes_on_between_rollouts_and_without_graph() -> None:
    collector = Collector(vector(AutoresetMode.SAME_STEP), Stub(), torch.device("cpu"))
    first, second = collector.collect(2), None
    assert first is not None
    h = first.state["h"].clone()
    second = collector.collect(2)
    assert second is not None
    assert torch.equal(second.initial_state["h"], h)
    assert second.observation["observation"][:, 0].tolist() == [[0, 2], [1, 0], [1, 1]]
    assert second.previous_reward[:, 0].tolist() == [2, 0, 1]


def test_native_collector_continues_bit_for_bit() -> None:
    def rollouts(stop_after: int) -> list[torch.Tensor]:
        device = torch.device("cpu")
        collector = Collector(make_batch("daedalus/Catch-v0", 4), Stub(3), device, [1] * 4)
        result = []
        for i in range(4):
            if i == stop_after:
                state = {k: np.asarray(v).copy() for k, v in collector.get_state().items()}
                other = Stub(3)
                other.calls = collector.agent.calls  # type: ignore[attr-defined]
                collector = Collector(make_batch("daedalus/Catch-v0", 4), other, device)
                collector.set_state(state)
            rollout = collector.collect(5)
            assert rollout is not None
            result += [rollout.observation["board"].clone(), rollout.previous_reward.clone()]
        return result

    for a, b in zip(rollouts(-1), rollouts(2), strict=True):
        assert torch.equal(a, b)


def test_a_stopped_rollout_is_given_up() -> None:
    collector = Collector(vector(AutoresetMode.SAME_STEP), Stub(), torch.device("cpu"))
    assert collector.collect(5, iter([True, False]).__next__) is None


# ------------------------------------------------------------------------------------ make_batch


def test_one_environment_is_a_batch_of_one() -> None:
    batch = make_batch(Counter(), seed=0)
    assert batch.num_envs == 1
    batch.step(np.zeros(1, np.int64))
    assert batch.observation["observation"].tolist() == [[0, 1]]


def test_episodes_are_counted() -> None:
    batch = vector(AutoresetMode.NEXT_STEP)
    batch.reset(0)
    for _ in range(8):
        batch.step(np.zeros(2, np.int64))
    assert batch.pop_episodes() == [(6.0, 3)] * 4
    assert batch.pop_episodes() == []


def test_next_observation_is_what_the_step_led_to() -> None:
    batch = vector(AutoresetMode.SAME_STEP)
    batch.reset(0)
    for _ in range(3):
        batch.step(np.zeros(2, np.int64))
    assert batch.next_observation["observation"].tolist() == [[0, 3], [0, 3]]
    assert batch.observation["observation"].tolist() == [[1, 0], [1, 0]]


def test_ids_make_native_and_python_batches() -> None:
    assert type(make_batch("daedalus/Catch-v0", 3)).__name__ == "Batch"
    batch = make_batch("CartPole-v1", 2, seed=3)
    assert isinstance(batch, VectorEnvBatch)
    assert batch.mode is AutoresetMode.SAME_STEP


def test_different_seeds_share_no_environment() -> None:
    first, second = (make_batch("CartPole-v1", 4, seed=s) for s in (0, 1))
    rows = {r.tobytes() for b in (first, second) for r in b.observation["observation"]}
    assert len(rows) == 8


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(TypeError, match="expected an id"):
        make_batch(3)
    with pytest.raises(ValueError, match="no label 'depth'"):
        make_batch(Counter(), labels=["depth"])
    with pytest.raises(ValueError, match="num_envs=3"):
        make_batch(SyncVectorEnv([Counter, Counter]), 3)
    with pytest.raises(ValueError, match="copies"):
        make_batch(Counter(), 2)


def test_observations_that_are_no_array_come_with_advice_that_helps() -> None:
    """A Tuple can be flattened to one Box; a Sequence stays one when it is flattened."""
    sequence = gymnasium.spaces.Sequence(gymnasium.spaces.Discrete(2))
    pair = gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(2)] * 2)
    with pytest.raises(TypeError, match=r"'observation' is a Tuple: .*FlattenObservation makes it"):
        named_spaces(pair)
    assert isinstance(gymnasium.spaces.flatten_space(pair), gymnasium.spaces.Box)
    with pytest.raises(TypeError, match="is a Sequence: an ObservationWrapper can give it as"):
        named_spaces(sequence)
